"""GRU4Rec (Hidasi et al. 2016): a recurrent network over items, scored against the whole catalogue.

Two departures from the original, so that backbones differ in the network alone: a softmax over all
items instead of sampled negatives (as SASRec here), and whole histories instead of sessions. Output
weights are the item embeddings. With a `fusion`, the hidden state of each prefix reads that
prefix's chain before scoring.

Shape legend: B rows, L items in a row, D width.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.config import Gru4RecConfig
from scoter.models.backbones.item_scorer import ItemScorer
from scoter.models.training.batches import ItemBatch
from scoter.protocols import StepSource


class GRU4Rec(ItemScorer):
    """Next-item model over item numbers.

    Example:
        >>> import numpy as np
        >>> from scoter.types import Histories
        >>> model = GRU4Rec(Gru4RecConfig(dim=8), item_count=5)
        >>> histories = Histories(np.array([0]), np.array([2, 1]), np.array([0, 2]))
        >>> sorted(model.recommend(histories, k=5).items[0].tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self, config: Gru4RecConfig, item_count: int, fusion: Any = None, precision: str = "fp32"
    ) -> None:
        super().__init__(config, item_count, fusion, precision)
        self.items = nn.Embedding(item_count + 1, config.dim, padding_idx=item_count)
        nn.init.normal_(self.items.weight, std=config.dim**-0.5)
        between = config.dropout if config.layers > 1 else 0.0
        self.network = nn.GRU(
            config.dim, config.dim, config.layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(config.dropout)

    def loss(
        self, batch: ItemBatch, steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats per target, over the whole catalogue."""
        hidden = self._hidden(batch.items[:, :-1])[batch.is_target]
        users = batch.users[:, None].expand_as(batch.is_target)[batch.is_target]
        hidden, votes = self._read_chain(
            hidden, steps, users, batch.prefix_lengths[batch.is_target]
        )
        return self._cross_entropy(
            hidden, batch.items[:, 1:][batch.is_target], votes, label_smoothing
        )

    def _hidden(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """States after each item. Rows are left-aligned, so that padding comes after everything
        that is read."""
        x = self.dropout(self.items(torch.where(items < 0, self.item_count, items)))
        with torch.autocast(
            items.device.type, enabled=False
        ):  # a recurrence adds up what rounding loses
            return self.dropout(self.network(x.float())[0])
