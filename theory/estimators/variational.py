"""Variational estimators: a network trains on some rows and is judged on the others, in turn.

With the network frozen, a score is averaged over rows that it has not seen, so the mean of `nwj`,
`js_nwj`, `mine` and `infonce` is at most I(X;Y): "lower", in expectation; the interval has its
stated confidence where the scores have no heavy tail. Scale, offset and highest score of a critic
are chosen on a tenth of the rows on which it is not judged. Not bounds, and without an interval:
`smile` clips, and takes `cond`; `barber_agakov` needs H(Y), which a fitted density only replaces;
`club` and `leave_one_out` are upper bounds for the *true* p(y|x) (`sandwich_terms`), not for a
learned one. torch is imported when training starts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import logsumexp, ndtri

from theory.errors import require
from theory.estimators.answer import Answer

_NAMES = ["barber_agakov", "mine", "nwj", "infonce", "js_nwj", "smile", "club", "leave_one_out"]
# Name, and whether its expectation is a lower bound.
VARIATIONAL = {name: name in ("mine", "nwj", "infonce", "js_nwj") for name in _NAMES}

_BATCH, _ROUNDS, _EVERY, _WIDTH, _CLIP = 128, 800, 50, 64, 5.0
_BLOCK = 512  # rows that InfoNCE contrasts when it is judged
_SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)


def variational(x: np.ndarray, y: np.ndarray, *, method: str, seed: int) -> Answer:
    """The estimate of `variational_terms`, and what it flags."""
    terms, notes = variational_terms(x, y, method=method, seed=seed), {}
    value, limit = float(terms.mean()), float(np.log(min(_BLOCK, len(terms) // 2)))
    if method == "infonce" and value > 0.8 * limit:
        notes["saturated"] = f"InfoNCE cannot exceed the log of its block of {_BLOCK} rows"
    if value < 0:
        notes["negative"] = "the network has overfitted: 0 is the better bound"
    return Answer(value, terms, interval=VARIATIONAL[method], notes=notes)


def variational_terms(x: np.ndarray, y: np.ndarray, *, method: str, seed: int) -> np.ndarray:
    """Terms whose mean estimates I(X;Y) from x [n, dx], y [n, dy], one a row, cross-fitted.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((600, 1))
    >>> y = x + rng.standard_normal((600, 1))
    >>> bool(variational_terms(x, y, method="infonce", seed=0).mean() > 0.1)
    True
    """
    require(method in VARIATIONAL, f"choose one of {sorted(VARIATIONAL)}", method=method)
    x, y = (np.asarray(values, dtype=float).reshape(len(values), -1) for values in (x, y))
    terms = np.zeros(len(x))
    for parts, own_seed in turns(len(x), seed):
        u, v = (normalised(values, parts[0]) for values in (x, y))
        terms[parts[2]] = _judged(u, v, parts, method, own_seed)
    return terms


def turns(rows: int, seed: int, folds: int = 2) -> Iterator[tuple[list[np.ndarray], int]]:
    """The rows that train, check and test in each turn, and its seed; each row is tested once."""
    require(rows >= 100, "what learns needs at least 100 rows", rows=rows)
    parts = np.array_split(np.random.default_rng(seed).permutation(rows), folds)
    for held, test in enumerate(parts):
        rest = np.concatenate([part for k, part in enumerate(parts) if k != held])
        yield [*np.split(rest, [int(0.8 * len(rest))]), test], seed + 1000 * held


def _judged(
    x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], method: str, seed: int
) -> np.ndarray:
    if method in ("barber_agakov", "club", "leave_one_out"):
        log_q, log_m = _conditional(x, y, parts, seed)
        if method == "barber_agakov":
            return np.diagonal(log_q) - log_m
        return sandwich_terms(log_q, method)
    check, test = _critic(x, y, parts, method, seed)
    if method == "smile":
        return smile_terms(test)
    if method == "infonce":
        return infonce_terms(test * max(_SCALES, key=lambda s: infonce_terms(s * check).mean()))
    return calibrated_terms(check, test)


def calibrated_terms(check: np.ndarray, test: np.ndarray) -> np.ndarray:
    """NWJ terms of the scores to test, after what the scores of other rows say of them.

    These rows choose the highest score, the scale (0 says nothing) and the offset that do best.
    """
    highest = float(np.diagonal(check).max())
    check, test = (np.minimum(scores, highest) for scores in (check, test))
    scale = max(_SCALES, key=lambda s: np.diagonal(s * check).mean() - _log_mean(s * check))
    return nwj_terms(scale * test - _log_mean(scale * check) + 1)


def _log_mean(scores: np.ndarray) -> float:
    """Log of the mean of exp(score) over pairs of different rows."""
    pairs = scores[~np.eye(len(scores), dtype=bool)]
    return float(logsumexp(pairs) - np.log(pairs.size))


def nwj_terms(scores: np.ndarray) -> np.ndarray:
    """Terms with mean E f - E' exp(f - 1) of scores[i, j] = f(x_i, y_j); E' over pairs i != j.

    Their spread is that of the first-order (Hajek) projection, since a row takes part in many
    pairs.
    >>> nwj_terms(np.ones((3, 3))).tolist()
    [0.0, 0.0, 0.0]
    """
    n, pairs = len(scores), _split(np.exp(np.clip(scores, -700, 700) - 1))
    sides = (pairs.sum(1) + pairs.sum(0)) / (n - 1)
    return np.diagonal(scores) - sides + pairs.sum() / (n * (n - 1))


def infonce_terms(scores: np.ndarray, batch: int = _BLOCK) -> np.ndarray:
    """One term a row, of mean at most I(X;Y) and log batch (Oord et al. 2018).

    As in `nwj_terms`, the spread is that of the first-order projection.
    """
    terms = np.zeros(len(scores))
    for rows in np.array_split(np.arange(len(scores)), max(1, len(scores) // batch)):
        block = scores[np.ix_(rows, rows)]
        total = np.asarray(logsumexp(block, axis=1, keepdims=True))
        shares = np.exp(block - total).sum(0)
        terms[rows] = np.diagonal(block) - total[:, 0] + np.log(len(rows)) - (shares - 1)
    return terms


def smile_terms(scores: np.ndarray, clip: float = _CLIP) -> np.ndarray:
    """Terms with mean E f - log E' of the clipped exp(f) (Song and Ermon 2020); no bound."""
    pairs = _split(np.exp(np.clip(scores, -clip, clip)))
    mean = pairs.sum() / (len(scores) * (len(scores) - 1))
    sides = (pairs.sum(1) + pairs.sum(0)) / (len(scores) - 1)
    return np.diagonal(scores) - np.log(mean) - (sides / mean - 2)


def sandwich_terms(log_conditional: np.ndarray, method: str = "club") -> np.ndarray:
    """Terms of CLUB or leave-one-out from log p(y_j | x_i); upper bounds if p is the true one.

    >>> sandwich_terms(np.zeros((4, 4)), "leave_one_out").tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    n, own = len(log_conditional), np.diagonal(log_conditional)
    if method == "club":
        pairs = _split(log_conditional)
        return own - (pairs.sum(1) + pairs.sum(0)) / (n - 1) + pairs.sum() / (n * (n - 1))
    others = np.where(np.eye(n, dtype=bool), -np.inf, log_conditional)
    return own - (np.asarray(logsumexp(others, axis=0)) - np.log(n - 1))


def normalised(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Each column through the ranks of its training rows to normal quantiles.

    A strictly rising map but beyond the training rows' extremes, where it is flat: a lower bound
    stays one."""
    quantiles = ndtri(np.arange(1, len(train) + 1) / (len(train) + 1))
    columns = [np.interp(column, np.sort(column[train]), quantiles) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _split(pairs: np.ndarray) -> np.ndarray:
    return np.where(np.eye(len(pairs), dtype=bool), 0.0, pairs)


def _critic(
    x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], method: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all pairs of the rows to check, and of those to test."""
    import torch

    train, check, test = parts
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        left, right = network(x.shape[1], 32), network(y.shape[1], 32)
        tail = torch.nn.Linear(x.shape[1], y.shape[1], bias=False)  # bilinear, as Gaussians are
        torch.nn.init.zeros_(tail.weight)

        def scores(rows: Any) -> Any:
            a, b = torch.from_numpy(x[rows]), torch.from_numpy(y[rows])
            return left(a) @ right(b).T + tail(a) @ b.T

        def loss(rows: Any) -> Any:
            s = scores(rows)
            own, pairs = s.diagonal(), s[~torch.eye(len(s), dtype=torch.bool)]
            if method == "infonce":
                return -(own - s.logsumexp(1)).mean()
            if method in ("js_nwj", "smile"):
                softplus = torch.nn.functional.softplus
                return softplus(-own).mean() + softplus(pairs).mean()
            if method == "nwj":
                return -(own.mean() - (pairs - 1).clamp(max=20).exp().mean())
            return -(own.mean() - pairs.logsumexp(0) + float(np.log(len(pairs))))

        train_until([left, right, tail], loss, train, check, seed)
        with torch.no_grad():
            return scores(check).double().numpy(), scores(test).double().numpy()


def _conditional(
    x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """log q(y_j | x_i) of held-out pairs under a learned normal, and log m(y) of a fitted one."""
    import torch

    (train, check, test), dims = parts, y.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body, line = network(x.shape[1], 2 * dims), torch.nn.Linear(x.shape[1], dims)

        def law(rows: Any) -> tuple[Any, Any]:
            a = torch.from_numpy(x[rows])
            out = body(a)
            return line(a) + out[:, :dims], out[:, dims:].clamp(-6, 6)

        def loss(rows: Any) -> Any:
            mean, log_deviation = law(rows)
            z = (torch.from_numpy(y[rows]) - mean) * (-log_deviation).exp()
            return (z**2 / 2 + log_deviation).sum(1).mean()

        train_until([body, line], loss, train, check, seed)
        with torch.no_grad():
            mean, log_deviation = (part.double().numpy() for part in law(test))
    held = y[test].astype(float)
    precision = np.exp(-2 * log_deviation)
    squares = precision @ (held**2).T - 2 * (precision * mean) @ held.T
    squares += (precision * mean**2).sum(1, keepdims=True)
    log_q = -squares / 2 - log_deviation.sum(1, keepdims=True) - dims / 2 * np.log(2 * np.pi)
    known = y[np.concatenate([train, check])].astype(float)
    covariance = np.atleast_2d(np.cov(known.T)) + 1e-6 * np.eye(dims)
    apart = held - known.mean(0)
    form = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(covariance), apart)
    return log_q, -form / 2 - np.linalg.slogdet(2 * np.pi * covariance)[1] / 2


def network(inputs: int, outputs: int, width: int = _WIDTH) -> Any:
    from torch import nn

    first, second = nn.Linear(inputs, width), nn.Linear(width, width)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(width, outputs))


def train_until(
    modules: list[Any],
    loss: Any,
    train: np.ndarray,
    check: np.ndarray,
    seed: int,
    *,
    batch: int = _BATCH,
    rounds: int | None = None,
    rate: float = 2e-3,
    patience: int = 4,
) -> None:
    """Adam until the check loss has not fallen `patience` times; the best weights are kept."""
    import copy

    import torch

    rng = np.random.default_rng([seed, 7])
    weights = [p for module in modules for p in module.parameters()]
    optimiser = torch.optim.Adam(weights, lr=rate, weight_decay=1e-5)
    parts = np.array_split(check, max(1, len(check) // _BATCH))
    best, kept, waited = np.inf, None, 0
    for step in range((rounds or _ROUNDS) + 1):
        if step % _EVERY == 0:
            with torch.no_grad():
                now = float(np.mean([float(loss(rows)) for rows in parts]))
            waited = 0 if now < best - 1e-4 else waited + 1
            if now < best - 1e-4:
                best, kept = now, copy.deepcopy([module.state_dict() for module in modules])
            if waited == patience:
                break
        value = loss(rng.choice(train, min(batch, len(train)), replace=False))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    if kept is not None:
        for module, state in zip(modules, kept, strict=True):
            module.load_state_dict(state)
