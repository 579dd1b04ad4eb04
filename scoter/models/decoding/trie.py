"""A prefix tree of semantic IDs in flat arrays: the children of a node are neighbours in memory.

Nodes are numbered level by level, and within a level in lexicographic order, so that the children
of node n are `first_child[n] .. first_child[n] + child_count[n] - 1`. Memory grows with the number
of distinct prefixes, never with codebook size.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from scoter.types import SemanticIds


@dataclass(frozen=True, eq=False)
class Trie:
    """The tree; the root is node 0."""

    first_child: Int[np.ndarray, " nodes"]
    child_count: Int[np.ndarray, " nodes"]
    code: Int[np.ndarray, " nodes"]  # leads from the parent to the node
    item: Int[np.ndarray, " nodes"]  # of a leaf, else -1

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.first_child, self.child_count, self.code, self.item

    def paths(self, levels: int) -> Int[np.ndarray, "items levels"]:
        """The nodes on the way to each item, from the root on; the leaf is left out.

        >>> trie = build_trie(SemanticIds(np.array([[0, 1], [0, 0], [2, 1]]), (3, 2)))
        >>> trie.paths(2).tolist()
        [[0, 1], [0, 1], [0, 2]]
        """
        counts = self.child_count
        parent = np.concatenate([[0], np.repeat(np.arange(len(counts)), counts)])
        leaves = np.flatnonzero(self.item >= 0)
        nodes = np.empty(len(leaves), np.int64)
        nodes[self.item[leaves]] = leaves
        path = np.empty((len(leaves), levels), np.int32)
        for level in reversed(range(levels)):
            path[:, level] = nodes = parent[nodes]
        return path

    def spells(self, ids: SemanticIds) -> bool:
        """Whether the way to each item, and to no other, reads as its semantic ID."""
        pairs = zip(self.arrays, build_trie(ids).arrays, strict=True)
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def build_trie(ids: SemanticIds) -> Trie:
    """The trie of all semantic IDs, in O(items x levels) after one sort.

    >>> trie = build_trie(SemanticIds(np.array([[0, 1], [0, 0], [2, 1]]), (3, 2)))
    >>> trie.code.tolist(), trie.item.tolist()
    ([-1, 0, 2, 0, 1, 1], [-1, -1, -1, 1, 0, 2])
    """
    items, levels = ids.codes.shape
    order = np.lexsort(ids.codes.T[::-1])
    codes = ids.codes[order]
    changed = np.arange(items) == 0  # the first row of each distinct prefix at the current level
    node_of_row = np.zeros(items, np.int64)
    first, count, code = [], [], [np.array([-1])]
    next_node = 1
    for level in range(levels):
        parents = node_of_row
        starts = changed | (np.diff(codes[:, level], prepend=-1) != 0)
        node_of_row = next_node + np.cumsum(starts) - 1
        parent_of_node = parents[starts]
        base = parents[0]
        children = np.bincount(parent_of_node - base, minlength=parents[-1] - base + 1)
        first.append(next_node + np.concatenate([[0], np.cumsum(children)[:-1]]))
        count.append(children)
        code.append(codes[starts, level])
        next_node += int(starts.sum())
        changed = starts
    leaves = np.zeros(items, np.int32)
    item = np.full(next_node, -1)
    item[node_of_row] = order
    parts = ([*first, leaves], [*count, leaves], code, [item])
    return Trie(*(np.concatenate(part).astype(np.int32) for part in parts))
