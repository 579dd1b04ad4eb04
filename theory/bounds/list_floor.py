"""The exact floor of a list's recall and NDCG, given information and popularity (T19)."""

import numpy as np
from scipy.optimize import linprog
from scipy.special import entr

from theory.bounds.list_rate import sorted_law
from theory.errors import number, require

_MOST_PREFIXES = 200


def list_rate_floor(popularity: np.ndarray, k: int, information: float) -> float:
    """Least Bayes recall@k of any W with I(Y;W) >= information, in nats: a linear program (T19).

    Args:
        popularity: P(Y = y) of every item, [items]; sums to 1.

    Exact up to 200 items; beyond, fewer prefixes of the popularity are held, which only lowers it.

    >>> zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    >>> round(list_rate_floor(zipf, 3, 1.0), 4)
    0.6544
    """
    p = sorted_law(popularity, k)
    sizes = np.arange(1, len(p) + 1)
    return _program(p, np.minimum(1.0, k / sizes), information)


def ndcg_rate_floor(popularity: np.ndarray, k: int, information: float) -> float:
    """Least Bayes NDCG@k of any W with I(Y;W) >= information, in nats (T19).

    >>> zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    >>> ndcg_rate_floor(zipf, 3, 1.0) < list_rate_floor(zipf, 3, 1.0)
    True
    """
    p = sorted_law(popularity, k)
    sizes = np.arange(1, len(p) + 1)
    gains = (1 / np.log2(np.arange(1, k + 1) + 1)).cumsum()
    return _program(p, gains[np.minimum(sizes, k) - 1] / sizes, information)


def _program(p: np.ndarray, cost: np.ndarray, information: float) -> float:
    """min cost w over laws w of the sizes of uniform posteriors that popularity allows."""
    entropy = float(entr(p).sum())
    information = number(0, entropy, information=information)
    sizes = np.arange(1, len(p) + 1)
    kept = np.unique(np.geomspace(1, len(p), _MOST_PREFIXES).round().astype(int))
    kept = sizes if len(p) <= _MOST_PREFIXES else kept
    prefixes = np.minimum(kept[:, None] / sizes, 1.0)
    left = np.vstack([-prefixes, np.log(sizes)])
    right = np.concatenate([-p.cumsum()[kept - 1], [entropy - information]])
    result = linprog(cost, A_ub=left, b_ub=right + 1e-12, A_eq=np.ones((1, len(p))), b_eq=[1.0])
    require(result.success, "the linear program was not solved", information=information)
    return float(result.fun)
