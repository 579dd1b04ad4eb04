"""The exact score of given items after each history, by decoding their codes without a beam."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.decoding.beam import segment_logsumexp
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
    model, (rows, width) = decoder.model, items.shape
    trie, total = model.trie, torch.zeros(items.shape)
    tokens = torch.zeros(rows, 1, dtype=torch.long)
    for level, first_token in enumerate(trie.first_tokens):
        nodes = trie.path[items, level]
        if level:  # every item continues the start token, then itself
            decoder = decoder.select(torch.arange(width).expand(rows, -1) * (level > 1))
        logits = decoder.advance(tokens).expand(-1, width, -1).flatten(0, 1).float()
        parents, children = trie.children(nodes.flatten())
        scores = logits[parents, first_token + trie.code[children]]
        repeated = torch.zeros(rows * width)
        own = model.item_tokens[items, level].flatten()
        if model.repeat_logits is not None:
            parent, place, child = trie.repeated(history, nodes, parents)
            bias = model.repeat_logits[level].detach()
            scores = scores.index_put((place,), scores[place] + bias)
            repeated[parent[first_token + trie.code[child] == own[parent]]] = bias
        if model.config.softmax == "trie":
            normaliser = segment_logsumexp(scores, parents, rows * width)
        else:
            normaliser = torch.logsumexp(logits, -1)
        score = logits.gather(1, own[:, None])[:, 0] + repeated - normaliser
        total += score.view(rows, width)
        tokens = own.view(rows, width)
    return total
