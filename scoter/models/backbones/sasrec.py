"""SASRec (Kang and McAuley 2018): a causal transformer over items, scored against the whole
catalogue.

Two losses: `ce`, a softmax over all items for every position, and `bce`, the original's one random
negative per position. With a `fusion`, the hidden state of each prefix reads that prefix's chain
before scoring.

Shape legend: B rows, L items in a row, T = L - 1 targets, D width.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.config import SasrecConfig
from scoter.errors import ConfigError
from scoter.models.backbones.item_scorer import ItemScorer
from scoter.models.training.batches import ItemBatch
from scoter.protocols import StepSource


class SASRec(ItemScorer):
    """Next-item model over item numbers; output weights are the item embeddings.

    Example:
        >>> import numpy as np
        >>> from scoter.types import Histories
        >>> model = SASRec(SasrecConfig(dim=8, layers=1, heads=2), item_count=5)
        >>> histories = Histories(np.array([0]), np.array([2, 1]), np.array([0, 2]))
        >>> sorted(model.recommend(histories, k=5).items[0].tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self, config: SasrecConfig, item_count: int, fusion: Any = None, precision: str = "fp32"
    ) -> None:
        super().__init__(config, item_count, fusion, precision)
        self.items = nn.Embedding(item_count + 1, config.dim, padding_idx=item_count)
        self.positions = nn.Embedding(config.max_items, config.dim)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            config.dim,
            config.heads,
            4 * config.dim,
            config.dropout,
            "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(config.dim), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(config.dropout)

    def attach(self, fusion: Any) -> None:
        """Read chains through `fusion` from now on.

        Raises:
            ConfigError: the fusion votes, and the loss is `bce`.
        """
        if fusion.votes is not None and self.config.loss == "bce":
            raise ConfigError(
                "fusion.votes = True mixes probabilities, and model.loss = 'bce' has none; set "
                "model.loss=ce"
            )
        super().attach(fusion)

    def loss(
        self, batch: ItemBatch, steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean loss in nats per target."""
        hidden = self._hidden(batch.items[:, :-1])
        rows, targets = hidden.shape[:2]
        users = batch.users.repeat_interleave(targets)
        hidden, votes = self._read_chain(
            hidden.flatten(0, 1), steps, users, batch.prefix_lengths.flatten()
        )
        hidden = hidden.view(rows, targets, -1)[batch.is_target]
        labels = batch.items[:, 1:][batch.is_target]
        if self.config.loss == "ce":
            chosen = batch.is_target.flatten()
            votes = None if votes is None else (votes[0][chosen], votes[1][chosen])
            return self._cross_entropy(hidden, labels, votes, label_smoothing)
        # Uniform over the catalogue without the positive itself.
        negatives = torch.randint(self.item_count - 1, labels.shape)
        negatives = negatives + (negatives >= labels)
        positive = (hidden * self.items(labels)).sum(-1).float()
        negative = (hidden * self.items(negatives)).sum(-1).float()
        return (nn.functional.softplus(-positive) + nn.functional.softplus(negative)).mean()

    def _hidden(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        length = items.shape[1]
        # Positions count from the left; attention is causal, so padding on the right is never read.
        x = (
            self.items(torch.where(items < 0, self.item_count, items)) * self.config.dim**0.5
            + self.positions.weight[:length]
        )
        causal = torch.triu(torch.full((length, length), -torch.inf), diagonal=1)
        return self.encoder(self.dropout(x), mask=causal, is_causal=True)
