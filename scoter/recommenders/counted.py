"""Rivals without a neural network: transitions, neighbours, EASE, and the logit of reasons."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int
from scipy.linalg import cho_factor, get_lapack_funcs
from scipy.special import log_softmax

from scoter.config import EaseConfig, ItemKnnConfig, ReasonsConfig, TransitionsConfig
from scoter.errors import ConfigError
from scoter.models.backbones.backbone import Backbone, C, ItemSpace
from scoter.models.decoding.ranking import AfterBatch, ignore
from scoter.protocols import StepSource
from scoter.reasoning.catalogue.reasons import (
    LAGS,
    ROWS,
    Reasons,
    Recent,
    Scores,
    best_items,
    bought_by_both,
    cosines,
    fit_weights,
    pairs_apart,
    seen,
    shares,
    summed,
    weighted,
)
from scoter.types import Histories, InteractionLog, Rankings

UNWANTED = -1e9  # the score of an item that is not to be recommended
TIES = 1e-6  # the weight of popularity, which orders items of equal score


class Counted(Backbone[C]):
    """A recommender that is made by counting a training log; a subclass gives `scores`."""

    trains = False
    item_count: int

    @classmethod
    def build(cls, config: C, items: ItemSpace, precision: str = "fp32") -> "Counted[C]":
        """Counts over the training log of `items`."""
        if items.train is None or items.catalog is None:
            raise ConfigError(f"{config.kind} counts; pass a training log and a catalogue to it")
        model = cls(config)
        model.item_count = items.item_count
        model.count(items.train, items)
        return model

    def count(self, train: InteractionLog, items: ItemSpace) -> None:
        """Count what `scores` needs."""
        raise NotImplementedError

    def scores(self, recent: Recent) -> Scores:
        """Scores of all items, in nats up to a constant of the row; the newest item first."""
        raise NotImplementedError

    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
    ) -> Rankings:
        """The `k` best items of the whole catalogue, with their log shares."""
        items = np.full((len(histories), k), -1, np.int64)
        found = np.full((len(histories), k), -np.inf, np.float32)
        for rows, scores in self._batches(histories):
            best, share = best_items(scores, min(k, self.item_count))
            items[rows, : best.shape[1]], found[rows, : best.shape[1]] = best, share
            after_batch(rows)
        return Rankings(histories.users, items, found)

    def rescore(
        self,
        histories: Histories,
        items: Int[np.ndarray, "histories k"],
        steps: StepSource | None = None,
    ) -> Float32[np.ndarray, "histories k"]:
        """The log shares of given items after each history; -inf where an item is -1."""
        found = np.full(items.shape, -np.inf, np.float32)
        for rows, scores in self._batches(histories):
            whole = log_softmax(scores, axis=1)
            own = np.take_along_axis(whole, np.maximum(items[rows], 0), axis=1)
            found[rows] = np.where(items[rows] >= 0, own, -np.inf)
        return found

    def _batches(self, histories: Histories) -> Iterator[tuple[np.ndarray, Scores]]:
        newest = histories.newest(LAGS)
        for rows in np.split(np.arange(len(histories)), np.arange(ROWS, len(histories), ROWS)):
            yield rows, self.scores(newest[rows])


class TransitionGraph(Counted[TransitionsConfig]):
    """What follows the last one or two items, untrained (as in arXiv 2605.07125)."""

    Config: ClassVar = TransitionsConfig

    def count(self, train: InteractionLog, items: ItemSpace) -> None:
        self.follows = shares(pairs_apart(train, items.item_count, 1), prior=0.0)
        self.popular = _tie_breaks(train, items.item_count)

    def scores(self, recent: Recent) -> Scores:
        newest = weighted(recent[:, : self.config.window], self.item_count, self.config.decay)
        return _log(summed(newest, self.follows) + self.popular)


class ItemKnn(Counted[ItemKnnConfig]):
    """Neighbours: cosines of buyers with the items of the history, newer ones counting more."""

    Config: ClassVar = ItemKnnConfig

    def count(self, train: InteractionLog, items: ItemSpace) -> None:
        self.together = cosines(bought_by_both(train, items.item_count))
        self.popular = _tie_breaks(train, items.item_count)

    def scores(self, recent: Recent) -> Scores:
        history = weighted(recent, self.item_count, self.config.decay)
        near = summed(history, self.together) + self.popular
        return _log(near if self.config.repeats else np.where(seen(recent, near.shape[1]), 0, near))


class Ease(Counted[EaseConfig]):
    """EASE (Steck 2019, arXiv 1905.03375): the linear autoencoder with a zero diagonal."""

    Config: ClassVar = EaseConfig

    def count(self, train: InteractionLog, items: ItemSpace) -> None:
        both = bought_by_both(train, items.item_count).toarray()
        both[np.diag_indices_from(both)] += self.config.l2
        factor, lower = cho_factor(both, overwrite_a=True, check_finite=False)
        half, _ = get_lapack_funcs(["potri"], [factor])[0](factor, lower=lower, overwrite_c=True)
        inverse = np.triu(half)
        inverse += np.triu(half, 1).T
        self.weights = -inverse / np.diag(inverse)
        np.fill_diagonal(self.weights, 0)

    def scores(self, recent: Recent) -> Scores:
        scores = weighted(recent, self.item_count) @ self.weights
        if not self.config.repeats:
            scores[seen(recent, self.item_count) > 0] = UNWANTED
        return scores


class ReasonsLogit(Counted[ReasonsConfig]):
    """The conditional logit of counted reasons (`scoter.reasoning.catalogue.reasons`)."""

    Config: ClassVar = ReasonsConfig
    reads_texts = True

    def count(self, train: InteractionLog, items: ItemSpace) -> None:
        assert items.catalog is not None
        texts = None if items.texts is None else items.texts()
        self.reasons = Reasons(train, items.catalog, texts)
        seed, users = self.config.seed, self.config.users
        self.weights = fit_weights(train, items.catalog, texts, seed, users)

    def scores(self, recent: Recent) -> Scores:
        return self.reasons.scores(recent, self.weights)


def _tie_breaks(train: InteractionLog, item_count: int) -> Float32[np.ndarray, " items"]:
    counts = np.bincount(train.items, minlength=item_count).astype(np.float32)
    return TIES * counts / max(1.0, counts.max())


def _log(scores: Float32[np.ndarray, "rows items"]) -> Scores:
    return np.log(np.maximum(scores, 1e-12))
