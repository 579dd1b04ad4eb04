"""Counts over a training log, cross-fitted: no prefix's chain counts its own continuation.

Without cross-fitting, the training target's own transition is counted and the test target's is not,
so a model would learn to copy the chain. So a training prefix is counted without its user's group.
After the whole log, as in validation and test, there is nothing to hide, and all logs count.

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
    nor on the other users. It is the same in training and discovery. One more group, `folds`, has
    no users: its counts are those of all logs.
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

    def left_out(
        self, users: Int[np.ndarray, " rows"], prefix_lengths: Int[np.ndarray, " rows"]
    ) -> Int[np.ndarray, " rows"]:
        """The group whose logs are not counted for each prefix.

        It is the user's where the user's log goes on after the prefix, and `folds` after a whole
        log or for a user -1, whom the log does not have.
        """
        goes_on = (users >= 0) & (prefix_lengths < self.log.lengths[users])
        return np.where(goes_on, self.user_folds[users], self.folds)

    @cached_property
    def transitions(self) -> tuple[csr_array, ...]:
        """For each group, how often item i (row) precedes item j (column) in all other logs.

        An item that follows g interactions later, g = 1..window, counts decay ** (g - 1).
        """
        earlier, later, weights, owners = self._pairs
        shape, owned = (self.item_count, self.item_count), self.user_folds[owners]
        others = (owned != fold for fold in range(self.folds + 1))
        kept = ((weights[rows], (earlier[rows], later[rows])) for rows in others)
        return tuple(csr_array(entries, shape=shape) for entries in kept)

    @cached_property
    def popularity(self) -> Float[np.ndarray, "groups items"]:
        """For each group, how often each item occurs in all other logs."""
        counts = np.zeros((self.folds + 1, self.item_count))
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
