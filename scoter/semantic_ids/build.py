"""One interface over both ways of making semantic IDs."""

from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from scoter.config import SemanticIdConfig
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import add_collision_level, reassign_last_level
from scoter.semantic_ids.cooccurrence import beside, cooccurrence_vectors, directions
from scoter.semantic_ids.diagnostics import check_collapse, check_spread, diagnose, group_sizes
from scoter.semantic_ids.rqkmeans import fit_rqkmeans
from scoter.types import SemanticIds

__all__ = [
    "beside",
    "build_semantic_ids",
    "codebook_size_for",
    "cooccurrence_vectors",
    "directions",
]

ITEMS_PER_CODE = 8


def build_semantic_ids(
    vectors: Float[np.ndarray, "items dim"],
    config: SemanticIdConfig,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[SemanticIds, dict[str, Any]]:
    """Unique semantic IDs of all items with their codebooks, and a report of how well their codes
    are used (JSON-able).

    Items of equal codes are told apart as `config.collisions` says; where more items share their
    first codes than the last codebook has codes, reassigning is impossible and one more level is
    added instead. Vectors that are all equal, as those of items without text that were never bought
    together, share one code a level. The report holds `method`, `codebook_size` (after
    `codebook_size_for`), `distinct_vectors` (items with equal vectors share their nearest codes),
    `collisions` (what was done), `codebook_sizes` of the outcome, and the fields of
    `IdDiagnostics`. `checkpoint` is a folder in which an interrupted RQ-VAE finds its last state
    again.

    Raises:
        CollapseError: vectors that are all nearly equal but not equal, or a level of codes that
            tells nothing apart, except by RQ-k-means in a catalogue so small that its codebooks are
            cut.
        DataError: a vector holds NaN or infinity.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(100, 8))
        >>> ids, report = build_semantic_ids(vectors, SemanticIdConfig(), seed=0)
        >>> ids.codes.shape, report["codebook_size"], report["distinct_vectors"]
        ((100, 4), 12, 100)
    """
    _, distinct = np.unique(vectors, axis=0, return_index=True)
    if len(distinct) > 1:
        check_spread(vectors)
    wanted = config.codebook_size
    size = codebook_size_for(len(vectors), config) if len(distinct) > 1 else 1
    config = replace(config, codebook_size=size)
    if config.method == "rqvae":
        from scoter.semantic_ids.rqvae import fit_rqvae

        found = fit_rqvae(vectors, config, derive_seed(seed, "rqvae"), checkpoint)
    else:
        found = fit_rqkmeans(
            vectors,
            config.levels,
            config.codebook_size,
            derive_seed(seed, "rqkmeans"),
            config.components,
        )
    sizes = (config.codebook_size,) * config.levels
    # k-means has no training that could fail. In a small catalogue of which little is known, most
    # items rightly share a cell.
    if config.method == "rqvae" or config.codebook_size == wanted:
        check_collapse(found.codes[distinct], sizes)
    largest = group_sizes(found.codes[:, :-1]).max()
    if config.collisions == "reassign" and largest > config.codebook_size:
        config = replace(config, collisions="level")
    if config.collisions == "reassign":
        ids = SemanticIds(reassign_last_level(found), sizes, found.codebooks)
    else:
        ids = replace(
            add_collision_level(found.codes, sizes, derive_seed(seed, "collisions")),
            codebooks=found.codebooks,
        )
    made = {
        "method": config.method,
        "codebook_size": config.codebook_size,
        "distinct_vectors": len(distinct),
    }
    made |= {"collisions": config.collisions, "codebook_sizes": ids.codebook_sizes}
    return ids, {**made, **asdict(diagnose(found.codes, sizes))}


def codebook_size_for(items: int, config: SemanticIdConfig) -> int:
    """`config.codebook_size`, cut for a small catalogue to one code per `ITEMS_PER_CODE` items.

    A code that stands for an item or two is an arbitrary name, not a meaning that others share. But
    there are never fewer codes than could name all items apart (items ** (1 / levels)), nor more
    than items.

    Example:
        >>> [codebook_size_for(items, SemanticIdConfig()) for items in (12101, 512, 20, 1)]
        [256, 64, 3, 1]
    """
    enough = ceil(round(items ** (1 / config.levels), 9))
    return min(config.codebook_size, max(items // ITEMS_PER_CODE, enough), items)
