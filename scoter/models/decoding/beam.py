"""Constrained beam search over a trie, vectorised over users and beams.

Scores are sums of log-probabilities in nats. They are normalised over the whole vocabulary, as in
language models, or (`renormalise`) over the codes that can follow. Where fewer valid continuations
exist than beams, the surplus beams have score -inf and item -1.
"""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Choice:
    """How the next code is chosen.

    `repeat[level]` is added to the logit of a child that leads to one item alone, if that item is
    in the row's `history`.
    """

    renormalise: bool
    history: Int[Tensor, "rows length"]
    repeat: Float[Tensor, " levels"] | None


class TrieTensors:
    """A `Trie` as tensors; the token of a node is its level's first token plus its code."""

    def __init__(self, trie: Trie, first_tokens: tuple[int, ...]) -> None:
        self.first_child = torch.from_numpy(trie.first_child).long()
        self.child_count = torch.from_numpy(trie.child_count).long()
        self.code = torch.from_numpy(trie.code).long()
        self.item = torch.from_numpy(trie.item).long()
        self.path = torch.from_numpy(trie.paths(len(first_tokens))).long()
        leaves = (self.item >= 0).nonzero()[:, 0]
        leaf = torch.empty_like(leaves).scatter(0, self.item[leaves], leaves)
        self.down = torch.cat([self.path[:, 1:], leaf[:, None]], 1)  # an item's nodes but the root
        self.token = torch.zeros_like(self.code)  # of each node; the root has the start token
        self.token[self.down] = torch.tensor(first_tokens) + self.code[self.down]
        self.items_below = torch.bincount(self.down.flatten(), minlength=len(trie.code))
        self.items_below[0] = len(leaves)
        # An item below each node: the only one, where there is one.
        everyone = torch.arange(len(leaves))[:, None].expand_as(self.down)
        self.item_below = self.item.scatter(0, self.down.flatten(), everyone.flatten())
        alone = (self.items_below[self.down] == 1).byte().argmax(1, keepdim=True)
        # The node where an item parts from all others, and its parent; the padding item, in row
        # -1, has none.
        none = torch.tensor([-1])
        self.branch = torch.cat([self.down.gather(1, alone)[:, 0], none])
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

    def shares(
        self,
        nodes: Int[Tensor, "rows nodes"],
        logits: Float[Tensor, "rows nodes vocabulary"],
        choice: Choice,
        level: int,
    ) -> tuple[Int[Tensor, "rows nodes most"], Float[Tensor, "rows nodes most"]]:
        """The children of each node and the log of their shares, given the logits after the node,
        of the level's codes where they are renormalised.

        As many as the node with most children has; beyond a node's own come its first child again
        and -inf.
        """
        first, counts = self.first_child[nodes][..., None], self.child_count[nodes][..., None]
        place = torch.arange(int(counts.max()))
        exists = place < counts
        children = torch.where(exists, first + place, first)
        chosen = logits.gather(-1, (self.code if choice.renormalise else self.token)[children])
        if choice.repeat is not None:
            seen = self.branch[choice.history][:, None, None, :]
            again = (children[..., None] == seen).any(-1)
            chosen = chosen + again * choice.repeat[level]
        chosen = chosen.masked_fill(~exists, -torch.inf)
        among = chosen if choice.renormalise else logits
        return children, chosen - torch.logsumexp(among, -1, keepdim=True)


def _marked(codes: Int[Tensor, "rows n"], size: int) -> Bool[Tensor, "rows size"]:
    """True at the codes of each row that are below `size`."""
    marked = torch.zeros(len(codes), size + 1, dtype=torch.bool)
    return marked.scatter_(1, codes, True)[:, :size]


def beam_search(
    decoder: Decoder, trie: TrieTensors, choice: Choice, beams: int
) -> tuple[Int[Tensor, "rows beams"], Float[Tensor, "rows beams"]]:
    """The `beams` best complete semantic IDs of each row as (items, scores), best first."""
    rows = len(choice.history)
    nodes, scores = torch.zeros(rows, 1, dtype=torch.long), torch.zeros(rows, 1)
    asked, places = 1, nodes  # how many beams the decoder is asked of, and where it has them
    for level in range(len(trie.first_tokens)):
        if level > 0:
            asked = nodes.shape[1]
            if choice.renormalise:
                # A beam with one item below it is decided and needs the decoder no more.
                undecided = trie.items_below[nodes] > 1
                asked = int(undecided.sum(1).max())
                if asked == 0:
                    return torch.where(scores > -torch.inf, trie.item_below[nodes], -1), scores
                if asked < nodes.shape[1]:
                    order = torch.argsort(undecided.byte(), dim=1, descending=True, stable=True)
                    nodes, scores, places = (x.gather(1, order) for x in (nodes, scores, places))
            decoder = decoder.select(places[:, :asked])
        logits = decoder.advance(trie.token[nodes[:, :asked]])
        children, shares = trie.shares(nodes[:, :asked], logits, choice, level)
        most, decided = shares.shape[2], trie.first_child[nodes[:, asked:]]
        totals = (shares + scores[:, :asked, None]).flatten(1)
        totals = torch.cat([totals, scores[:, asked:]], 1)
        scores, best = totals.topk(min(beams, totals.shape[1]))
        nodes = torch.cat([children.flatten(1), decided], 1).gather(1, best)
        places = best.div(most, rounding_mode="floor").clamp(max=asked - 1)
    return torch.where(scores > -torch.inf, trie.item[nodes], -1), scores
