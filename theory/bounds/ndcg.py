"""NDCG of one relevant item as a weighted sum of recalls (T8), and its bounds."""

import numpy as np

from theory.bounds.list_bounds import fano_ceiling, recall_floor
from theory.errors import Numbers, numbers, require, whole


def ndcg_from_recalls(recalls: Numbers) -> float:
    """NDCG@K from Recall@1..Recall@K by Abel summation (T8); one item is relevant.

    >>> round(ndcg_from_recalls([0.0, 1.0]), 4)
    0.6309
    """
    recalls = numbers(0, 1, recalls=recalls)
    require(recalls.ndim == 1 and recalls.size > 0, "give Recall@1..K, a vector", recalls=recalls)
    rising = np.all(np.diff(recalls) >= -1e-12)
    require(rising, "recalls of growing lists do not fall", recalls=recalls)
    return float(recalls @ ndcg_weights(recalls.size))


def ndcg_weights(k: int) -> np.ndarray:
    """The non-negative weights of Recall@1..Recall@k in NDCG@k.

    >>> ndcg_weights(1).tolist()
    [1.0]
    """
    whole(1, k=k)
    discounts = 1 / np.log2(np.arange(1, k + 1) + 1)
    return discounts - np.append(discounts[1:], 0)


def ndcg_ceiling(conditional_entropy: float, *, items: int, k: int) -> float:
    """Highest NDCG@k at this H(Y|W): T5 under the weights of T8 (valid, not jointly tight).

    >>> 0.9 < ndcg_ceiling(0.5, items=20, k=5) <= 1
    True
    """
    lists = range(1, k + 1)
    ceilings = [fano_ceiling(conditional_entropy, items=items, k=size) for size in lists]
    return float(ndcg_weights(k) @ ceilings)


def ndcg_floor(conditional_entropy: float, *, items: int, k: int) -> float:
    """Lowest Bayes NDCG@k at this H(Y|W), or at an upper bound of it: T6 under T8.

    >>> ndcg_floor(0.5, items=20, k=5) < ndcg_ceiling(0.5, items=20, k=5)
    True
    """
    lists = range(1, k + 1)
    floors = [recall_floor(conditional_entropy, items=items, k=size) for size in lists]
    return float(ndcg_weights(k) @ floors)
