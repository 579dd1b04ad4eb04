"""Constrained beam search over a trie, vectorised over users and beams.

Scores are sums of log-probabilities in nats. They are normalised over the whole vocabulary, as the
language-model convention has it, where the trie only forbids; or (`renormalise`) over the codes
that can follow. Only children that exist are looked at, so a level where most nodes have one child
costs no more than its beams. Where fewer valid continuations exist than beams, the surplus beams
have score -inf and item -1.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.decoding.trie import Trie


@runtime_checkable
class Decoder(Protocol):
    """What beam search needs of a model: the next token's logits, and the state of beams that
    continue others."""

    def advance(
        self, tokens: Int[Tensor, "rows beams"]
    ) -> Float[Tensor, "rows beams vocabulary"]: ...

    def select(self, parents: Int[Tensor, "rows beams"]) -> "Decoder": ...


class TrieTensors:
    """A `Trie` as tensors, with codes turned into tokens; `token = first_token[level] + code`."""

    def __init__(self, trie: Trie, first_tokens: tuple[int, ...]) -> None:
        self.first_child = torch.from_numpy(trie.first_child).long()
        self.child_count = torch.from_numpy(trie.child_count).long()
        self.code = torch.from_numpy(trie.code).long()
        self.item = torch.from_numpy(trie.item).long()
        self.path = torch.from_numpy(trie.paths(len(first_tokens))).long()
        leaves = (self.item >= 0).nonzero()[:, 0]
        leaf = torch.empty_like(leaves).scatter(0, self.item[leaves], leaves)
        self.items_below = torch.bincount(
            torch.cat([self.path.flatten(), leaf]), minlength=len(trie.code)
        )
        down = torch.cat([self.path[:, 1:], leaf[:, None]], 1)
        alone = (self.items_below[down] == 1).byte().argmax(1, keepdim=True)
        # The node where an item parts from all others, and its parent; row -1, the padding item,
        # has none.
        self.branch = torch.cat([down.gather(1, alone)[:, 0], torch.tensor([-1])])
        self.branch_parent = torch.cat([self.path.gather(1, alone)[:, 0], torch.tensor([-1])])
        self.first_tokens = first_tokens

    def move(self, how: Callable[[Tensor], Tensor]) -> None:
        """Replace each tensor by `how` of it: what a module does to its parameters when it is moved
        to a device."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, how(value))

    def children(
        self, nodes: Int[Tensor, " parents"]
    ) -> tuple[Int[Tensor, " children"], Int[Tensor, " children"]]:
        """(index into `nodes` of each child's parent, child), parent by parent."""
        counts = self.child_count[nodes]
        parents = torch.repeat_interleave(counts)
        ends = counts.cumsum(0)
        return parents, torch.arange(len(parents)) + (self.first_child[nodes] - ends + counts)[
            parents
        ]

    def seen_branches(
        self, history: Int[Tensor, "rows length"], nodes: Int[Tensor, "rows nodes"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """(row, index into its nodes, child) for each child of a row's nodes that leads to one item
        alone, one in its history."""
        row, place, item = (self.branch_parent[history][:, None] == nodes[..., None]).nonzero(
            as_tuple=True
        )
        return row, place, self.branch[history[row, item]]


def beam_search(
    decoder: Decoder,
    trie: TrieTensors,
    rows: int,
    beams: int,
    start_token: int = 0,
    renormalise: bool = False,
    history: Int[Tensor, "rows length"] | None = None,
    repeat: Float[Tensor, " levels"] | None = None,
) -> tuple[Int[Tensor, "rows beams"], Float[Tensor, "rows beams"]]:
    """The `beams` best complete semantic IDs of each row as (items, scores), best first.

    `repeat[level]` is added to the logit of a child that leads to one item alone, if that item is
    in the row's `history`.
    """
    nodes = torch.zeros(rows, 1, dtype=torch.long)
    scores = torch.zeros(rows, 1)
    tokens = torch.full((rows, 1), start_token)
    slots = torch.zeros_like(
        nodes
    )  # where in the decoder a beam's state lies, or that of the beam it continues
    for level, first_token in enumerate(trie.first_tokens):
        # A beam with one item below it is decided where codes are renormalised: it needs the
        # decoder no more. The root always asks, even in a catalogue of one item, since votes and a
        # fusion's readings need the state after the start token.
        undecided = trie.items_below[nodes] > (1 if renormalise and level > 0 else 0)
        asked = torch.argsort(undecided.byte(), dim=1, descending=True, stable=True)[
            :, : int(undecided.sum(1).max())
        ]
        if level > 0 and asked.shape[1] > 0:
            decoder = decoder.select(slots.gather(1, asked))
        slots = torch.zeros_like(nodes).scatter(
            1, asked, torch.arange(asked.shape[1]).expand(rows, -1)
        )
        width = nodes.shape[1]
        parents, children = trie.children(nodes.flatten())
        chosen = torch.zeros(len(parents))
        normaliser = torch.zeros(rows * width)
        if asked.shape[1] > 0:
            logits = decoder.advance(tokens.gather(1, asked))
            vocabulary = logits.shape[2]
            place_in_logits = (torch.arange(rows)[:, None] * asked.shape[1] + slots).flatten()
            chosen = logits.flatten().take(
                place_in_logits[parents] * vocabulary + first_token + trie.code[children]
            )
            if repeat is not None and history is not None:
                seen_row, seen_place, child = trie.seen_branches(history, nodes)
                parent = seen_row * width + seen_place
                first = torch.searchsorted(parents, parent)  # parents come in order
                place = first + child - trie.first_child[nodes.flatten()[parent]]
                chosen = chosen.index_put((place,), chosen[place] + repeat[level])
            if renormalise:
                chosen = torch.where(undecided.flatten()[parents], chosen, 0)
                normaliser = segment_logsumexp(chosen, parents, rows * width)
            else:
                normaliser = torch.logsumexp(logits, -1).flatten()
        totals = chosen + (scores.flatten() - normaliser)[parents]
        # Every row's children side by side, padded to the longest row.
        row = parents // width
        in_row = torch.bincount(row, minlength=rows)
        place = torch.arange(len(row)) - (in_row.cumsum(0) - in_row)[row]
        table = torch.full((rows, int(in_row.max())), -torch.inf)
        table[row, place] = totals
        scores, best = table.topk(min(beams, table.shape[1]))
        # A row with fewer children than that repeats its last one, with a score of -inf.
        flat = (in_row.cumsum(0) - in_row)[:, None] + torch.minimum(best, in_row[:, None] - 1)
        nodes, tokens = children[flat], first_token + trie.code[children[flat]]
        slots = slots.flatten()[parents[flat]]
    items = torch.where(scores > -torch.inf, trie.item[nodes], -1)
    return items, scores


def segment_logsumexp(
    values: Float[Tensor, "*rows entries"], segment: Int[Tensor, " entries"], count: int
) -> Float[Tensor, "*rows count"]:
    """log sum exp of the values of each of `count` segments of the last axis, -inf where one is
    empty.

    Example:
        >>> segment_logsumexp(
        ...     torch.tensor([1.0, 1.0, 3.0]).log(), torch.tensor([0, 0, 1]), 2
        ... ).exp().round(decimals=4).tolist()
        [2.0, 3.0]
    """
    index = segment.expand_as(values)
    empty = values.new_full((*values.shape[:-1], count), -torch.inf)
    largest = empty.scatter_reduce(-1, index, values, "amax")
    sums = torch.zeros_like(empty).scatter_add(
        -1, index, (values - largest.gather(-1, index)).exp()
    )
    return largest + sums.log()
