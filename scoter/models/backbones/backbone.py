"""What every recommender network is to the rest of scoter; an own one derives from this."""

from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.backbones.registry import ItemSpace
from scoter.models.decoding.ranking import AfterBatch, ignore
from scoter.protocols import StepSource
from scoter.types import Histories, Rankings

if TYPE_CHECKING:
    from scoter.models.training.batches import ItemBatch


class Backbone(nn.Module):
    """A recommender network that may read chains through a fusion.

    A subclass gives `build`, `loss`, `recommend` and, for InfoNCE, `output_vectors`.
    """

    trains = True
    """Whether there is anything to train; popularity only counts."""
    needs_ids = False
    """Whether it is built over semantic IDs."""
    reading_layers = 1
    """In how many layers a fusion could read."""

    def __init__(self, config: Any, fusion: Any = None, precision: str = "fp32") -> None:
        super().__init__()
        self.config, self.fusion, self.precision = config, fusion, precision
        self.alignment: nn.Module | None = None

    @classmethod
    def build(cls, config: Any, items: ItemSpace, precision: str) -> "Backbone":
        """An untrained network over `items`."""
        raise NotImplementedError

    def attach(self, fusion: Any) -> None:
        """Read chains through `fusion` from now on."""
        self.fusion = fusion

    def loss(
        self, batch: "ItemBatch", steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean loss over the batch's targets, in nats."""
        raise NotImplementedError

    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
    ) -> Rankings:
        """The `k` best items after each history; see `rank_in_batches` for `after_batch`."""
        raise NotImplementedError

    def output_vectors(self, items: Int[Tensor, " items"]) -> Float[Tensor, "items dim"]:
        """The vectors that scores are products with."""
        raise NotImplementedError
