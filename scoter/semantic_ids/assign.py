"""What makes semantic IDs unique: one more level, or the next best code on the last one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from scoter.errors import ConfigError
from scoter.types import SemanticIds

Codes = Int[np.ndarray, "items levels"]
Vectors = Float[np.ndarray, "items dim"]


@dataclass(frozen=True, eq=False)
class Quantised:
    """Codes of each item, coarse to fine, which items may share."""

    codes: Codes
    codebooks: Float32[np.ndarray, "levels size dim"]  # the vector of each code
    last_residual: Float32[np.ndarray, "items dim"]  # what the levels before the last left over


def add_collision_level(codes: Codes, codebook_sizes: Sequence[int], seed: int) -> SemanticIds:
    """One more level, which numbers the items of equal codes at random (Rajput et al. 2023)."""
    _, group, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    drawn = np.random.default_rng(seed).permutation(len(codes))
    order = drawn[np.argsort(group[drawn], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    number = np.empty(len(codes), np.int64)
    number[order] = np.arange(len(codes)) - np.repeat(starts, sizes)
    all_sizes = (*codebook_sizes, int(sizes.max(initial=1)))
    return SemanticIds(np.column_stack([codes, number]).astype(np.int64), all_sizes)


def reassign_last_level(quantised: Quantised) -> Codes:
    """Codes whose last level tells apart the items that share all other codes.

    Among those items the sum of squared distances from the residuals to their codes is the least
    possible, so an item that was alone keeps its nearest code. After LC-Rec (Zheng et al. 2024,
    section 3.1), which uses optimal transport.
    """
    from scipy.optimize import linear_sum_assignment  # loaded late, as answers do not need it

    codes, book = quantised.codes.copy(), quantised.codebooks[-1]
    _, group, sizes = np.unique(codes[:, :-1], axis=0, return_inverse=True, return_counts=True)
    if sizes.max(initial=0) > len(book):
        many = f"{sizes.max()} items share all codes but the last, whose codebook has {len(book)}"
        remedy = "raise semantic_ids.codebook_size or .levels, or set semantic_ids.collisions=level"
        raise ConfigError(f"{many}: {remedy}")
    order = np.argsort(group.reshape(-1), kind="stable")
    for members in np.split(order, np.cumsum(sizes)[:-1]):
        if len(np.unique(codes[members, -1])) < len(members):
            distance = np.square(quantised.last_residual[members, None] - book).sum(axis=-1)
            rows, columns = linear_sum_assignment(distance)
            codes[members[rows], -1] = columns
    return codes
