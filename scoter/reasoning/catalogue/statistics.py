"""Interaction statistics for chains, cross-fitted: nobody's chain is made with that shopper's own
log.

Without this, the last item's commonest successors contain the training target most of the time (the
target's own transition is among the counts) and the test target hardly ever, and a model learns to
copy the chain.

Limit: the other shoppers' logs are their *training* logs, which lack everybody's last two events.
Items that are bought late are therefore counted less often, so that what the statistics say about
validation and test targets is a little worse than about training targets. `leakage.mention_table`
measures by how much.
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
    """Counts of a training log for each of `folds` groups of shoppers, made from the logs of all
    other groups.

    The group of a shopper is a seeded hash of the shopper's key, so it depends neither on the order
    of the log nor on who else is in it. A shopper uses one group's statistics everywhere: in
    training, validation, test and discovery.
    """

    log: InteractionLog
    item_count: int
    seed: int
    folds: int = 10
    window: int = 5
    decay: float = 0.8

    @cached_property
    def user_folds(self) -> Int[np.ndarray, " users"]:
        """The group of each shopper."""
        return np.array(
            [derive_seed(self.seed, "fold", key) % self.folds for key in self.log.user_keys],
            np.int64,
        )

    @cached_property
    def transitions(self) -> tuple[csr_array, ...]:
        """For each group, how often item i (row) is followed by item j (column) in the other
        groups' logs.

        An item that follows g events later, g = 1..window, counts decay ** (g - 1).

        Example:
            >>> log = InteractionLog(
            ...     np.array([0, 1, 0, 1, 0, 2]), np.array([0, 2, 4, 6]), ("ann", "bob", "cy")
            ... )
            >>> counts = FoldedStatistics(log, item_count=3, seed=0)
            >>> ann = counts.transitions[counts.user_folds[0]].toarray()
            >>> ann[0].tolist()  # only what bob and cy did
            [0.0, 1.0, 1.0]
        """
        earlier, later, weights, owners = self._pairs
        shape = (self.item_count, self.item_count)
        counts = []
        for fold in range(self.folds):
            others = self.user_folds[owners] != fold
            counts.append(
                csr_array((weights[others], (earlier[others], later[others])), shape=shape)
            )
        return tuple(counts)

    @cached_property
    def popularity(self) -> Float[np.ndarray, "folds items"]:
        """For each group, how often each item was bought in the other groups' logs."""
        event_folds = np.repeat(self.user_folds, self.log.lengths)
        counts = np.zeros((self.folds, self.item_count))
        np.add.at(counts, (event_folds, self.log.items), 1.0)
        return counts.sum(axis=0) - counts

    @property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Earlier item, later item, weight and shopper of every pair of events at most `window`
        apart."""
        items, owners = self.log.items, np.repeat(np.arange(self.log.user_count), self.log.lengths)
        parts = []
        for gap in range(1, self.window + 1):
            first = np.flatnonzero(owners[:-gap] == owners[gap:])
            parts.append(
                (
                    items[first],
                    items[first + gap],
                    np.full(len(first), self.decay ** (gap - 1)),
                    owners[first],
                )
            )
        earlier, later, weights, users = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return earlier, later, weights, users
