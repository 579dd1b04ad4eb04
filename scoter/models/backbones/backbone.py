"""What every recommender network is to the rest of scoter; a new one derives from this."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.config import ModelConfig
from scoter.errors import ConfigError
from scoter.models.decoding.ranking import AfterBatch, ignore
from scoter.models.decoding.votes import add_votes
from scoter.models.step_reader import ChainMemory
from scoter.protocols import Fusion, StepSource
from scoter.types import Catalog, Histories, InteractionLog, Rankings, SemanticIds

if TYPE_CHECKING:
    from scoter.models.training.batches import HistoryBatch, ItemBatch

    Listed = tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]


@dataclass(frozen=True, eq=False)
class ItemSpace:
    """What a backbone is built over."""

    item_count: int
    ids: SemanticIds | None = None  # of every item; None where the backbone needs none
    train: InteractionLog | None = None  # None where weights are loaded and nothing is counted
    catalog: Catalog | None = None  # None where nothing is counted
    texts: Callable[[], np.ndarray] | None = None  # makes the items' text vectors, if they have any


C = TypeVar("C", bound=ModelConfig)


class Backbone(nn.Module, Generic[C], ABC):
    """A recommender network that may read chains through a fusion.

    A subclass gives `Config`, `build`, `loss`, `recommend`; for explanations `rescore`, and for
    InfoNCE `output_vectors`.
    """

    Config: ClassVar[type[ModelConfig]]  # the dataclass that its `model` config is read with
    trains = True  # whether there is anything to train
    needs_ids = False  # whether it is built over semantic IDs
    # Whether `loss` finds its targets through `ItemBatch.places` and averages by `ItemBatch.mean`,
    # so that it takes a `PaddedBatch` as well; a GPU then records whole training steps.
    takes_padding = False
    reads_texts = False  # whether it is built over the items' text vectors
    reading_layers = 1  # in how many layers a fusion could read

    def __init__(self, config: C, precision: str = "fp32") -> None:
        super().__init__()
        self.config, self.precision = config, precision
        self.fusion: Fusion | None = None
        self.alignment: nn.Module | None = None

    @classmethod
    @abstractmethod
    def build(cls, config: C, items: ItemSpace, precision: str = "fp32") -> "Backbone[C]":
        """An untrained network over `items`."""

    def attach(self, fusion: Fusion) -> None:
        """Read chains through `fusion` from now on."""
        self.fusion = fusion

    def loss(
        self, batch: "ItemBatch", steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean loss over the batch's targets, in nats."""
        raise ConfigError(f"{type(self).__name__} defines no loss; define it, or trains = False")

    @abstractmethod
    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
    ) -> Rankings:
        """The `k` best items after each history.

        Args:
            after_batch: called with the row numbers of each batch, once it is ranked.
        """

    def voted(
        self,
        log_p: Float[Tensor, " N"],
        states: Float[Tensor, "N D"],
        memory: ChainMemory,
        items: Int[Tensor, " N"],
    ) -> Float[Tensor, " N"]:
        """What training maximises of each target: log p' where the steps of its chain vote.

        Where the fusion is `detached` it is log p + log p' with p fixed in p', so that the votes
        learn what to add to a recommender that is trained as if there were none.
        """
        assert self.fusion is not None
        assert memory.named is not None
        own = log_p
        if self.fusion.detached:
            log_p, states = log_p.detach(), states.detach()
        weights = self.fusion.vote(states, memory)
        voted = add_votes(log_p[:, None], weights, memory.named, items[:, None])[:, 0]
        return own + voted if self.fusion.detached else voted

    def listed(self, asked: "HistoryBatch", k: int, steps: StepSource | None) -> "Listed | None":
        """The best items by themselves, their own log p, and what the steps vote, if they do.

        None where the backbone does not say; its votes then keep the shares they were trained with.
        """
        return None

    def rescore(
        self,
        histories: Histories,
        items: Int[np.ndarray, "histories k"],
        steps: StepSource | None = None,
    ) -> Float[np.ndarray, "histories k"]:
        """The exact scores in nats of given items after each history; -inf where an item is -1."""
        remedy = "define it, or leave out explanations"
        raise ConfigError(f"{type(self).__name__} defines no rescore; {remedy}")

    def output_vectors(self, items: Int[Tensor, " items"]) -> Float[Tensor, "items dim"]:
        """The vectors that scores are products with."""
        remedy = "define it, or set fusion.alignment=0"
        raise ConfigError(f"{type(self).__name__} defines no output_vectors; {remedy}")
