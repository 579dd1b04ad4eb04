"""What a network finds beyond a normal law: a critic that starts at the log ratio of one.

The normal law is fitted to canonical pairs of the training rows, of which those that noise alone
would give are dropped. The network adds to its log ratio from zero and is kept only where rows that
did not train it gain, so nested models are judged on the same held-out rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.estimators.variational import infonce_terms, network, train_until

_FOLDS, _WIDTH, _PRODUCTS = 3, 32, 8
_TRAINING = {"batch": 256, "rounds": 900, "rate": 1e-3, "patience": 6}


def residual_terms(x: np.ndarray, y: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Held-out InfoNCE terms of every row, of network and normal law and of the law alone."""
    fold = np.random.default_rng(seed).permutation(len(x)) % _FOLDS
    both, normal = np.zeros(len(x)), np.zeros(len(x))
    for held in range(_FOLDS):
        test = np.flatnonzero(fold == held)
        rest = np.random.default_rng([seed, held]).permutation(np.flatnonzero(fold != held))
        check, train = np.split(rest, [len(rest) // 6])
        pairs = _canonical(x, y, train)
        scores = pairs.scores(test)
        added = _added(pairs, train, check, test, seed + 1000 * held)
        for terms, found in ((normal, scores), (both, scores + added)):
            sides = (infonce_terms(side, len(test)) for side in (found, found.T))
            terms[test] = sum(sides) / 2
    return both, normal


@dataclass(frozen=True)
class _Pairs:
    """Canonical variables u and v of x and y, and their correlations."""

    u: np.ndarray
    v: np.ndarray
    r: np.ndarray

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Log ratio of all pairs under the normal law, up to a constant."""
        k = len(self.r)
        u, v, square = self.u[rows, :k], self.v[rows, :k], self.r**2 / (1 - self.r**2)
        cross = (u * (self.r / (1 - self.r**2))) @ v.T
        return cross - (u**2 @ square)[:, None] / 2 - (v**2 @ square) / 2


def _canonical(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> _Pairs:
    n = len(rows)
    whole = []
    for values in (x, y):
        covariance = np.atleast_2d(np.cov(values[rows].T))
        root = np.linalg.inv(np.linalg.cholesky(covariance)).T
        whole.append((values - values[rows].mean(0)) @ root)
    u, v = whole
    left, r, right = np.linalg.svd(u[rows].T @ v[rows] / (n - 1))
    a, b = x.shape[1] / n, y.shape[1] / n
    edge = (np.sqrt(a * (1 - b)) + np.sqrt(b * (1 - a))) ** 2  # of r^2 under independence (Wachter)
    r = np.minimum(r, 0.999)
    return _Pairs(u @ left, v @ right.T, np.where(r**2 > edge, r - edge / np.maximum(r, edge), 0.0))


def _added(
    pairs: _Pairs, train: np.ndarray, check: np.ndarray, test: np.ndarray, seed: int
) -> np.ndarray:
    """What the network adds to the scores of all pairs of the rows to test."""
    import torch

    u, v = (torch.from_numpy(_with_length(values)) for values in (pairs.u, pairs.v))
    normal = pairs.scores
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        left, right = (network(side.shape[1], _PRODUCTS, _WIDTH) for side in (u, v))
        torch.nn.init.zeros_(left[-1].weight)
        torch.nn.init.zeros_(left[-1].bias)

        def added(rows: np.ndarray) -> Any:
            return left(u[rows]) @ right(v[rows]).T / _PRODUCTS**0.5

        def loss(rows: np.ndarray) -> Any:
            scores = added(rows) + torch.from_numpy(normal(rows).astype(np.float32))
            return (scores.logsumexp(0) + scores.logsumexp(1)).mean() / 2 - scores.diagonal().mean()

        train_until([left, right], loss, train, check, seed, **_TRAINING)
        with torch.no_grad():
            return added(test).double().numpy()


def _with_length(values: np.ndarray) -> np.ndarray:
    """The columns and, of several, the mean of their squares: no axis shows how far a row lies."""
    length = (values**2).mean(1, keepdims=True) - 1
    columns = np.c_[values, length] if values.shape[1] > 1 else values
    return columns.astype(np.float32)
