"""Estimators that learn a density or a representation; none is a bound, none has an interval.

- `gaussian_mixture`: a mixture of normals for x and y together; its margins are mixtures too.
- `flow`: normalising flows for y, and for y given x (neural splines of zuko, Durkan et al. 2019).
- `denoiser`: how much better y is told from noise when x is known, over all levels of noise (Guo,
  Shamai and Verdu 2005); its denoiser is learned, as in MINDE (Franzese et al. 2023).
- `latent`: short codes of x and of y from which both are predicted, and nearest neighbours of the
  codes (Gowri et al. 2024).

Each learns on some rows and is judged on the others, in turn."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from theory.errors import require
from theory.estimators.answer import Answer
from theory.estimators.copula import normal_scores
from theory.estimators.nearest_neighbour import mixed_ksg_terms
from theory.estimators.variational import network, normalised, train_until, turns

Judge = Callable[[np.ndarray, np.ndarray, list[np.ndarray], int], np.ndarray]

_COMPONENTS = (1, 2, 4, 8, 16)  # of a mixture; rows on which it is not fitted choose
_RIDGE = 1e-4  # on the diagonal of a component's covariance
_CODE = 8  # columns of a code, at most
_LOW, _HIGH = -7.0, 9.0  # log of the signal over the noise, from almost nothing to almost all
_LEVELS = 32  # noisy copies of a row that is judged


def learned(x: np.ndarray, y: np.ndarray, *, method: str, seed: int) -> Answer:
    """The mean of `learned_terms`, with a flag where it is below zero."""
    terms = learned_terms(x, y, method=method, seed=seed)
    value, notes = float(terms.mean()), {}
    if value < 0:
        notes["negative"] = "more was learned than holds for other rows: 0 is the better estimate"
    return Answer(value, terms, interval=False, notes=notes)


def learned_terms(x: np.ndarray, y: np.ndarray, *, method: str, seed: int) -> np.ndarray:
    """Terms whose mean estimates I(X;Y) from x [n, dx], y [n, dy], one a row, cross-fitted.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((600, 1))
    >>> y = x + rng.standard_normal((600, 1))
    >>> bool(abs(learned_terms(x, y, method="gaussian_mixture", seed=0).mean() - 0.35) < 0.1)
    True
    """
    require(method in LEARNED, f"choose one of {sorted(LEARNED)}", method=method)
    x, y = (np.asarray(values, dtype=float).reshape(len(values), -1) for values in (x, y))
    terms = np.zeros(len(x))
    for parts, own_seed in turns(len(x), seed):
        u, v = (normalised(values, parts[0]) for values in (x, y))
        terms[parts[2]] = LEARNED[method](u, v, parts, own_seed)
    return terms


def _mixture(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], seed: int) -> np.ndarray:
    from sklearn.mixture import GaussianMixture

    train, check, test = parts
    both = np.c_[x, y].astype(float)
    fitted = []
    for components in _COMPONENTS:
        law = GaussianMixture(components, reg_covar=_RIDGE, random_state=seed).fit(both[train])
        fitted.append((law.score(both[check]), -components, law))
    law = max(fitted, key=lambda found: found[:2])[2]
    columns = np.arange(both.shape[1])
    of_x, of_y = columns < x.shape[1], columns >= x.shape[1]
    logs = [_log_density(law, both[test], chosen) for chosen in (of_x | of_y, of_x, of_y)]
    return logs[0] - logs[1] - logs[2]


def _log_density(law: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Log density of some columns under a mixture of normals."""
    logs = []
    for weight, mean, covariance in zip(law.weights_, law.means_, law.covariances_, strict=True):
        root = np.linalg.cholesky(covariance[np.ix_(columns, columns)])
        z = solve_triangular(root, (rows - mean)[:, columns].T, lower=True)
        scale = np.log(np.diag(root)).sum() + columns.sum() / 2 * np.log(2 * np.pi)
        logs.append(np.log(weight) - scale - (z**2).sum(0) / 2)
    return np.asarray(logsumexp(logs, axis=0))


def _flow(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], seed: int) -> np.ndarray:
    import torch
    from zuko.flows import NSF

    train, check, test = parts
    given, told = torch.from_numpy(x), torch.from_numpy(y)
    logs = []
    with torch.random.fork_rng():
        for columns in (x.shape[1], 0):
            torch.manual_seed(seed)
            flow = NSF(y.shape[1], columns, transforms=2, hidden_features=(64, 64))

            def log_density(rows: np.ndarray, flow: Any = flow, columns: int = columns) -> Any:
                return flow(given[rows] if columns else None).log_prob(told[rows])

            def loss(rows: np.ndarray, log_density: Any = log_density) -> Any:
                return -log_density(rows).mean()

            train_until([flow], loss, train, check, seed)
            with torch.no_grad():
                logs.append(log_density(test).double().numpy())
    return logs[0] - logs[1]


def _denoiser(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], seed: int) -> np.ndarray:
    import torch

    train, check, test = parts
    given, told = torch.from_numpy(x), torch.from_numpy(y)
    dims, width = y.shape[1], 128
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = network(dims + x.shape[1] + 8, dims, width)

        def errors(rows: np.ndarray, known: Any) -> Any:
            """The squared error of the noise that is told, at a random level a row."""
            level = _LOW + (_HIGH - _LOW) * torch.rand(len(rows), 1)
            noise = torch.randn(len(rows), dims)
            signal, rest = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
            waves = level / _HIGH * torch.tensor([1.0, 2.0, 4.0])
            place = [level / _HIGH, waves.sin(), waves.cos(), known]
            read = [signal * told[rows] + rest * noise, known * given[rows], *place]
            return ((noise - body(torch.cat(read, 1))) ** 2).sum(1)

        def loss(rows: np.ndarray) -> Any:
            return errors(rows, (torch.rand(len(rows), 1) < 0.5).float()).mean() / dims

        train_until([body], loss, train, check, seed, batch=512, rounds=2000, patience=8)
        with torch.no_grad():
            terms = np.zeros(len(test))
            for copy in range(_LEVELS):
                for known, sign in ((0.0, 1), (1.0, -1)):
                    torch.manual_seed(seed + copy)  # the same noise, with x and without
                    found = errors(test, torch.full((len(test), 1), known))
                    terms += sign * found.double().numpy()
    return (_HIGH - _LOW) / 2 * terms / _LEVELS


def _latent(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], seed: int) -> np.ndarray:
    import torch

    train, check, test = parts
    sides = [torch.from_numpy(values) for values in (x, y)]
    both = torch.cat(sides, 1)
    spread = torch.cat([torch.full((side.shape[1],), 1 / side.shape[1]) for side in sides])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = [min(_CODE, side.shape[1]) for side in sides]
        encoders = [network(s.shape[1], size) for s, size in zip(sides, sizes, strict=True)]
        decoders = [network(size, both.shape[1]) for size in sizes]

        def loss(rows: np.ndarray) -> Any:
            told = (d(e(s[rows])) for d, e, s in zip(decoders, encoders, sides, strict=True))
            return sum(((made - both[rows]) ** 2 @ spread).mean() for made in told)

        train_until([*encoders, *decoders], loss, train, check, seed)
        with torch.no_grad():
            codes = [e(s[test]).double().numpy() for e, s in zip(encoders, sides, strict=True)]
    # Where units of the network are off, codes are equal.
    return mixed_ksg_terms(*(normal_scores(code) for code in codes))


LEARNED: dict[str, Judge] = {
    "gaussian_mixture": _mixture,
    "flow": _flow,
    "denoiser": _denoiser,
    "latent": _latent,
}
