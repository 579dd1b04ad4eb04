"""Reasons and their weights, cross-fitted: no prefix's chain counts its own continuation.

A training prefix leaves its user's fold out of the counts and out of the users on whom the weights
are fitted (`FoldedStatistics.left_out`). Limit: what is counted for the users of the fit includes
the fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Float32, Int

from scoter.reasoning.catalogue.reasons import (
    LAGS,
    ROWS,
    Reasons,
    best_items,
    conditional_logit,
    sample_choices,
)
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import View
from scoter.seeding import derive_seed
from scoter.types import Catalog

ALL = "all reasons"
LISTED = 20  # items that are looked for at least
KEPT = 50_000  # interactions up to which the counts of all folds are kept

Listed = tuple[Int[np.ndarray, "rows count"], Float32[np.ndarray, "rows count"]]
Weights = Sequence[Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class FoldedReasons:
    """What the reasons rank first, for the users of each fold."""

    catalog: Catalog
    statistics: FoldedStatistics
    texts: Float[np.ndarray, "items dim"] | None  # vectors of item texts; None where there are none
    known: Weights | None = None  # fitted before; None fits them here
    _made: dict[int, Reasons] = field(init=False, repr=False, default_factory=dict)
    _lists: "WeakKeyDictionary[View, dict[str, Listed]]" = field(
        init=False, repr=False, default_factory=WeakKeyDictionary
    )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The reasons that this catalogue has."""
        return self.of(0).names

    @cached_property
    def weights(self) -> Weights:
        """The weight of each reason for each fold, fitted on users of the other folds."""
        if self.known is not None:
            return self.known
        folds, log = self.statistics.user_folds, self.statistics.log
        seed = derive_seed(self.statistics.seed, "weights")
        sample = sample_choices(log, self.catalog, self.texts, folds, seed)
        groups = range(self.statistics.folds + 1)
        fitted = (conditional_logit(*sample.without(group)) for group in groups)
        return [dict(zip(self.names, weights.tolist(), strict=True)) for weights in fitted]

    def of(self, fold: int) -> Reasons:
        """The reasons as counted without the users of a fold; those of a short log are kept."""
        if fold in self._made:
            return self._made[fold]
        kept = self.statistics.user_folds != fold
        made = Reasons(self.statistics.log, self.catalog, self.texts, kept)
        if len(self.statistics.log.items) <= KEPT:
            self._made[fold] = made
        return made

    def best(self, view: View, by: str, count: int) -> Listed:
        """The `count` best items by one reason, or by `ALL` in their weights, and their shares.

        By one reason, items of the history are left out, and an item that the reason says nothing
        of is -1. They are kept as long as the view, since many steps of a pattern ask for them.
        """
        known = self._lists.setdefault(view, {})
        if by not in known or known[by][0].shape[1] < count:
            known[by] = self._best(view, by, max(count, LISTED))
        items, shares = known[by]
        return items[:, :count], shares[:, :count]

    def parts(self, view: View, items: Int[np.ndarray, "rows k"]) -> list[list[dict[str, float]]]:
        """What each reason adds to the score of each item: its weight times its value, in nats."""
        found: list[list[dict[str, float]]] = [[{} for _ in row] for row in items]
        folds = self.statistics.left_out(view.users, view.prefix_lengths)
        for name, values in self.values(view, items).items():
            weights = np.array([weights[name] for weights in self.weights], np.float32)
            added = (weights[folds, None] * values).tolist()
            for row, parts in zip(found, added, strict=True):
                for item, part in zip(row, parts, strict=True):
                    item[name] = part
        return found

    def values(
        self, view: View, items: Int[np.ndarray, "rows k"]
    ) -> dict[str, Float32[np.ndarray, "rows k"]]:
        """Each reason of each item, by name."""
        found = {name: np.zeros(items.shape, np.float32) for name in self.names}
        for fold, chosen in self._by_fold(view):
            for rows in np.split(chosen, np.arange(ROWS, len(chosen), ROWS)):
                for name, values in self.of(fold).each(view.recent[rows, :LAGS]):
                    found[name][rows] = np.take_along_axis(values, items[rows], axis=1)
        return found

    def kinds(self, view: View, count: int) -> Int[np.ndarray, "rows count"]:
        """The `count` categories that most outdo their usual share after the last item's."""
        found = np.full((len(view), count), -1, np.int64)
        for fold, rows in self._by_fold(view):
            best = self.of(fold).following_kinds(view.recent[rows, 0], count)
            found[rows, : best.shape[1]] = best
        return found

    def _best(self, view: View, by: str, count: int) -> Listed:
        count = min(count, self.catalog.item_count)
        shape = (len(view), count)
        items, shares = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        for fold, chosen in self._by_fold(view):
            reasons = self.of(fold)
            for rows in np.split(chosen, np.arange(ROWS, len(chosen), ROWS)):
                recent = view.recent[rows, :LAGS]
                if by == ALL:
                    scores = reasons.scores(recent, self.weights[fold])
                    items[rows], log_shares = best_items(scores, count)
                    shares[rows] = np.exp(log_shares)
                    continue
                scores = reasons.one(by, recent)
                best, _ = best_items(
                    np.where(reasons.one("bought before", recent), 0, scores), count
                )
                shares[rows] = np.take_along_axis(scores, best, axis=1)
                items[rows] = np.where(shares[rows] > 0, best, -1)
        return items, shares

    def _by_fold(self, view: View) -> "list[tuple[int, Int[np.ndarray, ' rows']]]":
        folds = self.statistics.left_out(view.users, view.prefix_lengths)
        return [(int(fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
