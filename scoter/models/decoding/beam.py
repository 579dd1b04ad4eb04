"""Constrained beam search over a trie, vectorised over users and beams.

Scores are sums of log-probabilities in nats. They are normalised over the whole vocabulary, as in
language models, or (`renormalise`) over the codes that can follow. Only children that exist are
scored, so a level where most nodes have one child costs no more than its beams. Where fewer valid
continuations exist than beams, the surplus beams have score -inf and item -1.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoter.models.decoding.trie import Trie


@runtime_checkable
class Decoder(Protocol):
    """What beam search needs: the next token's logits, and the state of beams that go on."""

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
        everywhere = torch.cat([self.path.flatten(), leaf])
        self.items_below = torch.bincount(everywhere, minlength=len(trie.code))
        down = torch.cat([self.path[:, 1:], leaf[:, None]], 1)
        alone = (self.items_below[down] == 1).byte().argmax(1, keepdim=True)
        # The node where an item parts from all others, and its parent; the padding item, in row
        # -1, has none.
        none = torch.tensor([-1])
        self.branch = torch.cat([down.gather(1, alone)[:, 0], none])
        self.branch_parent = torch.cat([self.path.gather(1, alone)[:, 0], none])
        self.first_tokens = first_tokens
        # Children of a node, at most, at each level.
        self.widest = tuple(self.child_count[self.path].amax(0).tolist())

    def move(self, how: Callable[[Tensor], Tensor]) -> None:
        """Replace each tensor by `how` of it, as a module that is moved does to its parameters."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, how(value))

    def children(
        self, nodes: Int[Tensor, " parents"]
    ) -> tuple[Int[Tensor, " children"], Int[Tensor, " children"]]:
        """(index into `nodes` of each child's parent, child), parent by parent."""
        counts = self.child_count[nodes]
        parents = torch.repeat_interleave(counts)
        start = self.first_child[nodes] - counts.cumsum(0) + counts
        return parents, torch.arange(len(parents)) + start[parents]

    def codes_below(
        self, nodes: Int[Tensor, " nodes"], level: int, size: int
    ) -> Bool[Tensor, "nodes size"]:
        """Which of `size` codes can follow nodes of a level; its shape depends on no node."""
        place = torch.arange(self.widest[level])
        children = (self.first_child[nodes][:, None] + place).clamp(max=len(self.code) - 1)
        there = place < self.child_count[nodes][:, None]
        return _marked(torch.where(there, self.code[children], size), size)

    def seen_codes(
        self, history: Int[Tensor, "nodes length"], nodes: Int[Tensor, " nodes"], size: int
    ) -> Bool[Tensor, "nodes size"]:
        """Those of `size` codes that lead from a node to one item alone, an item of the history."""
        same = self.branch_parent[history] == nodes[:, None]
        return _marked(torch.where(same, self.code[self.branch[history]], size), size)

    def seen_branches(
        self, history: Int[Tensor, "rows length"], nodes: Int[Tensor, "rows nodes"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """(row, index into its nodes, child) of each child that leads to one item alone, an item
        of the row's history."""
        same = self.branch_parent[history][:, None] == nodes[..., None]
        row, place, item = same.nonzero(as_tuple=True)
        return row, place, self.branch[history[row, item]]

    def repeated(
        self,
        history: Int[Tensor, "rows length"],
        nodes: Int[Tensor, "rows nodes"],
        parents: Int[Tensor, " children"],
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Of each `seen_branches`: its parent among all `nodes`, its place among all children,
        whose parents come in order in `parents`, and the child."""
        row, place, child = self.seen_branches(history, nodes)
        parent = row * nodes.shape[1] + place
        first = torch.searchsorted(parents, parent)
        return parent, first + child - self.first_child[nodes.flatten()[parent]], child


def _marked(codes: Int[Tensor, "rows n"], size: int) -> Bool[Tensor, "rows size"]:
    """True at the codes of each row that are below `size`."""
    marked = torch.zeros(len(codes), size + 1, dtype=torch.bool)
    return marked.scatter_(1, codes, True)[:, :size]


def beam_search(
    decoder: Decoder,
    trie: TrieTensors,
    rows: int,
    beams: int,
    renormalise: bool = False,
    history: Int[Tensor, "rows length"] | None = None,
    repeat: Float[Tensor, " levels"] | None = None,
) -> tuple[Int[Tensor, "rows beams"], Float[Tensor, "rows beams"]]:
    """The `beams` best complete semantic IDs of each row as (items, scores), best first.

    `repeat[level]` is added to the logit of a child that leads to one item alone, if that item is
    in the row's `history`.
    """
    nodes, scores = torch.zeros(rows, 1, dtype=torch.long), torch.zeros(rows, 1)
    tokens, slots = torch.zeros_like(nodes), torch.zeros_like(nodes)
    for level, first_token in enumerate(trie.first_tokens):
        # Where codes are renormalised, a beam with one item below it is decided and needs the
        # decoder no more. The root always asks: votes and readings need the first state.
        undecided = trie.items_below[nodes] > (1 if renormalise and level > 0 else 0)
        asked = torch.argsort(undecided.byte(), dim=1, descending=True, stable=True)
        asked = asked[:, : int(undecided.sum(1).max())]
        if level > 0 and asked.shape[1] > 0:
            decoder = decoder.select(slots.gather(1, asked))
        # Where in the decoder the state of a beam lies.
        order = torch.arange(asked.shape[1]).expand(rows, -1)
        slots = torch.zeros_like(nodes).scatter(1, asked, order)
        parents, children = trie.children(nodes.flatten())
        chosen, normaliser = torch.zeros(len(parents)), torch.zeros(nodes.numel())
        if asked.shape[1] > 0:
            logits = decoder.advance(tokens.gather(1, asked))
            codes = first_token + trie.code[children]
            chosen = _logits_of(logits, slots, parents, codes)
            if repeat is not None and history is not None:
                _, place, _ = trie.repeated(history, nodes, parents)
                chosen = chosen.index_put((place,), chosen[place] + repeat[level])
            if renormalise:
                chosen = torch.where(undecided.flatten()[parents], chosen, 0)
                normaliser = segment_logsumexp(chosen, parents, nodes.numel())
            else:
                normaliser = torch.logsumexp(logits, -1).flatten()
        totals = chosen + (scores.flatten() - normaliser)[parents]
        scores, best = _best_children(totals, parents // nodes.shape[1], rows, beams)
        nodes, tokens = children[best], first_token + trie.code[children[best]]
        slots = slots.flatten()[parents[best]]
    return torch.where(scores > -torch.inf, trie.item[nodes], -1), scores


def _logits_of(
    logits: Float[Tensor, "rows asked vocabulary"],
    slots: Int[Tensor, "rows beams"],
    parents: Int[Tensor, " children"],
    codes: Int[Tensor, " children"],
) -> Float[Tensor, " children"]:
    """The logit of each child's code after its parent, whose logits lie at its slot."""
    rows, asked, vocabulary = logits.shape
    places = (torch.arange(rows)[:, None] * asked + slots).flatten()
    return logits.flatten().take(places[parents] * vocabulary + codes)


def _best_children(
    totals: Float[Tensor, " children"], row: Int[Tensor, " children"], rows: int, beams: int
) -> tuple[Float[Tensor, "rows beams"], Int[Tensor, "rows beams"]]:
    """The best scores of each row, and which children have them; children come row by row."""
    in_row = torch.bincount(row, minlength=rows)
    start = in_row.cumsum(0) - in_row
    table = torch.full((rows, int(in_row.max())), -torch.inf)
    table[row, torch.arange(len(row)) - start[row]] = totals
    scores, best = table.topk(min(beams, table.shape[1]))
    # A row with fewer children than that repeats its last one, with a score of -inf.
    return scores, start[:, None] + torch.minimum(best, in_row[:, None] - 1)


def segment_logsumexp(
    values: Float[Tensor, "*rows entries"], segment: Int[Tensor, " entries"], count: int
) -> Float[Tensor, "*rows count"]:
    """log sum exp of each of `count` segments of the last axis; -inf where one is empty.

    >>> values, segment = torch.tensor([1.0, 1.0, 3.0]).log(), torch.tensor([0, 0, 1])
    >>> segment_logsumexp(values, segment, 2).exp().round(decimals=4).tolist()
    [2.0, 3.0]
    """
    index = segment.expand_as(values)
    empty = values.new_full((*values.shape[:-1], count), -torch.inf)
    largest = empty.scatter_reduce(-1, index, values, "amax")
    shares = (values - largest.gather(-1, index)).exp()
    sums = torch.zeros_like(empty).scatter_add(-1, index, shares)
    return largest + sums.log()
