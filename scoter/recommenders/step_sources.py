"""The chains that a method reads: its users' own, or what a control puts in their place."""

from dataclasses import dataclass

import numpy as np

from scoter.config import FusionConfig, TextConfig
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.catalogue.view import look
from scoter.recommenders.chains import Encode
from scoter.seeding import derive_seed
from scoter.semantic_ids.vectors import text_fields
from scoter.storage.sentence_vectors import item_texts
from scoter.types import Catalog, SemanticIds, Split, StepEmbeddings


@dataclass(frozen=True, eq=False)
class Sources:
    """What chains may be made from besides their own sentences."""

    catalog: Catalog  # names and texts of items
    split: Split  # whose training part gives each prefix its last items
    ids: SemanticIds | None  # for chains whose steps carry the codes of the items they name
    encode: Encode  # the sentence encoder of the chains
    text: TextConfig  # the catalogue columns that make an item's text


def steps_as_read(
    fusion: FusionConfig,
    steps: StepEmbeddings,
    sentences: list[str],
    sources: Sources,
    widths: list[int] | None = None,
) -> StepEmbeddings:
    """The step embeddings that a fusion of this configuration reads.

    Args:
        steps: the users' own chains.
        sentences: the text of each row of `steps.vectors`.
        widths: slots of each step where each sentence has a slot; default: as many as needed.
    """
    from scoter.transfer.collapse import other_users_chains
    from scoter.transfer.grounded import ground_steps, one_step_per_sentence
    from scoter.transfer.substitutes import statements_as_features

    if fusion.grounded:
        if sources.ids is None:
            raise ConfigError("fusion.grounded = True needs semantic IDs; pass ids, which is None")
        names, seed = item_names(sources.catalog), derive_seed(0, "codes")
        steps = ground_steps(steps, sentences, names, sources.ids, seed)
    if fusion.source == "other-user":
        steps = other_users_chains(steps, derive_seed(0, "other-user"))
    elif fusion.source == "features":
        steps = statements_as_features(steps, derive_seed(0, "features"))
    elif fusion.source == "item-text":
        steps = _item_text_steps(steps, sources)
    return one_step_per_sentence(steps, like=widths) if fusion.slots == "sentence" else steps


def spoken_items(catalog: Catalog, wanted: tuple[str, ...]) -> list[str]:
    """What chains are held against: each item's text, or its name in chains where none has text."""
    fields = text_fields(catalog, wanted)
    return item_texts(catalog, fields) if fields else item_names(catalog)


def _item_text_steps(steps: StepEmbeddings, sources: Sources) -> StepEmbeddings:
    """The texts of each prefix's last items in the place of its chain's steps."""
    from scoter.transfer.substitutes import item_texts_as_steps

    users = np.repeat(np.arange(len(steps.starts) - 1), np.diff(steps.starts))
    prefix_lengths = np.arange(len(users)) - steps.starts[users] + 1
    view = look(sources.split, users, prefix_lengths, steps.step_count)
    texts = item_texts(sources.catalog, text_fields(sources.catalog, sources.text.fields))
    return item_texts_as_steps(steps, view.recent, sources.encode(texts))
