"""What recommenders over item numbers share: read the chain at the end of a history, score the
whole catalogue."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.backbones.backbone import Backbone
from scoter.models.backbones.registry import ItemSpace
from scoter.models.decoding.ranking import AfterBatch, ignore, rank_in_batches
from scoter.models.decoding.votes import add_votes, add_votes_everywhere
from scoter.models.step_reader import encode_chains
from scoter.protocols import StepSource
from scoter.types import Histories, Rankings


class ItemScorer(Backbone):
    """A network whose scores are products of hidden states with its item embeddings.

    A subclass makes `items`, whose last row pads, and gives `_hidden`.
    """

    items: nn.Embedding

    def __init__(
        self, config: Any, item_count: int, fusion: Any = None, precision: str = "fp32"
    ) -> None:
        super().__init__(config, fusion, precision)
        self.item_count = item_count

    @classmethod
    def build(cls, config: Any, items: ItemSpace, precision: str = "fp32") -> "ItemScorer":
        """An untrained network over item numbers."""
        return cls(config, items.item_count, precision=precision)

    def output_vectors(self, items: Int[Tensor, " items"]) -> Float[Tensor, "items D"]:
        """The item embeddings, which scores are products with."""
        return self.items(items)

    def _hidden(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """States after each item of left-aligned rows; what stands to the right is never read."""
        raise NotImplementedError

    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
        batch_rows: int = 512,
    ) -> Rankings:
        """The `k` best-scored items of the whole catalogue after each history; see
        `rank_in_batches` for `after_batch`."""

        def best(
            items: Tensor, lengths: Tensor, users: Tensor, prefix_lengths: Tensor
        ) -> tuple[Tensor, Tensor]:
            hidden = self._hidden(items)[torch.arange(len(items)), (lengths - 1).clamp(min=0)]
            hidden, votes = self._read_chain(hidden, steps, users, prefix_lengths)
            with torch.autocast(hidden.device.type, enabled=False):
                logits = torch.log_softmax(hidden.float() @ self.items.weight[:-1].T, dim=-1)
                if votes is not None:
                    logits = add_votes_everywhere(logits, *votes)
            score, found = logits.topk(min(k, self.item_count))
            return found, score

        return rank_in_batches(
            self, best, histories, k, self.config.max_items, batch_rows, self.precision, after_batch
        )

    def _read_chain(
        self,
        hidden: Float[Tensor, "N D"],
        steps: StepSource | None,
        users: Int[Tensor, " N"],
        prefix_lengths: Int[Tensor, " N"],
    ) -> tuple[Float[Tensor, "N D"], tuple[Tensor, Tensor] | None]:
        """States that have read their chains; and, where steps have votes, the log weights of these
        and the items named."""
        if self.fusion is None:
            return hidden, None
        memory = encode_chains(self.fusion, steps, users, prefix_lengths)
        hidden = self.fusion(hidden[:, None], memory, 0)[:, 0]
        return hidden, None if memory.named is None else (
            self.fusion.vote(hidden, memory),
            memory.named,
        )

    def _cross_entropy(
        self,
        hidden: Float[Tensor, "N D"],
        labels: Int[Tensor, " N"],
        votes: tuple[Tensor, Tensor] | None,
        label_smoothing: float,
    ) -> Float[Tensor, ""]:
        """Mean over the targets, in nats, over the whole catalogue."""
        logits = nn.functional.linear(hidden, self.items.weight[:-1]).float()
        if votes is None:
            return nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        log_probs = torch.log_softmax(logits, -1)
        own = log_probs.gather(1, labels[:, None])
        smooth = label_smoothing * log_probs.mean() if label_smoothing else 0.0
        return (label_smoothing - 1) * add_votes(own, *votes, labels[:, None]).mean() - smooth
