"""What chains by item add on held-in users, over a recommender that is trained without them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoter.config import DiscoverConfig
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery.generate import without_targets
from scoter.reasoning.discovery.pilot import Addition, Pilot, pilot_users, verdict
from scoter.reasoning.discovery.validate import EmbeddedSteps, Trial, choices_of, named_items
from scoter.reasoning.writing.reader import read_chains, source_key
from scoter.recommenders.frozen import Frozen
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import open_data
from scoter.storage.store import Artefact
from scoter.types import Step


@dataclass(frozen=True)
class Measured:
    """What a pilot found."""

    chains: str  # the model that wrote them
    content: str  # the hash of the folder or the table
    recommender: str  # over which they are measured
    users: int
    listed: float  # the share of users whose target is among the reader's candidates
    rows: list[Addition]
    by_last_item: list[Addition]  # the first row, by how often the last item was seen
    verdict: str


def measure_pilot(
    context: Context, data: Artefact, source: Path, users: int, worth: float
) -> Measured:
    """What the chains of a folder or a table add, and whether more of them are needed to know."""
    experiment, encode = context.experiment, sentence_encoder(context)
    config, text, k = experiment.discover, experiment.text, DiscoverConfig.top_k
    _, catalog, split = open_data(data)
    table = read_chains(source, split, catalog, experiment.chains.items)
    chains = table.embed(encode(table.sentences), text.encoder)
    seed = derive_seed(context.seed, "pilot")
    sample = pilot_users(split, chains, users, seed)
    held_in = without_targets(split, [sample])
    frozen = Frozen(config, catalog, experiment.semantic_ids, text, encode, context.seed)
    recommender, histories = frozen(held_in), held_in.histories("valid")
    vectors = np.asarray(encode(spoken_items(catalog, text.fields)), np.float32)
    folds = derive_seed(seed, "folds")
    reasoner = CatalogReasoner.of(split.train, catalog, folds, lambda: vectors)
    view = look(split, sample.users, sample.prefix_lengths)
    spoken = chains.dense(chains.chain_rows(sample.users, sample.prefix_lengths))[0]
    told = chains.pattern.steps
    texts = [Step("item text", {"lag": lag}) for lag in range(1, experiment.chains.items + 1)]
    known = {step.label(): spoken[:, place] for place, step in enumerate(told)}
    for step, items in zip(texts, view.recent.T, strict=False):
        known[step.label()] = np.where(items[:, None] >= 0, vectors[items], 0)
    steps = EmbeddedSteps(reasoner, view, encode, known)
    choices = choices_of(sample, histories, recommender, named_items(reasoner, view))
    pilot = Pilot(Trial(steps, sample, choices, vectors, seed), told, texts)
    seen = np.bincount(split.train.items, minlength=catalog.item_count)[view.recent[:, 0]]
    rows, bins = pilot.additions(k, seen)
    able = int((split.train.lengths >= 2).sum())
    listed, answer = float(choices.listed.mean()), verdict(rows[0], worth, able)
    about = (table.model, source_key(source), config.recommender, len(sample), listed)
    return Measured(*about, rows, bins, answer)
