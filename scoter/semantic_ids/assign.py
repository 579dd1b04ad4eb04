"""The collision level, which makes semantic IDs unique."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from scoter.types import SemanticIds


def add_collision_level(codes: Int[np.ndarray, "items levels"], codebook_sizes: Sequence[int], seed: int) -> SemanticIds:
    """Semantic IDs with one more level, which numbers the items of equal codes 0, 1, ... (Rajput et al. 2023).

    The order within a group is drawn from `seed`: an item's number in the catalogue says nothing here. The
    last codebook is as large as the largest group, so its size is 1 where all codes are distinct.

    Example:
        >>> ids = add_collision_level(np.array([[0, 1], [0, 1], [1, 0]]), (2, 2), seed=0)
        >>> sorted(ids.codes[:2, 2].tolist()), ids.codes[2].tolist(), ids.codebook_sizes
        ([0, 1], [1, 0, 0], (2, 2, 2))
    """
    _, group, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    drawn = np.random.default_rng(seed).permutation(len(codes))
    order = drawn[np.argsort(group[drawn], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    number = np.empty(len(codes), np.int64)
    number[order] = np.arange(len(codes)) - np.repeat(starts, sizes)
    return SemanticIds(np.column_stack([codes, number]).astype(np.int64), (*codebook_sizes, int(sizes.max(initial=1))))
