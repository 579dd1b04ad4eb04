"""GRU4Rec (Hidasi et al. 2016): a recurrent network over items, scored against the whole catalogue.

It departs from the original in two points, so that backbones differ in the network alone: a softmax
over all items instead of sampled negatives, and whole histories instead of sessions.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.config import Gru4RecConfig
from scoter.models.backbones.item_scorer import ItemScorer


class GRU4Rec(ItemScorer[Gru4RecConfig]):
    """Next-item model over item numbers; output weights are the item embeddings."""

    Config = Gru4RecConfig

    def __init__(self, config: Gru4RecConfig, item_count: int, precision: str = "fp32") -> None:
        super().__init__(config, item_count, precision)
        nn.init.normal_(self.items.weight, std=config.dim**-0.5)
        dim, layers = config.dim, config.layers
        between = config.dropout if layers > 1 else 0.0
        self.network = nn.GRU(dim, dim, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)

    def states(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """The state after each item."""
        x = self.dropout(self.vectors(items))
        # A recurrence adds up what rounding loses, so it runs in fp32.
        with torch.autocast(items.device.type, enabled=False):
            return self.dropout(self.network(x.float())[0])
