"""Recommenders that score the whole catalogue with the state after a history's last item."""

from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.backbones.backbone import Backbone, C, ItemSpace
from scoter.models.backbones.log_prob import forget, log_prob
from scoter.models.decoding.ranking import AfterBatch, ignore, rank_in_batches
from scoter.models.decoding.votes import add_votes_everywhere
from scoter.models.step_reader import ChainMemory, read_chains
from scoter.models.training.batches import HistoryBatch, ItemBatch
from scoter.protocols import StepSource
from scoter.types import Histories, Rankings


class ItemScorer(Backbone[C]):
    """A network whose scores are products of hidden states with its item vectors.

    A subclass gives `states`. Shapes: B rows, L items in a row, N states, D width.
    """

    takes_padding = True

    def __init__(self, config: C, item_count: int, precision: str = "fp32") -> None:
        super().__init__(config, precision)
        self.item_count = item_count
        self.items = nn.Embedding(item_count + 1, config.dim, padding_idx=item_count)

    @classmethod
    def build(cls, config: C, items: ItemSpace, precision: str = "fp32") -> "ItemScorer[C]":
        """An untrained network over item numbers."""
        return cls(config, items.item_count, precision=precision)

    @abstractmethod
    def states(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """The state after each item of left-aligned rows; -1 pads on the right."""

    def vectors(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """The vector of each item; that of the padding for -1."""
        return self.items(torch.where(items < 0, self.item_count, items))

    def output_vectors(self, items: Int[Tensor, " items"]) -> Float[Tensor, "items D"]:
        """The item vectors, which scores are products with."""
        return self.items(items)

    def loss(
        self, batch: ItemBatch, steps: StepSource | None = None, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats per target, over the whole catalogue."""
        row, column = batch.places
        hidden = self.states(batch.items[:, :-1])[row, column]
        users, lengths = batch.users[row], batch.prefix_lengths[row, column]
        hidden, memory = self._read(hidden, steps, users, lengths)
        return self._cross_entropy(hidden, batch, memory, label_smoothing)

    def recommend(
        self,
        histories: Histories,
        k: int,
        steps: StepSource | None = None,
        after_batch: AfterBatch = ignore,
        batch_rows: int = 512,
    ) -> Rankings:
        """The `k` best items of the whole catalogue after each history."""
        forget()  # what answers keeps no memory of training

        def best(asked: HistoryBatch) -> tuple[Tensor, Tensor]:
            logits, votes = self._scores(asked, steps)
            if votes is not None:
                logits = add_votes_everywhere(logits, *votes)
            score, found = logits.topk(min(k, self.item_count))
            return found, score

        return rank_in_batches(self, best, histories, k, batch_rows, after_batch)

    def listed(
        self, asked: HistoryBatch, k: int, steps: StepSource | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """The best items by themselves, their own log p, and what the steps vote."""
        logits, votes = self._scores(asked, steps)
        score, found = logits.topk(min(k, self.item_count))
        return found, score, votes

    def rescore(
        self,
        histories: Histories,
        items: Int[np.ndarray, "histories k"],
        steps: StepSource | None = None,
    ) -> Float[np.ndarray, "histories k"]:
        """The scores in nats of given items after each history; -inf where an item is -1."""
        ranked = self.recommend(histories, self.item_count, steps)
        places = np.argsort(ranked.items, axis=1)
        places = np.take_along_axis(places, np.maximum(items, 0), axis=1)
        scores = np.take_along_axis(ranked.scores, places, axis=1)
        return np.where(items >= 0, scores, -np.inf).astype(np.float32)

    def _scores(
        self, asked: HistoryBatch, steps: StepSource | None
    ) -> tuple[Float[Tensor, "B items"], tuple[Tensor, Tensor] | None]:
        """The network's own log p of every item, and what the steps vote."""
        last = (asked.lengths - 1).clamp(min=0)
        hidden = self.states(asked.items)[torch.arange(len(last)), last]
        hidden, memory = self._read(hidden, steps, asked.users, asked.prefix_lengths)
        votes = None
        if self.fusion is not None and memory is not None and memory.named is not None:
            votes = (self.fusion.vote(hidden, memory), memory.named)
        with torch.autocast(hidden.device.type, enabled=False):
            return torch.log_softmax(hidden.float() @ self.items.weight[:-1].T, dim=-1), votes

    def _read(
        self,
        hidden: Float[Tensor, "N D"],
        steps: StepSource | None,
        users: Int[Tensor, " N"],
        prefix_lengths: Int[Tensor, " N"],
    ) -> tuple[Float[Tensor, "N D"], ChainMemory | None]:
        """States that have read their chains, and the encoded chains."""
        memory = read_chains(self.fusion, steps, users, prefix_lengths)
        if self.fusion is None or memory is None:
            return hidden, None
        return self.fusion(hidden[:, None], memory, 0)[:, 0], memory

    def _cross_entropy(
        self,
        hidden: Float[Tensor, "N D"],
        batch: ItemBatch,
        memory: ChainMemory | None,
        label_smoothing: float,
    ) -> Float[Tensor, ""]:
        """Mean over the targets, in nats, over the whole catalogue."""
        vectors, items = self.items.weight[:-1], batch.targets
        own = log_prob(hidden, vectors, items)
        voted = own
        if memory is not None and memory.named is not None:
            voted = self.voted(own, hidden, memory, items)
        loss = (label_smoothing - 1) * batch.mean(voted)
        if not label_smoothing:
            return loss
        every = own + ((vectors.mean(0) - vectors[items]) * hidden).sum(
            1
        )  # mean log p of all items
        return loss - label_smoothing * batch.mean(every)
