"""The vectors that semantic IDs are made from: items' texts, training co-occurrence, or both."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from scoter.config import SemanticIdConfig
from scoter.seeding import derive_seed
from scoter.semantic_ids.cooccurrence import beside, cooccurrence_vectors, directions
from scoter.storage.sentence_vectors import item_texts
from scoter.types import Catalog, InteractionLog

COOCCURRENCE_DIM = 128


def text_fields(catalog: Catalog, wanted: tuple[str, ...]) -> list[str]:
    """The wanted columns that hold something.

    A machine-made `phrase` stands in for a title, and is left out beside one.
    """
    fields = [name for name in wanted if catalog.has(name)]
    return [name for name in fields if name != "phrase" or "title" not in fields]


def vector_source(config: SemanticIdConfig, fields: list[str]) -> str:
    """`text`, `cooccurrence` or `text+cooccurrence`: what `config.source` comes to here."""
    if config.source == "auto":
        return "text" if fields else "cooccurrence"
    if config.source == "text+cooccurrence" and not fields:
        return "cooccurrence"
    return config.source


def item_vectors(
    train: InteractionLog,
    catalog: Catalog,
    config: SemanticIdConfig,
    fields: list[str],
    encode: Callable[[list[str]], Float32[np.ndarray, "sentences dim"]],
) -> Float32[np.ndarray, "items dim"]:
    """One vector per item; co-occurrence is counted in the training log alone."""
    source, text, cooccurrence = vector_source(config, fields), None, None
    if "text" in source:
        text = encode(item_texts(catalog, fields))
    if "cooccurrence" in source:
        cooccurrence = cooccurrence_vectors(
            train, catalog.item_count, COOCCURRENCE_DIM, derive_seed(0, "cooccurrence")
        )
    if text is None:
        assert cooccurrence is not None
        return directions(cooccurrence).astype(np.float32)
    if cooccurrence is None:
        return text.astype(np.float32)
    return beside(text, cooccurrence, config.cooccurrence_weight).astype(np.float32)
