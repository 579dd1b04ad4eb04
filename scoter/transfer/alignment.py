"""InfoNCE between a chain's steps and the target item (van den Oord et al. 2018), our reading of
the paper's term.

The paper's summary names an InfoNCE term and leaves the rest open. Our choices:

- **Which step representation**: the mean of the slots that exist, as the recommender reads them
  (projected, with positions, normalised), then one linear map of its own. The mean and not each
  step alone, because a step need not tell the target by itself (T3: steps may be worth something
  only together), and pulling every step to the target would make the steps alike. The mean is
  defined for one slot too, so the mean-pooled arm has the very same term.
- **Which item vectors**: the recommender's own output vectors, since scores are products with them;
  in TIGER the mean of the embeddings of the item's codes. They are held fixed here, so that the
  term moves the fusion and never the item table.
- **Negatives**: the other targets of the batch, in the proportion in which they occur. Left out are
  those that equal the target and those that stand in the same prefix, which may well be bought
  again.

Limit: a batch holds windows, so a history item older than its window is not known to be one.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.errors import ConfigError
from scoter.transfer.fusion import StructuredFusion


class Alignment(nn.Module):
    """The weighted term for one fusion, with the linear map that it trains.

    Example:
        >>> fusion = StructuredFusion(steps=3, step_dim=4, dim=8, layers=1, heads=2)
        >>> align = Alignment(dim=8, weight=0.1, temperature=0.1)
        >>> steps, mask, items = (
        ...     torch.randn(5, 3, 4),
        ...     torch.ones(5, 3, dtype=torch.bool),
        ...     torch.arange(5),
        ... )
        >>> align(fusion, steps, mask, torch.randn(5, 8), items, items[:, None] - 1).shape
        torch.Size([])
    """

    def __init__(self, dim: int, weight: float, temperature: float) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(
                f"fusion.alignment = {weight} is negative; use 0 to leave InfoNCE out, or a "
                f"positive weight"
            )
        if temperature <= 0:
            raise ConfigError(
                f"fusion.temperature = {temperature} must be above 0; 0.05 to 0.5 are common"
            )
        self.weight, self.temperature = weight, temperature
        self.map = nn.Linear(dim, dim, bias=False)

    def forward(
        self,
        fusion: StructuredFusion,
        steps: Float[Tensor, "rows steps step_dim"],
        mask: Bool[Tensor, "rows steps"],
        item_vectors: Float[Tensor, "rows dim"],
        items: Int[Tensor, " rows"],
        histories: Int[Tensor, "rows length"],
    ) -> Float[Tensor, ""]:
        """`weight` times the mean InfoNCE in nats over the rows that have a chain; 0 where none
        has.

        Args:
            item_vectors: the output vector of each row's target.
            items: the targets' numbers.
            histories: the items of each row's prefix, -1 beyond.
        """
        memory = fusion.encode(steps, mask)
        there = (memory.bias[:, 0, 0, :-1] == 0).to(memory.slots.dtype)
        mean = (memory.slots[:, :-1] * there[..., None]).sum(1) / there.sum(1).clamp(min=1)[:, None]
        some = there.any(dim=1)
        if not bool(some.any()):
            return mean.sum() * 0
        queries = self.map(mean)[some].float()
        return self.weight * info_nce(
            queries,
            item_vectors.detach()[some].float(),
            items[some],
            histories[some],
            self.temperature,
        )


def info_nce(
    queries: Float[Tensor, "rows dim"],
    item_vectors: Float[Tensor, "rows dim"],
    items: Int[Tensor, " rows"],
    histories: Int[Tensor, "rows length"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Mean over rows of -log of the softmax share of the own target, by cosine over `temperature`,
    among allowed targets.

    Example:
        >>> one = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> nothing = torch.full((2, 1), -1)
        >>> round(
        ...     float(info_nce(one, one, torch.arange(2), nothing, temperature=1.0)), 4
        ... )  # log(1 + e^-1)
        0.3133
    """
    cosines = (
        nn.functional.normalize(queries, dim=-1) @ nn.functional.normalize(item_vectors, dim=-1).T
    )
    blocked = items[:, None] == items[None, :]
    for column in histories.T:
        blocked = blocked | (column[:, None] == items[None, :])
    blocked.fill_diagonal_(False)
    logits = (cosines / temperature).masked_fill(blocked, -torch.inf)
    return nn.functional.cross_entropy(logits, torch.arange(len(items)))
