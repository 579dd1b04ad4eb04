"""SASRec (Kang and McAuley 2018): a causal transformer over items, scored against the catalogue.

Two losses: `ce`, a softmax over all items for every position, and `bce`, the original's one random
negative per position.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.config import SasrecConfig
from scoter.errors import ConfigError
from scoter.models.backbones.item_scorer import ItemScorer
from scoter.models.training.batches import ItemBatch
from scoter.protocols import Fusion, StepSource


class SASRec(ItemScorer[SasrecConfig]):
    """Next-item model over item numbers; output weights are the item embeddings."""

    Config = SasrecConfig

    def __init__(self, config: SasrecConfig, item_count: int, precision: str = "fp32") -> None:
        super().__init__(config, item_count, precision)
        dim, dropout = config.dim, config.dropout
        self.positions = nn.Embedding(config.max_items, dim)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        options = {"batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(dim, config.heads, 4 * dim, dropout, "gelu", **options)
        norm = nn.LayerNorm(dim)
        self.encoder = nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)

    def attach(self, fusion: Fusion) -> None:
        """As for every backbone, except that `bce` gives no votes to mix."""
        if fusion.has_votes and self.config.loss == "bce":
            raise ConfigError(
                "fusion.votes = True needs probabilities, which 'bce' lacks; set model.loss=ce"
            )
        super().attach(fusion)

    def loss(
        self, batch: ItemBatch, steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean loss in nats per target."""
        hidden = self.states(batch.items[:, :-1])
        targets = hidden.shape[1]
        users, lengths = batch.users.repeat_interleave(targets), batch.prefix_lengths.flatten()
        hidden, memory = self._read(hidden.flatten(0, 1), steps, users, lengths)
        row, column = batch.places
        chosen = row * targets + column
        hidden = hidden[chosen]
        if self.config.loss == "ce":
            memory = None if memory is None else memory.of(chosen)
            return self._cross_entropy(hidden, batch, memory, label_smoothing)
        # Uniform over the catalogue without the positive itself.
        labels = batch.targets
        negatives = torch.randint(self.item_count - 1, labels.shape)
        negatives = negatives + (negatives >= labels)
        positive = (hidden * self.items(labels)).sum(-1).float()
        negative = (hidden * self.items(negatives)).sum(-1).float()
        return batch.mean(nn.functional.softplus(-positive) + nn.functional.softplus(negative))

    def states(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """The state after each item; positions count from the left."""
        length = items.shape[1]
        x = self.vectors(items) * self.config.dim**0.5 + self.positions.weight[:length]
        causal = torch.triu(torch.full((length, length), -torch.inf), diagonal=1)
        return self.encoder(self.dropout(x), mask=causal, is_causal=True)
