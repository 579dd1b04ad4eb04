"""Nearest neighbours: KSG and its conditional form, mixed KSG for ties, Ross for labels.

None is a bound; beyond about five dimensions all fall far below the truth (F8). Distances depend on
units: `estimate` hands over normal scores, whose information is the same."""

from typing import Literal

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma

from theory.errors import require, whole

Metric = Literal["chebyshev", "euclidean"]

_ORDER = {"chebyshev": np.inf, "euclidean": 2}
_MANY = 6  # columns from which all distances cost less than a tree
_ROUNDING = 1e-10  # sums of a point and a radius round; far below any distance that matters


def ksg(
    x: np.ndarray,
    y: np.ndarray,
    *,
    neighbours: int = 4,
    variant: int = 1,
    metric: Metric = "chebyshev",
    correction: float | None = None,
) -> float:
    """KSG estimate of I(X;Y) from x [n, dx], y [n, dy] (Kraskov et al. 2004, eq. 8, 9).

    metric: of x and of y; their pair is at the larger of the two distances. "euclidean" sees more
    in many dimensions. correction: where the principal axes of the neighbours span a box of less
    than this share of the volume of theirs along x and y, the term grows by the log of the ratio
    (after Gao et al. 2015); not for two neighbourhoods alike. Premise: continuous data, so no two
    equal rows; use `mixed_ksg` otherwise.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((300, 1))
    >>> ksg(x, x + rng.standard_normal((300, 1))) > 0.2
    True
    """
    given = {"neighbours": neighbours, "variant": variant, "metric": metric}
    return float(np.mean(ksg_terms(x, y, correction=correction, **given)))


def ksg_terms(
    x: np.ndarray,
    y: np.ndarray,
    *,
    neighbours: int = 4,
    variant: int = 1,
    metric: Metric = "chebyshev",
    correction: float | None = None,
) -> np.ndarray:
    """The n terms whose mean is the KSG estimate."""
    require(variant in (1, 2), "Kraskov et al. give variants 1 and 2", variant=variant)
    require(metric in ("chebyshev", "euclidean"), "chebyshev or euclidean", metric=metric)
    x, y = _columns(x), _columns(y)
    n = len(x)
    require(len(y) == n, f"x and y need the same rows: {n}", y=len(y))
    whole(1, n - 1, neighbours=neighbours)
    distances, rows = _nearest(x, y, neighbours, metric)
    apart = np.all(distances[:, 1] > 0)
    require(apart, "KSG needs continuous data: use mixed_ksg", rows="equal rows of x, y")
    inside = np.asarray(rows)[:, 1:]
    if variant == 1:
        radius = distances[:, -1] * (1 - _ROUNDING)  # strictly inside
        around = digamma(_within(x, radius, metric)) + digamma(_within(y, radius, metric))
        terms = digamma(neighbours) + digamma(n) - around
    else:
        terms = np.full(n, digamma(neighbours) - 1 / neighbours + digamma(n))
        for side in (x, y):
            lengths = np.linalg.norm(side[inside] - side[:, None], _ORDER[metric], axis=2)
            terms -= digamma(_within(side, lengths.max(1) * (1 + _ROUNDING), metric) - 1)
    return terms if correction is None else terms + _oblique(np.c_[x, y], inside, correction)


def _nearest(
    x: np.ndarray, y: np.ndarray, neighbours: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows of each point (first, at 0) and its nearest, by the larger of two."""
    if metric == "chebyshev" and x.shape[1] + y.shape[1] < _MANY:
        distances, rows = KDTree(np.c_[x, y]).query(np.c_[x, y], k=neighbours + 1, p=np.inf)
        return np.asarray(distances), np.asarray(rows)
    kept = []
    for part in np.array_split(np.arange(len(x)), max(1, len(x) // 500)):
        apart = np.maximum(cdist(x[part], x, metric), cdist(y[part], y, metric))
        rows = np.argpartition(apart, neighbours, axis=1)[:, : neighbours + 1]
        values = np.take_along_axis(apart, rows, 1)
        order = np.argsort(values, axis=1, kind="stable")
        kept.append([np.take_along_axis(values, order, 1), np.take_along_axis(rows, order, 1)])
    distances, rows = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return distances, rows


def _oblique(both: np.ndarray, inside: np.ndarray, share: float) -> np.ndarray:
    """Log of the volume along x and y over that along the principal axes, where it is large."""
    few = f"needs more than the {both.shape[1]} columns of x and y"
    require(inside.shape[1] > both.shape[1], few, neighbours=inside.shape[1])
    require(0 < share < 1, "lies strictly between 0 and 1", correction=share)
    apart = both[inside] - both[:, None]
    turned = apart @ np.linalg.eigh(np.einsum("nki,nkj->nij", apart, apart))[1]
    log_share = (np.log(np.abs(v).max(1)).sum(1) for v in (turned, apart))
    ratio = np.subtract(*log_share)
    return np.where(ratio < np.log(share), -ratio, 0.0)


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
    whole(1, n - 1, neighbours=neighbours)
    margins = [np.c_[x, c], np.c_[y, c], c]
    local, (of_x, of_y, of_c) = _counted(np.c_[x, y, c], margins, neighbours)
    return digamma(local) - digamma(of_x) - digamma(of_y) + digamma(of_c)


def ross_terms(x: np.ndarray, y: np.ndarray, *, neighbours: int = 4) -> np.ndarray:
    """Terms of I(X;Y) of continuous x and labels y (Ross 2014); a single label has no term.

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 200)
    >>> terms = ross_terms(y[:, None] * 9.0 + rng.standard_normal((400, 1)), y)
    >>> bool(abs(terms.mean() - np.log(2)) < 0.05)
    True
    """
    x = _columns(x)
    whole(1, neighbours=neighbours)
    labels, group = np.unique(y, axis=0, return_inverse=True)
    group = group.reshape(-1)
    size = np.bincount(group)
    kept = size[group] > 1
    require(kept.any(), "each label occurs once: nothing is near anything", y=len(labels))
    reach, near = np.zeros(len(x)), np.zeros(len(x), dtype=int)
    for label in np.flatnonzero(size > 1):
        mine = group == label
        near[mine] = min(neighbours, size[label] - 1)
        distances = KDTree(x[mine]).query(x[mine], k=near[mine][0] + 1, p=np.inf)[0]
        apart = (distances[:, 1] > 0).all()
        require(apart, "Ross needs continuous x: use mixed_ksg", x="equal rows of one label")
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
    whole(1, n - 1, neighbours=neighbours)
    if any((side == side[0]).all() for side in (x, y)):
        return np.zeros(n)  # one value tells nothing
    local, (of_x, of_y) = _counted(np.c_[x, y], [x, y], neighbours)
    return digamma(local) + np.log(n) - digamma(of_x) - digamma(of_y)


def _counted(
    both: np.ndarray, margins: list[np.ndarray], neighbours: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """How many points are near each point in `both`, and in each margin.

    Near is what is closer than the k-th neighbour, itself counted; of `both` these are k. Where k
    points are equal, near is what is equal. Where several points of a margin are just as far as
    the k-th neighbour, as rounded numbers are, they are near as well, in `both` too, and the point
    itself is not counted: without them independent numbers look dependent.
    """
    tree = KDTree(both)
    radius = np.asarray(tree.query(both, k=neighbours + 1, p=np.inf)[0])[:, -1]
    local = np.full(len(both), neighbours)
    inner = [_within(points, radius * (1 - _ROUNDING)) for points in margins]
    if all(len(np.unique(column)) == len(both) for column in both.T):
        return local, inner
    outer = [_within(points, radius * (1 + _ROUNDING)) for points in margins]
    shell = np.max([np.subtract(*pair) for pair in zip(outer, inner, strict=True)], axis=0) > 1
    shell &= radius > 0
    tied = shell | (radius == 0)
    reach = radius[tied] * (1 + _ROUNDING)
    found = tree.query_ball_point(both[tied], reach, p=np.inf, return_length=True)
    local[tied] = np.asarray(found) - shell[tied]
    counts = (np.where(shell, more - 1, few) for more, few in zip(outer, inner, strict=True))
    return local, [*counts]


def _within(points: np.ndarray, radius: np.ndarray, metric: Metric = "chebyshev") -> np.ndarray:
    """Points within the radius of each point, itself counted."""
    if points.shape[1] == 1:
        line = points[:, 0]
        ordered = np.sort(line)
        beyond = np.searchsorted(ordered, line + radius, "right")
        return beyond - np.searchsorted(ordered, line - radius, "left")
    if metric == "chebyshev" and points.shape[1] < _MANY:
        tree = KDTree(points)
        return np.asarray(tree.query_ball_point(points, radius, p=np.inf, return_length=True))
    parts = np.array_split(np.arange(len(points)), max(1, len(points) // 500))
    counts = [(cdist(points[p], points, metric) <= radius[p, None]).sum(1) for p in parts]
    return np.concatenate(counts)


def _columns(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return values.reshape(len(values), -1)
