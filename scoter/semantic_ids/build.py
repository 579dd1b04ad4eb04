"""Semantic IDs from item vectors, by either method of quantisation."""

from collections.abc import Callable
from dataclasses import asdict, replace
from math import ceil

import numpy as np
from jaxtyping import Float32

from scoter.config import SemanticIdConfig
from scoter.errors import DataError
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import Quantised, Vectors, add_collision_level, reassign_last_level
from scoter.semantic_ids.diagnostics import check_collapse, check_spread, diagnose, group_sizes
from scoter.semantic_ids.rqkmeans import fit_rqkmeans
from scoter.semantic_ids.vectors import item_vectors, text_fields
from scoter.types import Catalog, InteractionLog, SemanticIds

ITEMS_PER_CODE = 8


def ids_of_items(
    train: InteractionLog,
    catalog: Catalog,
    config: SemanticIdConfig,
    columns: tuple[str, ...],
    encode: Callable[[list[str]], Float32[np.ndarray, "sentences dim"]],
) -> SemanticIds:
    """The semantic IDs of a catalogue's items, from a training log and the texts in `columns`."""
    vectors = item_vectors(train, catalog, config, text_fields(catalog, columns), encode)
    return build_semantic_ids(vectors, config, derive_seed(0, "ids"))[0]


def build_semantic_ids(
    vectors: Vectors, config: SemanticIdConfig, seed: int
) -> tuple[SemanticIds, dict[str, object]]:
    """Unique semantic IDs of all items with their codebooks, and a report for JSON.

    Items of equal codes are told apart as `config.collisions` says; where more items share their
    first codes than the last codebook has codes, one more level is added instead of reassigning.
    The report holds what was done and the fields of `IdDiagnostics`. Vectors that are nearly but
    not all equal, and a level of codes that tells nothing apart, are a `CollapseError`.

    >>> vectors = np.random.default_rng(0).normal(size=(100, 8))
    >>> ids, report = build_semantic_ids(vectors, SemanticIdConfig(), seed=0)
    >>> ids.codes.shape, report["codebook_size"], report["distinct_vectors"]
    ((100, 4), 12, 100)
    """
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise DataError(f"vectors[{finite.argmin()}] holds NaN or infinity; check its source")
    _, distinct = np.unique(vectors, axis=0, return_index=True)
    if len(distinct) > 1:
        check_spread(vectors)
    size = codebook_size_for(len(vectors), config) if len(distinct) > 1 else 1
    is_cut = size < config.codebook_size
    config = replace(config, codebook_size=size)
    if config.method == "rqkmeans":
        quantised = fit_rqkmeans(vectors, config, derive_seed(seed, "rqkmeans"))
    else:
        from scoter.semantic_ids.rqvae import fit_rqvae  # loads torch

        quantised = fit_rqvae(vectors, config, derive_seed(seed, "rqvae"))
    sizes = (size,) * config.levels
    # k-means cannot fail in training, and most items of a small catalogue may rightly share a cell.
    if config.method == "rqvae" or not is_cut:
        check_collapse(quantised.codes[distinct], sizes)
    ids, collisions = _unique(quantised, config, seed)
    report = {"method": config.method, "codebook_size": size, "distinct_vectors": len(distinct)}
    report |= {"collisions": collisions, "codebook_sizes": ids.codebook_sizes}
    return ids, {**report, **asdict(diagnose(quantised.codes, sizes))}


def _unique(quantised: Quantised, config: SemanticIdConfig, seed: int) -> tuple[SemanticIds, str]:
    codes, sizes = quantised.codes, (config.codebook_size,) * config.levels
    fits = group_sizes(codes[:, :-1]).max() <= config.codebook_size
    if config.collisions == "reassign" and fits:
        return SemanticIds(reassign_last_level(quantised), sizes, quantised.codebooks), "reassign"
    ids = add_collision_level(codes, sizes, derive_seed(seed, "collisions"))
    return replace(ids, codebooks=quantised.codebooks), "level"


def codebook_size_for(items: int, config: SemanticIdConfig) -> int:
    """`config.codebook_size`, cut for a small catalogue to one code per `ITEMS_PER_CODE` items.

    There are never fewer codes than could name all items apart (items ** (1 / levels)).
    """
    enough = ceil(round(items ** (1 / config.levels), 9))
    return min(config.codebook_size, max(items // ITEMS_PER_CODE, enough), items)
