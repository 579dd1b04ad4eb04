"""NDCG of one relevant item as a weighted sum of recalls (T8), which carries the bounds of T5 and
T6 over."""

import numpy as np

from theory.arrays import Numbers
from theory.bounds.list_bounds import recall_ceiling, recall_floor
from theory.errors import require


def ndcg_from_recalls(recalls: Numbers) -> float:
    """NDCG@K from Recall@1..Recall@K by Abel summation (T8). Premise: one relevant item, so recalls
    in [0, 1] rise.

    >>> round(ndcg_from_recalls([0.0, 1.0]), 4)
    0.6309
    """
    recalls = np.asarray(recalls, dtype=float)
    require(
        recalls.ndim == 1 and recalls.size > 0,
        "recalls",
        recalls,
        "give Recall@1..Recall@K as one vector",
    )
    rising = np.all((recalls >= 0) & (recalls <= 1)) and np.all(np.diff(recalls) >= -1e-12)
    require(
        bool(rising), "recalls", recalls, "recalls of growing lists lie in [0, 1] and do not fall"
    )
    return float(recalls @ ndcg_weights(recalls.size))


def ndcg_weights(k: int) -> np.ndarray:
    """The non-negative weights of Recall@1..Recall@k in NDCG@k.

    >>> ndcg_weights(1).tolist()
    [1.0]
    """
    require(k >= 1, "k", k, "a list holds at least one item")
    discounts = 1 / np.log2(np.arange(1, k + 1) + 1)
    return discounts - np.append(discounts[1:], 0)


def ndcg_ceiling(conditional_entropy: float, *, items: int, k: int) -> float:
    """Highest NDCG@k at this H(Y|W): the ceilings of T5 under the weights of T8 (valid, not jointly
    tight).

    >>> 0.9 < ndcg_ceiling(0.5, items=20, k=5) <= 1
    True
    """
    return float(
        ndcg_weights(k)
        @ [recall_ceiling(conditional_entropy, items=items, k=r) for r in range(1, k + 1)]
    )


def ndcg_floor(conditional_entropy: float, *, items: int, k: int) -> float:
    """Lowest Bayes NDCG@k at this H(Y|W): the floors of T6 under the weights of T8; a cross-entropy
    may stand in.

    >>> ndcg_floor(0.5, items=20, k=5) < ndcg_ceiling(0.5, items=20, k=5)
    True
    """
    return float(
        ndcg_weights(k)
        @ [recall_floor(conditional_entropy, items=items, k=r) for r in range(1, k + 1)]
    )
