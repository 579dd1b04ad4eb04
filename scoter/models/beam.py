"""Constrained beam search over a trie, vectorised over users and beams.

Scores are sums of log-probabilities in nats, normalised over the whole vocabulary as the language-model
convention has it; the trie only forbids. Where fewer valid continuations exist than beams, the surplus beams
have score -inf and item -1.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.trie import Trie


@runtime_checkable
class Decoder(Protocol):
    """What beam search needs of a model: the next token's log-probabilities, and its state under reordering."""

    def advance(self, tokens: Int[Tensor, "rows beams"]) -> Float[Tensor, "rows beams vocabulary"]: ...

    def reorder(self, parents: Int[Tensor, "rows beams"]) -> None: ...


class TrieTensors:
    """A `Trie` as tensors, with codes turned into tokens; `token = first_token[level] + code`."""

    def __init__(self, trie: Trie, first_tokens: tuple[int, ...]) -> None:
        self.first_child = torch.from_numpy(trie.first_child).long()
        self.child_count = torch.from_numpy(trie.child_count).long()
        self.code = torch.from_numpy(trie.code).long()
        self.item = torch.from_numpy(trie.item).long()
        self.max_children = trie.max_children
        self.first_tokens = first_tokens


def beam_search(
    decoder: Decoder, trie: TrieTensors, rows: int, beams: int, start_token: int = 0
) -> tuple[Int[Tensor, "rows beams"], Float[Tensor, "rows beams"]]:
    """The `beams` best complete semantic IDs of each row as (items, scores), best first."""
    nodes = torch.zeros(rows, 1, dtype=torch.long)
    scores = torch.zeros(rows, 1)
    tokens = torch.full((rows, 1), start_token)
    for level, fanout in enumerate(trie.max_children):
        log_probs = decoder.advance(tokens)
        slots = torch.arange(fanout)
        allowed = slots < trie.child_count[nodes][..., None]
        children = torch.where(allowed, trie.first_child[nodes][..., None] + slots, 0)
        child_tokens = torch.where(allowed, trie.first_tokens[level] + trie.code[children], 0)
        totals = (scores[..., None] + log_probs.gather(-1, child_tokens)).masked_fill(~allowed, -torch.inf)
        scores, flat = totals.flatten(1).topk(min(beams, totals[0].numel()))
        parents = flat // fanout
        nodes = children.flatten(1).gather(1, flat)
        tokens = child_tokens.flatten(1).gather(1, flat)
        decoder.reorder(parents)
    items = torch.where(scores > -torch.inf, trie.item[nodes], -1)
    return items, scores
