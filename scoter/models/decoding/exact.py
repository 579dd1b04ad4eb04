"""Exact scores without a beam: of given items, or of every item of the catalogue.

Items share the codes they begin with, so for the whole catalogue the decoder sees each node of the
trie once per user. The trie is walked depth first, in pieces of its levels, which bounds memory.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.models.decoding.folded import Folded
from scoter.models.decoding.ranking import evaluating
from scoter.models.decoding.tiger_decoder import BeamDecoder
from scoter.models.decoding.votes import add_votes, add_votes_everywhere
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


def log_likelihoods(
    model: "Tiger",
    histories: Histories,
    steps: StepSource | None = None,
    rows: int = 4,
    states: int = 2048,
) -> Float[np.ndarray, "histories items"]:
    """log P(item | history) in nats of every item: the sum over its codes, without a beam.

    Args:
        rows, states: histories and decoder states computed at once; they change no result.
    """
    scores = np.empty((len(histories), len(model.item_tokens) - 1), np.float32)
    with evaluating(model):
        folded, root = Folded(model), torch.zeros(1, dtype=torch.long)
        for asked in history_batches(histories, model.config.max_items, rows):
            decoder = BeamDecoder.start(model, folded, asked, steps)
            found = torch.empty(len(asked.rows), scores.shape[1])
            walk = _Walk(asked.items, states, found)
            walk.below(decoder, root, torch.zeros(len(asked.rows), 1), 0)
            votes = decoder.votes
            found = found if votes is None else add_votes_everywhere(found, *votes)
            scores[asked.rows] = found.numpy()
    return scores


def agreement(
    scores: Float[np.ndarray, "histories items"], found: Int[np.ndarray, "histories k"]
) -> dict[str, float]:
    """How far the k items that a search found are the k of the highest exact `scores`.

    Returns:
        `overlap`, the mean share of the exact k that were found; `identical`, the share of
        histories where all k were; `first`, the share where the best item came first.

    >>> agreement(np.array([[-1.0, -2.0, -3.0]]), np.array([[0, 2]]))
    {'overlap': 0.5, 'identical': 0.0, 'first': 1.0}
    """
    k = found.shape[1]
    if k > scores.shape[1]:
        count = scores.shape[1]
        raise ConfigError(
            f"found holds k = {k} items for each history, but there are only {count}; ask for fewer"
        )
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    shared = (found[:, :, None] == exact[:, None, :]).any(-1).mean(1)
    return {
        "overlap": float(shared.mean()),
        "identical": float((shared == 1).mean()),
        "first": float((found[:, 0] == exact[:, 0]).mean()),
    }


def encoder_influence(
    model: "Tiger",
    histories: Histories,
    steps: StepSource | None = None,
    instead: Literal["nothing", "another"] = "nothing",
    rows: int = 64,
) -> float:
    """Mean KL divergence in nats of the first code's distribution with and without the encoder.

    Near zero means that the decoder ignores the history. Chains stay the user's.

    Args:
        instead: what the decoder then reads: zeros, or the history of another user, which also
            uncovers an encoder that says the same of everyone.
    """
    total, other, whole = 0.0, instead == "another", model.config.softmax == "vocabulary"
    with evaluating(model):
        folded = Folded(model)
        for asked in history_batches(histories, model.config.max_items, rows):
            own = BeamDecoder.start(model, folded, asked, steps)
            memory = folded.encode(asked.items)
            memory = memory.roll(1, 0) if other else torch.zeros_like(memory)
            lengths = asked.lengths.roll(1, 0) if other else asked.lengths
            without = BeamDecoder(model, folded, memory, lengths, own.chain)
            tokens = torch.zeros(len(asked.rows), 1, dtype=torch.long)
            logits = (decoder.advance(tokens)[:, 0] for decoder in (own, without))
            first = slice(1, 1 + model.codebook_sizes[0]) if whole else slice(None)
            p, q = (torch.log_softmax(part[:, first], -1) for part in logits)
            total += float((p.exp() * (p - q)).sum())
    return total / max(1, len(histories))


class _Walk:
    """Scores the items below a node into `found`, at most `states` decoder states at once."""

    def __init__(
        self, history: Int[Tensor, "rows length"], states: int, found: Float[Tensor, "rows items"]
    ) -> None:
        self.history, self.states, self.found = history, states, found

    def below(
        self,
        decoder: BeamDecoder,
        nodes: Int[Tensor, " nodes"],
        scores: Float[Tensor, "rows nodes"],
        level: int,
    ) -> None:
        """Score all items below `nodes` of `level`, which `scores` lead to."""
        trie, rows, own = decoder.model.trie, len(scores), nodes.expand(len(scores), -1)
        choice = decoder.model.choice(self.history)
        children, shares = trie.shares(own, decoder.advance(trie.token[own]), choice, level)
        parents, children = trie.children(nodes)
        totals = (shares + scores[..., None])[
            :, parents, children - trie.first_child[nodes[parents]]
        ]
        del shares
        if level + 1 == len(trie.first_tokens):
            self.found[:, trie.item[children]] = totals
            return
        pieces = -(-rows * len(children) // self.states)
        for part in torch.arange(len(children)).tensor_split(pieces):
            branch = decoder.select(parents[part].expand(rows, -1))
            self.below(branch, children[part], totals[:, part], level + 1)


def _spell(
    decoder: BeamDecoder, history: Int[Tensor, "rows length"], items: Int[Tensor, "rows k"]
) -> Float[Tensor, "rows k"]:
    """Sum over levels of the log share of each item's own code."""
    trie, choice, width = decoder.model.trie, decoder.model.choice(history), items.shape[1]
    total = torch.zeros(items.shape)
    for level in range(decoder.model.levels):
        nodes, own = trie.path[items, level], trie.down[items, level]
        if level:  # every item continues the start token, then itself
            decoder = decoder.select(torch.arange(width).expand(len(items), -1) * (level > 1))
        logits = decoder.advance(trie.token[nodes if level else nodes[:, :1]]).float()
        _, shares = trie.shares(nodes, logits.expand(-1, width, -1), choice, level)
        total += shares.gather(2, (own - trie.first_child[nodes])[..., None])[..., 0]
    return total
