"""The truth that a beam approximates: the log-likelihood of every item of the catalogue, and how
far the beam is from it.

Items share the codes they begin with, so the decoder sees each node of the trie once per user and
not each item's whole ID. The trie is walked depth first in pieces of its levels, which bounds
memory however large the catalogue is.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.models.decoding.beam import segment_logsumexp
from scoter.models.decoding.tiger_decoder import BeamDecoder, evaluating, fold
from scoter.models.decoding.votes import add_votes_everywhere
from scoter.models.step_reader import encode_chains
from scoter.models.training.batches import history_batches
from scoter.protocols import StepSource
from scoter.types import Histories


def log_likelihoods(
    model: Any,
    histories: Histories,
    steps: StepSource | None = None,
    rows: int = 4,
    states: int = 2048,
) -> Float[np.ndarray, "histories items"]:
    """log P(item | history) in nats of every item, as a `Tiger` scores it: the sum over its codes,
    no beam.

    `rows` histories are scored together and `states` decoder states are advanced at once; neither
    changes the result.

    Example:
        >>> from scoter.config import TigerConfig
        >>> from scoter.models.backbones.tiger import Tiger
        >>> from scoter.types import SemanticIds
        >>> ids = SemanticIds(np.array([[0, 0], [0, 1], [1, 0]]), (2, 2))
        >>> model = Tiger(TigerConfig(dim=8, heads=2, head_dim=4, layers=1, feed_forward=16), ids)
        >>> log_likelihoods(
        ...     model, Histories(np.array([0]), np.array([2, 1]), np.array([0, 2]))
        ... ).shape
        (1, 3)
    """
    scores = np.empty((len(histories), len(model.item_tokens) - 1), np.float32)
    with evaluating(model):
        folded = fold(model)
        for chosen, items, lengths in history_batches(histories, model.config.max_items, rows):
            decoder = BeamDecoder(
                model,
                folded,
                _memory(model, items),
                lengths,
                _chain(model, histories, chosen, steps),
            )
            found = torch.empty(len(chosen), scores.shape[1])
            root, none = torch.zeros(1, dtype=torch.long), torch.zeros(len(chosen), 1)
            _walk(decoder, items, model.trie, root, none, 0, states, found)
            if decoder.chain is not None and decoder.chain.named is not None:
                found = add_votes_everywhere(
                    found, decoder.vote(decoder.chain), decoder.chain.named
                )
            scores[chosen] = found.numpy()
    return scores


def agreement(
    scores: Float[np.ndarray, "histories items"], found: Int[np.ndarray, "histories k"]
) -> dict[str, float]:
    """How far the k items that a search `found` are the k of the highest exact `scores`.

    `overlap` is the mean share of the exact k that were found; `identical` the share of histories
    where all k were; `first` the share where the best item came first.

    Example:
        >>> agreement(np.array([[-1.0, -2.0, -3.0]]), np.array([[0, 2]]))
        {'overlap': 0.5, 'identical': 0.0, 'first': 1.0}
    """
    k = found.shape[1]
    if k > scores.shape[1]:
        raise ConfigError(
            f"found holds k = {k} items for each history, but there are only {scores.shape[1]}; "
            f"ask for fewer"
        )
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    shared = (found[:, :, None] == exact[:, None, :]).any(-1).mean(1)
    return {
        "overlap": float(shared.mean()),
        "identical": float((shared == 1).mean()),
        "first": float((found[:, 0] == exact[:, 0]).mean()),
    }


def encoder_influence(
    model: Any,
    histories: Histories,
    steps: StepSource | None = None,
    instead: Literal["nothing", "another"] = "nothing",
    rows: int = 64,
) -> float:
    """Mean KL divergence in nats from the first code's distribution to what it is without the
    encoder.

    Near zero means that the decoder ignores what the user did. `instead` is what the decoder then
    reads: `nothing` (zeros), or the history of `another` user, which also uncovers an encoder that
    says the same of everyone. Chains stay the user's.
    """
    total = 0.0
    with evaluating(model):
        folded, tokens = fold(model), (*model.trie.first_tokens, model.embedding.num_embeddings)
        for chosen, items, lengths in history_batches(histories, model.config.max_items, rows):
            memory = _memory(model, items)
            others = memory.roll(1, 0) if instead == "another" else torch.zeros_like(memory)
            other_lengths = lengths.roll(1, 0) if instead == "another" else lengths
            told, untold = (
                torch.log_softmax(
                    BeamDecoder(
                        model, folded, read, count, _chain(model, histories, chosen, steps)
                    ).advance(torch.zeros(len(chosen), 1, dtype=torch.long))[
                        :, 0, tokens[0] : tokens[1]
                    ],
                    -1,
                )
                for read, count in ((memory, lengths), (others, other_lengths))
            )
            total += float((told.exp() * (told - untold)).sum())
    return total / max(1, len(histories))


def _walk(
    decoder: BeamDecoder,
    history: Int[Tensor, "rows length"],
    trie: Any,
    nodes: Int[Tensor, " nodes"],
    scores: Float[Tensor, "rows nodes"],
    level: int,
    states: int,
    found: Float[Tensor, "rows items"],
) -> None:
    """Score all items below `nodes`, which lie on `level`; `scores` are those of the codes that
    lead to them."""
    rows = len(scores)
    tokens = (
        torch.zeros_like(nodes) if level == 0 else trie.first_tokens[level - 1] + trie.code[nodes]
    )
    logits = decoder.advance(tokens.expand(rows, -1))
    parents, children = trie.children(nodes)
    chosen = logits[:, parents, trie.first_tokens[level] + trie.code[children]]
    if decoder.model.repeat is not None:
        row, parent, child = trie.seen_branches(history, nodes.expand(rows, -1))
        place = torch.searchsorted(parents, parent) + child - trie.first_child[nodes[parent]]
        chosen = chosen.index_put(
            (row, place), chosen[row, place] + decoder.model.repeat_logits[level]
        )
    if decoder.model.config.softmax == "trie":
        normaliser = segment_logsumexp(chosen, parents, len(nodes))
    else:
        normaliser = torch.logsumexp(logits, -1)
    totals = chosen + (scores - normaliser)[:, parents]
    del logits, chosen
    if level + 1 == len(trie.first_tokens):
        found[:, trie.item[children]] = totals
        return
    pieces = -(-rows * len(children) // states)
    for part in torch.arange(len(children)).tensor_split(pieces):
        below = decoder.select(parents[part].expand(rows, -1))
        _walk(below, history, trie, children[part], totals[:, part], level + 1, states, found)


def _memory(model: Any, items: Int[Tensor, "rows length"]) -> Float[Tensor, "rows slots dim"]:
    return model.encode(model.item_tokens[items])


def _chain(
    model: Any, histories: Histories, chosen: Int[np.ndarray, " rows"], steps: StepSource | None
) -> Any:
    if model.fusion is None:
        return None
    users, lengths = (
        torch.from_numpy(values[chosen].astype(np.int64))
        for values in (histories.users, histories.lengths)
    )
    return encode_chains(model.fusion, steps, users, lengths)
