"""The most popular items of the training log, the same for every user: the floor of every table."""

import numpy as np
from jaxtyping import Float32, Int

from scoter.config import PopularityConfig
from scoter.errors import ConfigError
from scoter.models.backbones.backbone import Backbone, ItemSpace
from scoter.models.decoding.ranking import AfterBatch, ignore
from scoter.protocols import StepSource
from scoter.types import Histories, InteractionLog, Rankings


class Popularity(Backbone[PopularityConfig]):
    """Counts training interactions per item; scores are log-shares in nats.

    Ties go to the lower item number.

    >>> log = InteractionLog(np.array([2, 1, 2]), np.array([0, 3]), ("a",))
    >>> model = Popularity(log, item_count=3)
    >>> model.recommend(Histories(np.array([0]), np.array([2]), np.array([0, 1])), k=2).items
    array([[2, 1]])
    """

    Config = PopularityConfig
    trains = False

    def __init__(self, train: InteractionLog, item_count: int) -> None:
        super().__init__(PopularityConfig())
        counts = np.bincount(train.items, minlength=item_count)
        self.order = np.lexsort((np.arange(item_count), -counts))
        with np.errstate(divide="ignore"):
            self.scores = np.log(counts / max(1, counts.sum())).astype(np.float32)

    @classmethod
    def build(
        cls, config: PopularityConfig, items: ItemSpace, precision: str = "fp32"
    ) -> "Popularity":
        """Counts over the training log of `items`."""
        if items.train is None:
            raise ConfigError("train is None, but popularity is counted in it; pass the log")
        return cls(items.train, items.item_count)

    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
    ) -> Rankings:
        """The same `k` items in every row; -1 beyond the end of the catalogue."""
        items, scores = np.full(k, -1, np.int64), np.full(k, -np.inf, np.float32)
        top = self.order[:k]
        items[: len(top)], scores[: len(top)] = top, self.scores[top]
        rows = (len(histories), 1)
        return Rankings(histories.users, np.tile(items, rows), np.tile(scores, rows))

    def rescore(
        self,
        histories: Histories,
        items: Int[np.ndarray, "histories k"],
        steps: StepSource | None = None,
    ) -> Float32[np.ndarray, "histories k"]:
        """The log-shares of given items; -inf where an item is -1."""
        return np.where(items >= 0, self.scores[items], -np.inf).astype(np.float32)
