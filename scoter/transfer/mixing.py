"""Late fusion, a chain's simplest rival: a recommender's scores mixed with transition scores."""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from scoter.types import Rankings

# Shares of the transition scores that are tried on the validation users.
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def mix_scores(rankings: Rankings, transitions: csr_array, weight: float, k: int) -> Rankings:
    """The `k` best items by `(1 - weight) p + weight q`, ties to the lower item number.

    Args:
        rankings: log p of each row's best items; beyond that list p counts as 0.
        transitions: any non-negative scores, which become the q of each row; a row of zeros keeps
            the ranking as it is.

    >>> ranked = Rankings(np.array([0]), np.array([[3, 1]]), np.log(np.array([[0.6, 0.4]])))
    >>> counts = csr_array(np.array([[0.0, 1.0, 3.0, 0.0]]))
    >>> mix_scores(ranked, counts, weight=0.5, k=3).items.tolist()
    [[2, 1, 3]]
    """
    rows = len(rankings.items)
    items, scores = np.full((rows, k), -1, np.int64), np.full((rows, k), -np.inf, np.float32)
    for row in range(rows):
        found, values = _mixed_row(rankings, transitions, weight, row)
        best = np.lexsort((found, -values))[:k]
        items[row, : len(best)], scores[row, : len(best)] = found[best], np.log(values[best])
    return Rankings(rankings.users, items, scores)


def _mixed_row(
    rankings: Rankings, transitions: csr_array, weight: float, row: int
) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
    listed = rankings.items[row] >= 0
    own, shares = rankings.items[row][listed], rankings.scores[row][listed].astype(np.float64)
    part = slice(transitions.indptr[row], transitions.indptr[row + 1])
    following, counts = transitions.indices[part], transitions.data[part]
    total = counts.sum()
    weight, total = (weight, total) if total > 0 else (0.0, 1.0)
    found, place = np.unique(np.concatenate([own, following]), return_inverse=True)
    masses = np.concatenate([(1 - weight) * np.exp(shares), weight * counts / total])
    values = np.bincount(place, masses, minlength=len(found))
    return found[values > 0], values[values > 0]
