"""The exact score of some given items after each history, as the recommender that found them scores
them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.decoding.beam import segment_logsumexp
from scoter.models.decoding.tiger_decoder import BeamDecoder, evaluating, fold
from scoter.models.decoding.votes import add_votes
from scoter.models.step_reader import encode_chains
from scoter.models.training.batches import history_batches
from scoter.protocols import StepSource
from scoter.types import Histories


def rescore(
    model: Any,
    histories: Histories,
    items: Int[np.ndarray, "histories k"],
    steps: StepSource | None = None,
    rows: int = 32,
) -> Float[np.ndarray, "histories k"]:
    """log P(item | history) in nats of each row's `items`; -inf where an item is -1.

    A TIGER decodes the codes of these items alone, without a beam; other recommenders score the
    whole catalogue anyway.

    Example:
        >>> from scoter.config import TigerConfig
        >>> from scoter.models.backbones.tiger import Tiger
        >>> from scoter.types import SemanticIds
        >>> ids = SemanticIds(np.array([[0, 0], [0, 1], [1, 0]]), (2, 2))
        >>> model = Tiger(TigerConfig(dim=8, heads=2, head_dim=4, layers=1, feed_forward=16), ids)
        >>> rescore(
        ...     model,
        ...     Histories(np.array([0]), np.array([2, 1]), np.array([0, 2])),
        ...     np.array([[1, -1]]),
        ... ).shape
        (1, 2)
    """
    known = np.maximum(items, 0)
    found = np.empty(items.shape, np.float32)
    if not hasattr(model, "trie"):
        ranked = model.recommend(histories, model.item_count, steps)
        places = np.argsort(ranked.items, axis=1)
        found = np.take_along_axis(ranked.scores, np.take_along_axis(places, known, axis=1), axis=1)
        return np.where(items >= 0, found, -np.inf).astype(np.float32)
    users, lengths = (
        torch.from_numpy(values.astype(np.int64)) for values in (histories.users, histories.lengths)
    )
    with evaluating(model):
        folded = fold(model)
        for chosen, history, counts in history_batches(histories, model.config.max_items, rows):
            places = torch.from_numpy(chosen)
            chain = (
                None
                if model.fusion is None
                else encode_chains(model.fusion, steps, users[places], lengths[places])
            )
            decoder = BeamDecoder(
                model, folded, model.encode(model.item_tokens[history]), counts, chain
            )
            wanted = torch.from_numpy(known[chosen].astype(np.int64))
            spelt = _spell(decoder, history, wanted)
            if chain is not None and chain.named is not None:
                spelt = add_votes(spelt, decoder.vote(chain), chain.named, wanted)
            found[chosen] = spelt.numpy()
    return np.where(items >= 0, found, -np.inf).astype(np.float32)


def _spell(
    decoder: BeamDecoder, history: Int[Tensor, "rows length"], items: Int[Tensor, "rows k"]
) -> Float[Tensor, "rows k"]:
    """Sum over levels of the log share of each item's own code."""
    model, (rows, width) = decoder.model, items.shape
    trie, total = model.trie, torch.zeros(items.shape)
    tokens = torch.zeros(rows, 1, dtype=torch.long)
    for level, first_token in enumerate(trie.first_tokens):
        nodes = trie.path[items, level]
        if level:
            same = (
                torch.zeros(rows, width, dtype=torch.long)
                if level == 1
                else torch.arange(width).expand(rows, -1)
            )
            decoder = decoder.select(same)
        logits = decoder.advance(tokens).expand(-1, width, -1).flatten(0, 1).float()
        parents, children = trie.children(nodes.flatten())
        chosen = logits[parents, first_token + trie.code[children]]
        repeated = torch.zeros(rows * width)
        own = model.item_tokens[items, level].flatten()
        if model.repeat is not None:
            row, place, child = trie.seen_branches(history, nodes)
            parent = row * width + place
            at = (
                torch.searchsorted(parents, parent)
                + child
                - trie.first_child[nodes.flatten()[parent]]
            )
            bias = model.repeat_logits[level].detach()
            chosen = chosen.index_put((at,), chosen[at] + bias)
            mine = first_token + trie.code[child] == own[parent]
            repeated[parent[mine]] = bias
        if model.config.softmax == "trie":
            normaliser = segment_logsumexp(chosen, parents, rows * width)
        else:
            normaliser = torch.logsumexp(logits, -1)
        score = logits.gather(1, own[:, None])[:, 0] + repeated - normaliser
        total += score.view(rows, width)
        tokens = own.view(rows, width)
    return total
