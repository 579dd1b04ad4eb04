"""InfoNCE between a chain's steps and the target item (van den Oord et al. 2018).

The paper's summary names an InfoNCE term and leaves the rest open. The choices here:

- **Step representation**: the mean of the slots that exist, as the recommender reads them, then a
  linear map of its own. A step need not tell the target by itself (T3), and pulling every step to
  the target would make the steps alike. The mean-pooled arm has the very same term.
- **Item vectors**: the recommender's own output vectors, since scores are products with them; in
  TIGER the mean of the embeddings of the item's codes. They are held fixed, so that the term moves
  the fusion and never the item table.
- **Negatives**: the other targets of the batch, in the proportion in which they occur, without
  those that equal the target or stand in the same prefix, which may well be bought again.

Limit: a batch holds windows, so a history item older than its window is not known to be one.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.transfer.fusion import StructuredFusion


class Alignment(nn.Module):
    """The weighted term for one fusion, with the linear map that it trains."""

    def __init__(self, dim: int, weight: float, temperature: float) -> None:
        super().__init__()
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
        """`weight` times the mean InfoNCE in nats over the rows with a chain; 0 without any.

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
        queries, vectors = self.map(mean)[some].float(), item_vectors.detach()[some].float()
        terms = info_nce(queries, vectors, items[some], histories[some], self.temperature)
        return self.weight * terms


def info_nce(
    queries: Float[Tensor, "rows dim"],
    item_vectors: Float[Tensor, "rows dim"],
    items: Int[Tensor, " rows"],
    histories: Int[Tensor, "rows length"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Mean of -log of the softmax share of a row's target among the targets it may be held against.

    Scores are cosines over `temperature`.

    >>> vectors, none = torch.eye(2), torch.full((2, 1), -1)
    >>> loss = info_nce(vectors, vectors, torch.arange(2), none, temperature=1.0)
    >>> round(float(loss), 4)  # log(1 + e^-1)
    0.3133
    """
    unit = nn.functional.normalize(item_vectors, dim=-1)
    cosines = nn.functional.normalize(queries, dim=-1) @ unit.T
    blocked = items[:, None] == items[None, :]
    for column in histories.T:
        blocked = blocked | (column[:, None] == items[None, :])
    blocked.fill_diagonal_(False)
    logits = (cosines / temperature).masked_fill(blocked, -torch.inf)
    return nn.functional.cross_entropy(logits, torch.arange(len(items)))
