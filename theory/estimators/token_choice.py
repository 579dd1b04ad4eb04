"""Usable information about items named by semantic-ID tokens, summed by the chain rule.

A token is a choice among the children of the tokens before it, so log q(item) is the sum of the
levels' log q(token), and I(Y;Z|T) is a sum over levels. The decoder of a level is a conditional
logit: log popularity, plus features times a matrix times the vector of the child, plus a weight for
each item that was named, where the child leads to it. Stages are added one at a time: what was
fitted is frozen, the next stage adds a residual from zero, scaled by a factor in [0, 1] that an
inner split chooses (the rescue of F7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from theory.errors import require
from theory.estimators.usable_information import blinded, feature_columns

_RIDGES = (1000.0, 100.0, 10.0)
_SCALES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Block:
    """Rows that choose among the same children [c], or each among its own [rows, c].

    `leads` [rows, k] says which child leads to the k-th item that was named, -1 where none does.
    """

    rows: np.ndarray
    children: np.ndarray
    chosen: np.ndarray
    leads: np.ndarray

    def keep(self, wanted: np.ndarray) -> "Block":
        """The rows of it that are wanted, a mask over all rows."""
        mine = wanted[self.rows]
        children = self.children if self.children.ndim == 1 else self.children[mine]
        return Block(self.rows[mine], children, self.chosen[mine], self.leads[mine])


Frozen = list[tuple[Block, np.ndarray]]  # blocks, and their logits before the next stage


@dataclass(frozen=True)
class Level:
    """One token: its choices, vectors [children, r], log popularity, each item's child."""

    blocks: tuple[Block, ...]
    vectors: np.ndarray
    popularity: np.ndarray
    child_of: np.ndarray

    def utilities(self, block: Block, readings: np.ndarray, votes: np.ndarray) -> np.ndarray:
        """Readings [n, r] times the children's vectors, plus the votes [k] of items named."""
        mine = readings[block.rows]
        if block.children.ndim == 1:
            total = mine @ self.vectors[block.children].T
        else:
            total = np.einsum("nr,ncr->nc", mine, self.vectors[block.children])
        for vote, (rows, column) in zip(votes, _leading(block), strict=True):
            total[rows, column] += vote
        return total

    def naming(self, named: np.ndarray) -> "Level":
        """The same choices, where items named [n, k] were named; -1 is none."""
        leads = (self._leads(block, named[block.rows]) for block in self.blocks)
        blocks = zip(self.blocks, leads, strict=True)
        return replace(self, blocks=tuple(replace(block, leads=lead) for block, lead in blocks))

    def _leads(self, block: Block, named: np.ndarray) -> np.ndarray:
        child = np.where(named >= 0, self.child_of[named], -2)
        if block.children.ndim == 1:
            place = np.full(len(self.popularity) + 2, -1)
            place[block.children] = np.arange(len(block.children))
            return place[child]
        equal = child[:, :, None] == block.children[:, None, :]
        return np.where(equal.any(2), equal.argmax(2), -1)

    def start(self, block: Block) -> np.ndarray:
        """Log popularity of the children of each row of a block, -inf where there is none."""
        if block.children.ndim == 1:
            return np.tile(self.popularity[block.children], (len(block.rows), 1))
        known = block.children >= 0
        return np.where(known, self.popularity[block.children], -np.inf).astype(np.float32)


def token_levels(
    codes: np.ndarray, targets: np.ndarray, vectors: np.ndarray, counts: np.ndarray
) -> list[Level]:
    """Levels of items with codes [items, levels], vectors [items, r] and training counts.

    >>> codes = np.array([[0, 0], [0, 1], [1, 0]])
    >>> levels = token_levels(codes, np.array([0, 1, 2]), np.eye(3), np.ones(3))
    >>> [sorted(len(block.rows) for block in level.blocks) for level in levels]
    [[3], [2]]
    """
    unique = len(np.unique(codes, axis=0)) == len(codes)
    require(unique, "two items share their tokens: make them unique", codes=codes.shape)
    levels, parents = [], np.zeros(len(codes), dtype=int)
    for level in range(codes.shape[1]):
        prefixes = codes[:, : level + 1]
        _, first, nodes = np.unique(prefixes, axis=0, return_index=True, return_inverse=True)
        nodes = nodes.reshape(-1)
        size = np.bincount(nodes)
        means = np.stack([np.bincount(nodes, weights=column) / size for column in vectors.T], 1)
        popularity = np.log(np.bincount(nodes, weights=counts + 1.0))
        blocks = _blocks(parents[first], nodes[targets], parents[targets])
        levels.append(Level(blocks, means.astype(np.float32), popularity.astype(np.float32), nodes))
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
    blocks = []
    for rows, children in shared:
        chosen = np.searchsorted(children, target[rows])
        blocks.append(Block(rows, children, chosen, _nothing(rows)))
    if alone:
        rows = np.concatenate([rows for rows, _ in alone])
        children = np.full((len(rows), max(len(children) for _, children in alone)), -1)
        start = 0
        for mine, some in alone:
            children[start : start + len(mine), : len(some)] = some
            start += len(mine)
        chosen = (children == target[rows][:, None]).argmax(1)
        blocks.append(Block(rows, children, chosen, _nothing(rows)))
    return tuple(blocks)


def _nothing(rows: np.ndarray) -> np.ndarray:
    return np.zeros((len(rows), 0), dtype=int)


def _leading(block: Block) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each item named: the rows where a child leads to it, and which child."""
    return [(rows := np.flatnonzero(column >= 0), column[rows]) for column in block.leads.T]


@dataclass(frozen=True)
class Decoder:
    """Logits of every fold's decoder for all rows: `logits[fold][level][block]`."""

    levels: tuple[Level, ...]
    fold: np.ndarray
    logits: list[list[list[np.ndarray]]]
    seed: int

    @cached_property
    def held_out(self) -> np.ndarray:
        """log q of each token by the decoder blind to the row's group: [levels, rows]."""
        log_q = np.zeros((len(self.levels), len(self.fold)))
        for fold, by_level in enumerate(self.logits):
            for number, (level, values) in enumerate(zip(self.levels, by_level, strict=True)):
                for block, block_logits in zip(level.blocks, values, strict=True):
                    mine = self.fold[block.rows] == fold
                    log_choice = _log_choice(block_logits[mine], block.chosen[mine])
                    log_q[number, block.rows[mine]] = log_choice
        return log_q

    def extend(self, features: np.ndarray, named: np.ndarray | None = None) -> "Decoder":
        """This decoder, frozen, and a residual linear in features [n, d].

        Where items are named [n, k] (-1: none), one in whether a child leads to each comes first:
        so few weights are not to be scaled with so many.
        """
        items = np.zeros((len(features), 0), dtype=int) if named is None else named
        for name, values in (("features", features), ("named", items)):
            remedy = f"needs one row per target: {len(self.fold)}"
            require(len(values) == len(self.fold), remedy, **{name: len(values)})
        spread = features.std(0)
        scaled = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
        x = np.c_[scaled, np.ones(len(features))].astype(np.float32)
        if not items.shape[1]:
            return self._grown(self.levels, x)
        voted = self._grown([level.naming(items) for level in self.levels], x[:, :0])
        return voted._grown(self.levels, x)

    def _grown(self, levels: Sequence[Level], x: np.ndarray) -> "Decoder":
        grown = []
        for fold, by_level in enumerate(self.logits):
            check = np.random.default_rng([self.seed, fold]).random(len(x)) < 0.25
            train = self.fold != fold
            pairs = zip(levels, by_level, strict=True)
            grown.append([_grow(*pair, x, train & ~check, train & check) for pair in pairs])
        return Decoder(self.levels, self.fold, grown, self.seed)


def popularity_decoder(
    levels: Sequence[Level], groups: np.ndarray, *, seed: int, folds: int = 4
) -> Decoder:
    """The decoder before any stage; folds never split the rows of one group (a user).

    >>> levels = token_levels(np.array([[0], [1]]), np.array([0, 1, 1, 0]), np.eye(2), np.zeros(2))
    >>> popularity_decoder(levels, np.arange(4), seed=0, folds=2).held_out.round(3).tolist()
    [[-0.693, -0.693, -0.693, -0.693]]
    """
    names, group = np.unique(groups, return_inverse=True)
    enough = len(names) >= folds >= 2
    require(enough, f"needs 2 or more, at most the {len(names)} groups", folds=folds)
    fold = (np.random.default_rng(seed).permutation(len(names)) % folds)[group]
    start = [[level.start(block) for block in level.blocks] for level in levels]
    return Decoder(tuple(levels), fold, [start] * folds, seed)


def _grow(
    level: Level, frozen: list[np.ndarray], x: np.ndarray, train: np.ndarray, check: np.ndarray
) -> list[np.ndarray]:
    fitting, checking = (_only(level, frozen, wanted) for wanted in (train, check))
    place = np.cumsum(train) - 1  # of a row among those to fit: no other row costs anything
    fitting = [(replace(block, rows=place[block.rows]), logits) for block, logits in fitting]
    fitted, named = x[train], level.blocks[0].leads.shape[1] if level.blocks else 0
    weights = np.zeros(x.shape[1] * level.vectors.shape[1] + named)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    reached = _score(level, checking, None, weights[:0])
    for ridge in _RIDGES:
        weights = _fit(level, fitting, fitted, weights, ridge)
        matrix, votes = _parts(weights, x, level)
        readings = x @ matrix
        for scale in np.asarray(_SCALES, np.float32):
            score = _score(level, checking, scale * readings, scale * votes)
            if score > reached + 1e-9:
                reached, best = score, (scale, readings, votes)
    if best is None:
        return frozen
    scale, readings, votes = best
    added = [level.utilities(block, scale * readings, scale * votes) for block in level.blocks]
    return [logits + more for logits, more in zip(frozen, added, strict=True)]


def _parts(flat: np.ndarray, x: np.ndarray, level: Level) -> tuple[np.ndarray, np.ndarray]:
    """The matrix from features to readings, and the votes."""
    shape = (x.shape[1], level.vectors.shape[1])
    matrix, votes = np.split(flat.astype(np.float32), [shape[0] * shape[1]])
    return matrix.reshape(shape), votes


def _only(level: Level, frozen: list[np.ndarray], wanted: np.ndarray) -> Frozen:
    pairs = zip(level.blocks, frozen, strict=True)
    return [(block.keep(wanted), logits[wanted[block.rows]]) for block, logits in pairs]


def _score(level: Level, frozen: Frozen, readings: np.ndarray | None, votes: np.ndarray) -> float:
    total = 0.0
    for block, logits in frozen:
        added = 0.0 if readings is None else level.utilities(block, readings, votes)
        total += float(_log_choice(logits + added, block.chosen).sum(dtype=float))
    return total


def _fit(
    level: Level, frozen: Frozen, x: np.ndarray, start: np.ndarray, ridge: float
) -> np.ndarray:
    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        matrix, votes = _parts(flat, x, level)
        readings, pull, value = x @ matrix, np.zeros((len(x), matrix.shape[1]), np.float32), 0.0
        for_votes = np.zeros(len(votes))
        for block, logits in frozen:
            if not len(block.rows):
                continue
            log_p = _log_softmax(logits + level.utilities(block, readings, votes))
            rows = np.arange(len(block.rows))
            value -= float(log_p[rows, block.chosen].sum(dtype=float))
            surplus = np.exp(log_p)
            surplus[rows, block.chosen] -= 1
            if block.children.ndim == 1:
                pull[block.rows] = surplus @ level.vectors[block.children]
            else:
                pull[block.rows] = np.einsum("nc,ncr->nr", surplus, level.vectors[block.children])
            for_votes += [float(surplus[leading].sum(dtype=float)) for leading in _leading(block)]
        gradient = np.concatenate([(x.T @ pull).reshape(-1), for_votes]).astype(float)
        return value + ridge / 2 * float(flat @ flat), gradient + ridge * flat

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 25}).x


def _log_choice(logits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return _log_softmax(logits)[np.arange(len(chosen)), chosen]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    if not len(logits):
        return logits
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def token_log_ratios(
    x: np.ndarray, y: np.ndarray, cond: np.ndarray | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out log q(y|x,c) - log q(y|x',c), and log q(y|x,c), of items y [n] or tokens y [n, m].

    x' is x whose part beyond c is permuted across rows, as in `paired_log_ratios`.

    What a reader needs to know of an item beside its tokens is not given here, so the vectors of
    items are random: whole ones of as many numbers as there are items, up to 64.

    >>> x = np.random.default_rng(0).standard_normal((400, 1))
    >>> gains, _ = token_log_ratios(x, (x[:, 0] > 0).astype(int), None, seed=0)
    >>> bool(gains.mean() > 0.3)
    True
    """
    tokens, target = np.unique(np.reshape(y, (len(y), -1)), axis=0, return_inverse=True)
    items = len(tokens)
    require(items >= 2, "a target needs two values or more", y=items)
    vectors = np.eye(items)
    if items > 64:
        vectors = np.random.default_rng(seed).standard_normal((items, 64)) / 8
    levels = token_levels(tokens, target.reshape(-1), vectors, np.zeros(items))
    start = popularity_decoder(levels, np.arange(len(y)), seed=seed)
    start = start.extend(np.zeros((len(y), 1)))  # how often each is chosen
    known = blind = start
    features, coarse = feature_columns(x), np.zeros((len(y), 0))
    if cond is not None:
        coarse = feature_columns(cond)
        known = start.extend(coarse)
        blind = known.extend(np.c_[coarse, blinded(features, coarse, seed)])
    own = known.extend(np.c_[coarse, features])
    before, after = blind.held_out.sum(0), own.held_out.sum(0)
    return after - before, after
