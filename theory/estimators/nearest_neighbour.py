"""Nearest neighbours: KSG and its conditional form, mixed KSG for ties, Ross for labels.

None is a bound; beyond about five dimensions all fall far below the truth (F8)."""

import numpy as np
from scipy.spatial import KDTree
from scipy.special import digamma

from theory.errors import require

_ROUNDING = 1e-10  # sums of a point and a radius round; far below any distance that matters


def ksg(x: np.ndarray, y: np.ndarray, *, neighbours: int = 4, variant: int = 1) -> float:
    """KSG estimate of I(X;Y) from x [n, dx], y [n, dy] (Kraskov et al. 2004, eq. 8, 9).

    Premise: continuous data, so no two equal rows; use `mixed_ksg` otherwise.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((300, 1))
    >>> ksg(x, x + rng.standard_normal((300, 1))) > 0.2
    True
    """
    return float(np.mean(ksg_terms(x, y, neighbours=neighbours, variant=variant)))


def ksg_terms(x: np.ndarray, y: np.ndarray, *, neighbours: int = 4, variant: int = 1) -> np.ndarray:
    """The n terms whose mean is the KSG estimate."""
    require(variant in (1, 2), "Kraskov et al. give variants 1 and 2", variant=variant)
    x, y = _columns(x), _columns(y)
    n = len(x)
    require(len(y) == n, f"x and y need the same rows: {n}", y=len(y))
    require(1 <= neighbours < n, f"needs 1 <= neighbours < rows = {n}", neighbours=neighbours)
    both = np.concatenate([x, y], axis=1)
    distances, rows = KDTree(both).query(both, k=neighbours + 1, p=np.inf)
    apart = np.all(distances[:, 1] > 0)
    require(apart, "KSG needs continuous data: use mixed_ksg", rows="equal rows of x, y")
    if variant == 1:
        radius = distances[:, -1] * (1 - _ROUNDING)  # strictly inside
        around = digamma(_within(x, radius)) + digamma(_within(y, radius))
        return digamma(neighbours) + digamma(n) - around
    inside = np.asarray(rows)[:, 1:]
    counts = np.zeros(n)
    for side in (x, y):
        radius = np.abs(side[inside] - side[:, None]).max((1, 2)) * (1 + _ROUNDING)
        counts += digamma(_within(side, radius) - 1)
    return digamma(neighbours) - 1 / neighbours + digamma(n) - counts


def conditional_ksg_terms(
    x: np.ndarray, y: np.ndarray, cond: np.ndarray, *, neighbours: int = 4
) -> np.ndarray:
    """Terms of I(X;Y|C) (Frenzel and Pompe 2007; ties as Mesner and Shalizi count them).

    >>> rng = np.random.default_rng(0)
    >>> c = rng.standard_normal((400, 1))
    >>> x, y = c + rng.standard_normal((400, 1)), c + rng.standard_normal((400, 1))
    >>> bool(abs(conditional_ksg_terms(x, y, c).mean()) < 0.1)
    True
    """
    x, y, c = _columns(x), _columns(y), _columns(cond)
    n = len(x)
    equal = len(y) == len(c) == n
    require(equal, f"x, y and cond need the same rows: {n}", y=len(y), cond=len(c))
    require(1 <= neighbours < n, f"needs 1 <= neighbours < rows = {n}", neighbours=neighbours)
    both = np.concatenate([x, y, c], axis=1)
    reach, local = _reach(both, neighbours)
    sides = digamma(_within(np.c_[x, c], reach)) + digamma(_within(np.c_[y, c], reach))
    return digamma(local) - sides + digamma(_within(c, reach))


def ross_terms(x: np.ndarray, y: np.ndarray, *, neighbours: int = 4) -> np.ndarray:
    """Terms of I(X;Y) of continuous x and labels y (Ross 2014); a single label has no term.

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 200)
    >>> terms = ross_terms(y[:, None] * 9.0 + rng.standard_normal((400, 1)), y)
    >>> bool(abs(terms.mean() - np.log(2)) < 0.05)
    True
    """
    x = _columns(x)
    labels, group = np.unique(y, return_inverse=True)
    size = np.bincount(group)
    kept = size[group] > 1
    require(kept.any(), "each label occurs once: nothing is near anything", y=len(labels))
    reach, near = np.zeros(len(x)), np.zeros(len(x), dtype=int)
    for label in np.flatnonzero(size > 1):
        mine = group == label
        near[mine] = min(neighbours, size[label] - 1)
        distances = KDTree(x[mine]).query(x[mine], k=near[mine][0] + 1, p=np.inf)[0]
        reach[mine] = distances[:, -1] * (1 - _ROUNDING)
    around = _within(x[kept], reach[kept])
    return digamma(kept.sum()) + digamma(near[kept]) - digamma(size[group[kept]]) - digamma(around)


def mixed_ksg(x: np.ndarray, y: np.ndarray, *, neighbours: int = 4) -> float:
    """Mixed KSG for discrete and continuous parts (Gao et al., arXiv 1709.06212), in nats.

    >>> y = np.repeat([0, 1], 100)
    >>> bool(abs(mixed_ksg(y, y) - np.log(2)) < 0.05)
    True
    """
    return float(np.mean(mixed_ksg_terms(x, y, neighbours=neighbours)))


def mixed_ksg_terms(x: np.ndarray, y: np.ndarray, *, neighbours: int = 4) -> np.ndarray:
    """The n terms whose mean is the mixed estimate."""
    x, y = _columns(x), _columns(y)
    n = len(x)
    require(len(y) == n, f"x and y need the same rows: {n}", y=len(y))
    require(1 <= neighbours < n, f"needs 1 <= neighbours < rows = {n}", neighbours=neighbours)
    both = np.concatenate([x, y], axis=1)
    reach, local = _reach(both, neighbours)
    return digamma(local) + np.log(n) - digamma(_within(x, reach)) - digamma(_within(y, reach))


def _reach(both: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Just less than the k-th distance, and k; for k ties, 0 and how many there are."""
    radius = KDTree(both).query(both, k=neighbours + 1, p=np.inf)[0][:, -1]
    tied, local = radius == 0, np.full(len(both), neighbours)
    if tied.any():
        local[tied] = KDTree(both).query_ball_point(both[tied], 0.0, p=np.inf, return_length=True)
    return radius * (1 - _ROUNDING), local


def _within(points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Points within the radius of each point, itself counted."""
    if points.shape[1] == 1:
        line = points[:, 0]
        ordered = np.sort(line)
        beyond = np.searchsorted(ordered, line + radius, "right")
        return beyond - np.searchsorted(ordered, line - radius, "left")
    return np.asarray(KDTree(points).query_ball_point(points, radius, p=np.inf, return_length=True))


def _columns(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return values.reshape(len(values), -1)
