"""Recall, NDCG and reciprocal rank of one held-out item per user, from its rank alone.

With one relevant item, recall@k is 1 where the rank is at most k, NDCG@k is 1 / log2(rank + 1)
there (the ideal DCG is 1), and the reciprocal rank is 1 / rank; a miss scores 0 in all.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from scoter.errors import ConfigError
from scoter.types import UserMetrics

CUTOFFS = (5, 10, 20)
METRICS = (*(f"{kind}@{k}" for k in CUTOFFS for kind in ("recall", "ndcg")), "mrr")


def per_user(metrics: UserMetrics, name: str) -> Float[np.ndarray, " rows"]:
    """The metric `name` (`recall@k`, `ndcg@k` or `mrr`) of every user, in [0, 1].

    `mrr` is truncated at `metrics.depth` (RR@depth of ir-measures): deeper ranks count 0. A cut-off
    deeper than the ranks were kept is a `ConfigError`.

    >>> kept = UserMetrics(users=np.arange(3), ranks=np.array([1, 3, 0]), depth=20)
    >>> per_user(kept, "recall@5").tolist(), per_user(kept, "ndcg@5").tolist()
    ([1.0, 1.0, 0.0], [1.0, 0.5, 0.0])
    """
    ranks = metrics.ranks.astype(np.float64)
    is_hit = ranks > 0
    if name == "mrr":
        return np.divide(1.0, ranks, out=np.zeros_like(ranks), where=is_hit)
    kind, k = _parse(name)
    if k > metrics.depth:
        kept = f"only {metrics.depth} were kept for each user"
        raise ConfigError(f"metric {name!r} looks at {k} items, but {kept}; rank {k} or more")
    hit = is_hit & (ranks <= k)
    return hit.astype(np.float64) if kind == "recall" else hit / np.log2(np.maximum(ranks, 1) + 1)


def mean_metrics(metrics: UserMetrics, names: Sequence[str] | None = None) -> dict[str, float]:
    """The mean of each metric over users; by default of all `METRICS` that the depth allows."""
    if not len(metrics.ranks):
        raise ConfigError("there are 0 users to average over; evaluate at least one")
    if names is None:
        names = [name for name in METRICS if name == "mrr" or _parse(name)[1] <= metrics.depth]
    return {name: float(per_user(metrics, name).mean()) for name in names}


def _parse(name: str) -> tuple[str, int]:
    kind, _, k = name.partition("@")
    if kind not in ("recall", "ndcg") or not k.isdecimal() or int(k) < 1:
        remedy = "write recall@K, ndcg@K (K = 1, 2, ...) or mrr"
        raise ConfigError(f"there is no metric {name!r}; {remedy}")
    return kind, int(k)
