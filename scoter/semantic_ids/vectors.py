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
    """The wanted columns that hold something; a machine-made `phrase` only in place of a title."""
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
    source = vector_source(config, fields)
    text = encode(item_texts(catalog, fields)) if "text" in source else None
    if text is not None and source == "text":
        return text.astype(np.float32)
    seed = derive_seed(0, "cooccurrence")
    near = cooccurrence_vectors(train, catalog.item_count, COOCCURRENCE_DIM, seed)
    if text is None:
        return directions(near).astype(np.float32)
    return beside(text, near, config.cooccurrence_weight)
