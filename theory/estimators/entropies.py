"""Entropy in nats from counts, by six estimators. None is a bound."""

from collections.abc import Callable
from math import prod

import numpy as np
from scipy.special import digamma, entr, gammaln, polygamma

from theory.errors import require


def plug_in(counts: np.ndarray, cells: int) -> float:
    """Entropy of the frequencies; too low by about (cells - 1) / (2n) (Miller 1955).

    >>> round(plug_in(np.array([1, 1]), 2), 4)
    0.6931
    """
    return float(entr(counts / counts.sum()).sum())


def miller_madow(counts: np.ndarray, cells: int) -> float:
    """Plug-in plus (cells seen - 1) / (2n)."""
    return plug_in(counts, cells) + (np.count_nonzero(counts) - 1) / (2 * counts.sum())


def chao_shen(counts: np.ndarray, cells: int) -> float:
    """Horvitz-Thompson with Good-Turing coverage (Chao and Shen 2003)."""
    n, seen = counts.sum(), counts[counts > 0]
    single = min(np.count_nonzero(seen == 1), n - 1)
    p = (1 - single / n) * seen / n
    return float((entr(p) / -np.expm1(n * np.log1p(-np.minimum(p, 1 - 1e-16)))).sum())


def grassberger(counts: np.ndarray, cells: int) -> float:
    """Grassberger's second estimator (arXiv physics/0307138, equations 27 to 31)."""
    c = counts[counts > 0].astype(float)
    sign = np.where(c % 2 == 0, 1.0, -1.0)
    terms = digamma(c) + sign / 2 * (digamma((c + 1) / 2) - digamma(c / 2))
    return float(np.log(c.sum()) - (c @ terms) / c.sum())


def shrinkage(counts: np.ndarray, cells: int) -> float:
    """Frequencies shrunk towards the uniform law (Hausser and Strimmer 2009, eq. 4 to 6)."""
    n, p = counts.sum(), counts[counts > 0] / counts.sum()
    unseen = cells - len(p)
    spread = ((p - 1 / cells) ** 2).sum() + unseen / cells**2
    known = n >= 2 and spread > 0
    weight = min(1.0, float((1 - (p**2).sum()) / ((n - 1) * spread))) if known else 1.0
    return float(entr(weight / cells + (1 - weight) * p).sum() + unseen * entr(weight / cells))


def nsb(counts: np.ndarray, cells: int) -> float:
    """Posterior mean under Dirichlet priors flat in expected entropy (Nemenman et al. 2002)."""
    if cells == 1:
        return 0.0
    n, seen = counts.sum(), counts[counts > 0]
    sizes, times = np.unique(seen, return_counts=True)
    log_strength = np.linspace(np.log(1e-6), np.log(1e5), 600)  # the integral runs over log beta
    strength = np.exp(log_strength)[:, None]
    total = cells * strength[:, 0]
    evidence = gammaln(total) - gammaln(n + total)
    evidence += ((gammaln(sizes + strength) - gammaln(strength)) * times).sum(1)
    flat = cells * polygamma(1, total + 1) - polygamma(1, strength[:, 0] + 1)
    log_weight = evidence + np.log(np.maximum(flat, 1e-300)) + np.log(strength[:, 0])
    weight = np.exp(log_weight - log_weight.max())
    share = (sizes + strength) / (n + total)[:, None]
    unseen = (cells - len(seen)) * strength[:, 0] / (n + total) * digamma(strength[:, 0] + 1)
    mean = digamma(n + total + 1) - (times * share * digamma(sizes + strength + 1)).sum(1) - unseen
    return float(weight @ mean / weight.sum())


_BY_COUNTS = (plug_in, miller_madow, chao_shen, grassberger, shrinkage, nsb)
ENTROPIES: dict[str, Callable[[np.ndarray, int], float]] = {of.__name__: of for of in _BY_COUNTS}


def codes(values: np.ndarray) -> np.ndarray:
    """Number the distinct rows of whole numbers from 0.

    >>> codes(np.array([[1, 2], [0, 5], [1, 2]])).tolist()
    [1, 0, 1]
    """
    values = np.asarray(values)
    whole = values.dtype.kind in "iub"
    require(whole, "whole numbers only: use a continuous estimator", values=values.dtype)
    return np.unique(values.reshape(len(values), -1), axis=0, return_inverse=True)[1].reshape(-1)


def discrete_information(
    x: np.ndarray, y: np.ndarray, cond: np.ndarray | None, *, entropy: str
) -> tuple[float, np.ndarray]:
    """I(X;Y|C) as four entropies of codes, and the n plug-in log ratios."""
    require(entropy in ENTROPIES, f"choose one of {sorted(ENTROPIES)}", entropy=entropy)
    c = np.zeros(len(x), dtype=int) if cond is None else codes(cond)
    x, y = codes(x), codes(y)
    sizes = [int(v.max()) + 1 for v in (x, y, c)]
    cell_counts = (sizes[0] * sizes[2], sizes[1] * sizes[2], prod(sizes), sizes[2])
    parts = zip(((x, c), (y, c), (x, y, c), (c,)), cell_counts, (1, 1, -1, -1), strict=True)
    value, density = 0.0, np.zeros(len(x))
    for columns, cells, sign in parts:
        cell = codes(np.stack(columns, 1))
        _, place, counts = np.unique(cell, return_inverse=True, return_counts=True)
        value += sign * ENTROPIES[entropy](counts, cells)
        density -= sign * np.log(counts[place] / len(x))
    return value, density


def occupied(x: np.ndarray, y: np.ndarray, cond: np.ndarray | None) -> tuple[int, int, int]:
    """Cells seen of the joint table, rows alone in theirs, and its degrees of freedom.

    These are of the cells that can occur: those seen, and as many unseen as the cells of one row
    and of two tell (Chao 1984). Where one side settles the other there are fewer than none.

    >>> occupied(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), None)
    (3, 2, 0)
    """
    c = np.zeros(len(x), dtype=int) if cond is None else codes(cond)
    sizes = np.unique(codes(np.c_[codes(x), codes(y), c]), return_counts=True)[1]
    once, twice = (int((sizes == times).sum()) for times in (1, 2))
    strata = (np.unique(np.c_[c, codes(side)], axis=0)[:, 0] for side in (x, y))
    rows, columns = (np.bincount(of, minlength=c.max() + 1) for of in strata)
    cells = min(len(sizes) + once * (once - 1) // (2 * (twice + 1)), int(rows @ columns))
    return len(sizes), once, int(cells - rows.sum() - columns.sum() + len(rows))
