"""Usable information about a discrete target: nested, paired and cross-fitted.

The collapsed model is fitted first and frozen; the structured one adds a residual to its logits,
from zero, scaled by a factor in [0, 1] that an inner split chooses. So every collapsed decoder is
also a structured one (the rescue of F7), and both are scored on the same held-out rows (T9:
training leaves both too low, so the value is conservative)."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from theory.errors import require
from theory.estimators.entropies import codes

_RIDGES = (1e-3, 1.0, 100.0, 1e4)


def paired_log_ratios(
    x: np.ndarray, y: np.ndarray, cond: np.ndarray | None, *, seed: int, folds: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out log q(y|x,c) - log q(y|x',c) of every row, and log q(y|x,c) itself.

    Here x' is `blinded` x: what the second model goes on learning of c is no gain of x. Families:
    multinomial logistic in the (one-hot or standardised) columns and in random Fourier features of
    the continuous ones. Premises: y whole numbers [n] or [n, m] of at least two values, rows
    independent.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=400)
    >>> gains, _ = paired_log_ratios(y[:, None] + rng.standard_normal((400, 1)), y, None, seed=0)
    >>> bool(0.02 < gains.mean() < 0.2)
    True
    """
    target = codes(y)
    values = np.arange(target.max() + 1)
    require(len(values) >= 2, "a target needs two values or more", y=len(values))
    require(len(y) >= 10 * folds, f"{folds} folds need {10 * folds} rows", rows=len(y))
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(y)) % folds
    coarse = np.zeros((len(y), 0)) if cond is None else feature_columns(cond)
    fine = np.concatenate([coarse, feature_columns(x)], axis=1)
    coarse_map, fine_map = _expand(coarse, seed), _expand(fine, seed + 1)
    blind_map = _expand(np.c_[coarse, blinded(feature_columns(x), coarse, seed)], seed + 1)
    gains, own = np.zeros(len(y)), np.zeros(len(y))
    for held in range(folds):
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        frequency = np.log(np.bincount(target[train], minlength=len(values)) + 0.5)
        start = np.tile(frequency, (len(y), 1))
        blind = collapsed = start + _residual(coarse_map, start, target, train)
        structured = collapsed + _residual(fine_map, collapsed, target, train)
        if cond is not None:
            blind = collapsed + _residual(blind_map, collapsed, target, train)
        rows = (test, target[test])
        own[test] = log_softmax(structured, axis=1)[rows]
        gains[test] = own[test] - log_softmax(blind, axis=1)[rows]
    return gains, own


def blinded(x: np.ndarray, cond: np.ndarray, seed: int, *, folds: int = 5) -> np.ndarray:
    """Columns x whose part along cond is kept, and whose rest is permuted across rows.

    The part is a ridge regression that other folds fit, so that it holds no row's own rest.

    >>> x = np.random.default_rng(0).standard_normal((500, 2))
    >>> copied, other = (blinded(side, x, 0) for side in (2 * x, x[::-1]))
    >>> np.allclose(copied, 2 * x, atol=0.01), bool(abs((other * x[::-1]).mean(0)).max() < 0.1)
    (True, True)
    """
    rng, design = np.random.default_rng([seed, 2]), np.c_[cond, np.ones(len(x))]
    fold, ridge = rng.permutation(len(x)) % folds, np.eye(design.shape[1])
    fits = [np.zeros_like(x) for _ in _RIDGES]
    for held in range(folds):
        train, test = fold != held, fold == held
        square, cross = design[train].T @ design[train], design[train].T @ x[train]
        for fit, strength in zip(fits, _RIDGES, strict=True):
            fit[test] = design[test] @ np.linalg.solve(square + strength * ridge, cross)
    best = min(fits, key=lambda fit: float(((x - fit) ** 2).sum()))
    return best + (x - best)[rng.permutation(len(x))]


def _residual(
    inputs: np.ndarray, offset: np.ndarray, target: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """Logits to add for all rows; scale and ridge are chosen on every fourth training row."""
    if inputs.shape[1] == 0:
        return np.zeros_like(offset)
    inner, check = np.delete(train, np.s_[::4]), train[::4]
    scales = np.linspace(0, 1, 11)
    best = (-np.inf, 0.0, 1.0)
    for ridge in (1.0, 10.0, 100.0):
        added = inputs @ _fit(inputs[inner], offset[inner], target[inner], ridge)
        for scale in scales:
            log_q = log_softmax(offset[check] + scale * added[check], axis=1)
            score = log_q[np.arange(len(check)), target[check]].mean()
            if score > best[0] + 1e-12:
                best = (score, scale, ridge)
    if best[1] == 0:
        return np.zeros_like(offset)
    return best[1] * (inputs @ _fit(inputs[train], offset[train], target[train], best[2]))


def _fit(inputs: np.ndarray, offset: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    shape = (inputs.shape[1], offset.shape[1])
    one_hot = np.eye(shape[1])[target]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        log_p = log_softmax(offset + inputs @ weights, axis=1)
        value = -(log_p * one_hot).sum() + ridge / 2 * (flat @ flat)
        return float(value), (inputs.T @ (np.exp(log_p) - one_hot) + ridge * weights).reshape(-1)

    start, options = np.zeros(shape[0] * shape[1]), {"maxiter": 60}
    return minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x.reshape(shape)


def feature_columns(values: np.ndarray) -> np.ndarray:
    """One column for each of up to 64 whole numbers, else the numbers standardised."""
    values = np.asarray(values).reshape(len(values), -1)
    if values.dtype.kind in "iub" and all(len(np.unique(column)) <= 64 for column in values.T):
        one_hot = [column[:, None] == np.unique(column) for column in values.T]
        return np.concatenate(one_hot, axis=1).astype(float)
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0, spread, 1)


def _expand(columns: np.ndarray, seed: int, features: int = 64) -> np.ndarray:
    if columns.shape[1] == 0:
        return columns
    rng = np.random.default_rng(seed)
    waves = columns @ rng.standard_normal((columns.shape[1], features)) / np.sqrt(columns.shape[1])
    shifted = waves + rng.uniform(0, 2 * np.pi, features)
    return np.concatenate([columns, np.sqrt(2 / features) * np.cos(shifted)], axis=1)
