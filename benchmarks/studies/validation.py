"""What each step of the mined patterns adds on validation users, who had no part in mining.

The reader is that of Validate, over a recommender that is trained as for mining, but on the whole
training part. It is fitted on half of the users and judged on the other half, and the other way
round. The rivals are those that stand beside the mined pattern.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS, patterns_path
from benchmarks.tables.discovery_page import FILE
from scoter.data.datasets import load_dataset
from scoter.experiments import experiment
from scoter.progress import ProgressBars, on_stderr
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery.clusters import mean_over_users
from scoter.reasoning.discovery.generate import HeldIn
from scoter.reasoning.discovery.mine import added_by_step
from scoter.reasoning.discovery.validate import EmbeddedSteps, Trial, choices_of, named_items, ndcg
from scoter.recommenders.frozen import Frozen
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.storage.sentence_vectors import encoder_of
from scoter.storage.store import git_commit
from scoter.types import NOBODY, ReasoningPattern, Split


def measure(dataset: str, seed: int, users: int, results: Path = RESULTS) -> Row:
    """Measure the pattern mined for a dataset and seed, on at most so many users."""
    began = time.process_time()
    mined = json.loads(patterns_path(results, dataset, seed).read_text())
    made, config = load_dataset(dataset), experiment(f"{dataset}-scoter")
    split, catalog, text = made.split, made.catalog, config.text
    chosen = np.random.default_rng(derive_seed(seed, "validation users"))
    rows = np.sort(chosen.permutation(len(split.valid))[:users])
    people = split.valid.users[rows]
    sample = HeldIn(people, split.train.lengths[people], split.valid.items[rows])
    encode = encoder_of(text)
    vectors = encode(spoken_items(catalog, text.fields))
    frozen = Frozen(config.discover, catalog, config.semantic_ids, text, encode, seed)
    recommender = frozen(Split(split.train, split.valid, NOBODY))
    folds = derive_seed(seed, "folds")
    reasoner = CatalogReasoner.of(split.train, catalog, folds, lambda: vectors)
    view = look(split, people, sample.prefix_lengths)
    named = named_items(reasoner, view)
    choices = choices_of(sample, split.histories("valid"), recommender, named)
    bars = ProgressBars(on_stderr, 60, "patterns")
    trial = Trial(EmbeddedSteps(reasoner, view, encode), sample, choices, vectors, seed, bars)
    return {**measured(mined, trial), "cpu_seconds": round(time.process_time() - began, 1)}


def measured(mined: Row, trial: Trial) -> Row:
    """What `validation.json` says of a mined pattern, at the users of a trial."""
    k, pattern = mined["provenance"]["top_k"], ReasoningPattern.from_json(mined["pattern"]["steps"])
    rivals = {
        name: ReasoningPattern.from_json(rival["pattern"])
        for name, rival in mined["rivals"].items()
    }
    others = [ReasoningPattern(()), *rivals.values()]
    reached = ndcg(trial.ranks([pattern, *others], "rivals"), k)
    gains = [asdict(mean_over_users(reached[:1] - other)) for other in reached[1:]]
    return {
        "mined": mined["commit"],
        "commit": git_commit(),
        "users": len(trial.sample),
        "ndcg": asdict(mean_over_users(reached[:1])),
        "over_recommender": gains[0],
        "added": [asdict(each) for each in added_by_step(pattern, trial, k)],
        "over_rivals": dict(zip(rivals, gains[1:], strict=True)),
    }


@click.command()
@study.dataset_option
@study.seeds_option
@study.users_option(10_000, least=100)
@study.results_option
def command(dataset: str, seeds: tuple[int, ...], users: int, results: Path) -> None:
    for seed in seeds:
        row = measure(dataset, seed, users, results)
        study.put(results / FILE, f"{dataset}-s{seed}", row)
        click.echo(f"{dataset}, seed {seed}: {json.dumps(row['ndcg'])}")
