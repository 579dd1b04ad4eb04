"""Usable information about items named by semantic-ID tokens: nested, paired and cross-fitted, summed by the chain rule.

A token is a choice among the children of the tokens before it, so log q(item) is the sum of the levels' log q(token), and
I(Y;Z|T) is a sum over levels. The decoder of a level is a conditional logit: log popularity plus features times a matrix
times the vector of the child. Stages are added one at a time: what was fitted is frozen, the next stage adds a residual from
zero, scaled by a factor in [0, 1] that an inner split chooses (the rescue of F7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from theory.errors import require

_RIDGES = (300.0, 30.0, 3.0)
_SCALES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Block:
    """Rows that choose among the same children (children [c]), or each among its own (children [rows, c], -1 beyond the last)."""

    rows: np.ndarray
    children: np.ndarray
    chosen: np.ndarray

    def keep(self, wanted: np.ndarray) -> "Block":
        """The rows of it that are wanted, a mask over all rows."""
        mine = wanted[self.rows]
        return Block(self.rows[mine], self.children if self.children.ndim == 1 else self.children[mine], self.chosen[mine])


@dataclass(frozen=True)
class Level:
    """One token of the items: its choices, a vector for each child [children, r] and log popularity [children]."""

    blocks: tuple[Block, ...]
    vectors: np.ndarray
    popularity: np.ndarray

    def utilities(self, block: Block, readings: np.ndarray) -> np.ndarray:
        """readings [n, r] times the vectors of the children of each row of a block."""
        mine = readings[block.rows]
        if block.children.ndim == 1:
            return mine @ self.vectors[block.children].T
        return np.einsum("nr,ncr->nc", mine, self.vectors[block.children])

    def start(self, block: Block) -> np.ndarray:
        """Log popularity of the children of each row of a block, -inf where there is none."""
        if block.children.ndim == 1:
            return np.tile(self.popularity[block.children], (len(block.rows), 1))
        return np.where(block.children >= 0, self.popularity[block.children], -np.inf).astype(np.float32)


def token_levels(codes: np.ndarray, targets: np.ndarray, vectors: np.ndarray, counts: np.ndarray) -> list[Level]:
    """The levels of items with codes [items, levels], item vectors [items, r] and training counts [items], for targets [n].

    >>> levels = token_levels(np.array([[0, 0], [0, 1], [1, 0]]), np.array([0, 1, 2]), np.eye(3), np.ones(3))
    >>> [sorted(len(block.rows) for block in level.blocks) for level in levels]
    [[3], [2]]
    """
    require(len(np.unique(codes, axis=0)) == len(codes), "codes", codes.shape, "two items share their tokens: make them unique")
    levels, parents = [], np.zeros(len(codes), dtype=int)
    for level in range(codes.shape[1]):
        _, first, nodes = np.unique(codes[:, : level + 1], axis=0, return_index=True, return_inverse=True)
        nodes = nodes.reshape(-1)
        size = np.bincount(nodes)
        means = np.stack([np.bincount(nodes, weights=column) / size for column in vectors.T], axis=1)
        popularity = np.log(np.bincount(nodes, weights=counts + 1.0))
        blocks = _blocks(parents[first], nodes[targets], parents[targets])
        levels.append(Level(blocks, means.astype(np.float32), popularity.astype(np.float32)))
        parents = nodes
    return levels


def _blocks(parent_of: np.ndarray, target: np.ndarray, parent: np.ndarray) -> tuple[Block, ...]:
    by_parent = np.argsort(parent_of, kind="stable")
    edges = np.searchsorted(parent_of[by_parent], np.arange(parent_of.max() + 2))
    order = np.argsort(parent, kind="stable")
    shared, alone = [], []
    for rows in np.split(order, np.flatnonzero(np.diff(parent[order])) + 1):
        children = by_parent[edges[parent[rows[0]]] : edges[parent[rows[0]] + 1]]
        if len(children) == 1:
            continue  # nothing to choose
        (shared if len(rows) >= 8 else alone).append((rows, children))
    blocks = [Block(rows, children, np.searchsorted(children, target[rows])) for rows, children in shared]
    if alone:
        rows = np.concatenate([rows for rows, _ in alone])
        children = np.full((len(rows), max(len(children) for _, children in alone)), -1)
        start = 0
        for mine, some in alone:
            children[start : start + len(mine), : len(some)] = some
            start += len(mine)
        blocks.append(Block(rows, children, (children == target[rows][:, None]).argmax(1)))
    return tuple(blocks)


@dataclass(frozen=True)
class Decoder:
    """Logits of every fold's decoder for all rows: `logits[fold][level][block]`."""

    levels: tuple[Level, ...]
    fold: np.ndarray
    logits: list[list[list[np.ndarray]]]
    seed: int

    @cached_property
    def held_out(self) -> np.ndarray:
        """log q of each level's token by the decoder that has not seen the row's group: [levels, rows], 0 for a forced token."""
        found = np.zeros((len(self.levels), len(self.fold)))
        for fold, by_level in enumerate(self.logits):
            for number, (level, values) in enumerate(zip(self.levels, by_level, strict=True)):
                for block, block_logits in zip(level.blocks, values, strict=True):
                    mine = self.fold[block.rows] == fold
                    found[number, block.rows[mine]] = _log_choice(block_logits[mine], block.chosen[mine])
        return found

    def extend(self, features: np.ndarray) -> "Decoder":
        """The decoder with a residual linear in features [n, d] added to what is frozen here."""
        require(len(features) == len(self.fold), "features", len(features), f"needs one row per target: {len(self.fold)}")
        spread = features.std(0)
        x = np.c_[(features - features.mean(0)) / np.where(spread > 0, spread, 1), np.ones(len(features))].astype(np.float32)
        grown = []
        for fold, by_level in enumerate(self.logits):
            check = np.random.default_rng([self.seed, fold]).random(len(x)) < 0.25
            train = self.fold != fold
            grown.append([_grow(*pair, x, train & ~check, train & check) for pair in zip(self.levels, by_level, strict=True)])
        return Decoder(self.levels, self.fold, grown, self.seed)


def popularity_decoder(levels: Sequence[Level], groups: np.ndarray, *, seed: int, folds: int = 4) -> Decoder:
    """The decoder before any stage. Rows of one group (a user) are never split between training and test.

    >>> levels = token_levels(np.array([[0], [1]]), np.array([0, 1, 1, 0]), np.eye(2), np.zeros(2))
    >>> popularity_decoder(levels, np.arange(4), seed=0, folds=2).held_out.round(3).tolist()
    [[-0.693, -0.693, -0.693, -0.693]]
    """
    names, group = np.unique(groups, return_inverse=True)
    require(len(names) >= folds >= 2, "folds", folds, f"needs 2 folds or more, and at most the {len(names)} groups")
    fold = (np.random.default_rng(seed).permutation(len(names)) % folds)[group]
    start = [[level.start(block) for block in level.blocks] for level in levels]
    return Decoder(tuple(levels), fold, [start] * folds, seed)


def _grow(level: Level, frozen: list[np.ndarray], x: np.ndarray, train: np.ndarray, check: np.ndarray) -> list[np.ndarray]:
    fitting, checking = (_only(level, frozen, wanted) for wanted in (train, check))
    weights, best = np.zeros((x.shape[1], level.vectors.shape[1])), (_score(level, *checking, None, 0.0), 0.0, None)
    for ridge in _RIDGES:
        weights = _fit(level, *fitting, x, weights, ridge)
        readings = x @ weights.astype(np.float32)
        for scale in _SCALES:
            score = _score(level, *checking, readings, scale)
            if score > best[0] + 1e-9:
                best = (score, scale, readings)
    if best[2] is None:
        return frozen
    kept = np.float32(best[1]) * best[2]
    return [logits + level.utilities(block, kept) for block, logits in zip(level.blocks, frozen, strict=True)]


def _only(level: Level, frozen: list[np.ndarray], wanted: np.ndarray) -> tuple[list[Block], list[np.ndarray]]:
    blocks = [block.keep(wanted) for block in level.blocks]
    return blocks, [logits[wanted[block.rows]] for block, logits in zip(level.blocks, frozen, strict=True)]


def _score(level: Level, blocks: list[Block], frozen: list[np.ndarray], readings: np.ndarray | None, scale: float) -> float:
    total = 0.0
    for block, logits in zip(blocks, frozen, strict=True):
        added = 0.0 if readings is None else np.float32(scale) * level.utilities(block, readings)
        total += float(_log_choice(logits + added, block.chosen).sum(dtype=float))
    return total


def _fit(
    level: Level, blocks: list[Block], frozen: list[np.ndarray], x: np.ndarray, start: np.ndarray, ridge: float
) -> np.ndarray:
    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(start.shape)
        readings, pull, value = x @ weights.astype(np.float32), np.zeros((len(x), start.shape[1]), np.float32), 0.0
        for block, logits in zip(blocks, frozen, strict=True):
            if not len(block.rows):
                continue
            log_p = _log_softmax(logits + level.utilities(block, readings))
            rows = np.arange(len(block.rows))
            value -= float(log_p[rows, block.chosen].sum(dtype=float))
            surplus = np.exp(log_p)
            surplus[rows, block.chosen] -= 1
            if block.children.ndim == 1:
                pull[block.rows] = surplus @ level.vectors[block.children]
            else:
                pull[block.rows] = np.einsum("nc,ncr->nr", surplus, level.vectors[block.children])
        return value + ridge / 2 * float(flat @ flat), (x.T @ pull).astype(float).reshape(-1) + ridge * flat

    return minimize(loss, start.reshape(-1), jac=True, method="L-BFGS-B", options={"maxiter": 25}).x.reshape(start.shape)


def _log_choice(logits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return _log_softmax(logits)[np.arange(len(chosen)), chosen]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    if not len(logits):
        return logits
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
