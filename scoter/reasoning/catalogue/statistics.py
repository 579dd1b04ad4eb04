"""Counts over a training log, cross-fitted: no user's chain uses counts of that user's own log.

Without cross-fitting, the training target's own transition is counted and the test target's is not,
so a model would learn to copy the chain.

Limit: the other users' *training* logs lack everybody's last two interactions, so the statistics
say slightly less about validation and test targets; `leakage.mention_table` measures this.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from scoter.seeding import derive_seed
from scoter.types import InteractionLog


@dataclass(frozen=True, eq=False)
class FoldedStatistics:
    """Counts for each of `folds` groups of users, made from the logs of all other groups.

    A user's group is a seeded hash of the user's key, so it depends neither on the order of the log
    nor on the other users. It is the same in training, validation, test and discovery.
    """

    log: InteractionLog
    item_count: int
    seed: int
    folds: int = 10
    window: int = 5  # interactions after an item that count as its successors
    decay: float = 0.8  # weight of a successor relative to the one before it, in (0, 1]

    @cached_property
    def user_folds(self) -> Int[np.ndarray, " users"]:
        """The group of each user."""
        hashes = [derive_seed(self.seed, "fold", key) for key in self.log.user_keys]
        return np.array([value % self.folds for value in hashes], np.int64)

    @cached_property
    def transitions(self) -> tuple[csr_array, ...]:
        """For each group, how often item i (row) precedes item j (column) in other groups' logs.

        An item that follows g interactions later, g = 1..window, counts decay ** (g - 1).
        """
        earlier, later, weights, owners = self._pairs
        shape, counts = (self.item_count, self.item_count), []
        for fold in range(self.folds):
            others = self.user_folds[owners] != fold
            pairs = (earlier[others], later[others])
            counts.append(csr_array((weights[others], pairs), shape=shape))
        return tuple(counts)

    @cached_property
    def popularity(self) -> Float[np.ndarray, "folds items"]:
        """For each group, how often each item occurs in the other groups' logs."""
        counts = np.zeros((self.folds, self.item_count))
        np.add.at(counts, (np.repeat(self.user_folds, self.log.lengths), self.log.items), 1.0)
        return counts.sum(axis=0) - counts

    @property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Earlier item, later item, weight and user of each pair at most `window` apart."""
        items, owners = self.log.items, np.repeat(np.arange(self.log.user_count), self.log.lengths)
        parts = []
        for gap in range(1, self.window + 1):
            first = np.flatnonzero(owners[:-gap] == owners[gap:])
            weights = np.full(len(first), self.decay ** (gap - 1))
            parts.append((items[first], items[first + gap], weights, owners[first]))
        earlier, later, weights, users = map(np.concatenate, zip(*parts, strict=True))
        return earlier, later, weights, users
