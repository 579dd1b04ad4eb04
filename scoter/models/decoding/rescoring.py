"""The exact score of given items after each history, by decoding their codes without a beam."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.decoding.folded import Folded
from scoter.models.decoding.ranking import evaluating
from scoter.models.decoding.tiger_decoder import BeamDecoder
from scoter.models.decoding.votes import add_votes
from scoter.models.training.batches import history_batches
from scoter.protocols import StepSource
from scoter.types import Histories

if TYPE_CHECKING:
    from scoter.models.backbones.tiger import Tiger


def rescore(
    model: "Tiger",
    histories: Histories,
    items: Int[np.ndarray, "histories k"],
    steps: StepSource | None = None,
    rows: int = 32,
) -> Float[np.ndarray, "histories k"]:
    """log P(item | history) in nats of each row's `items`; -inf where an item is -1."""
    scores = np.empty(items.shape, np.float32)
    with evaluating(model):
        folded = Folded(model)
        for asked in history_batches(histories, model.config.max_items, rows):
            decoder = BeamDecoder.start(model, folded, asked, steps)
            wanted = torch.from_numpy(np.maximum(items[asked.rows], 0).astype(np.int64))
            spelt, votes = _spell(decoder, asked.items, wanted), decoder.votes
            spelt = spelt if votes is None else add_votes(spelt, *votes, wanted)
            scores[asked.rows] = spelt.numpy()
    return np.where(items >= 0, scores, -np.inf).astype(np.float32)


def _spell(
    decoder: BeamDecoder, history: Int[Tensor, "rows length"], items: Int[Tensor, "rows k"]
) -> Float[Tensor, "rows k"]:
    """Sum over levels of the log share of each item's own code."""
    trie, choice, total = (
        decoder.model.trie,
        decoder.model.choice(history),
        torch.zeros(items.shape),
    )
    width = items.shape[1]
    for level in range(decoder.model.levels):
        nodes, own = trie.path[items, level], trie.down[items, level]
        if level:  # every item continues the start token, then itself
            decoder = decoder.select(torch.arange(width).expand(len(items), -1) * (level > 1))
        logits = decoder.advance(trie.token[nodes if level else nodes[:, :1]]).float()
        _, shares = trie.shares(nodes, logits.expand(-1, width, -1), choice, level)
        total += shares.gather(2, (own - trie.first_child[nodes])[..., None])[..., 0]
    return total
