"""Recall, NDCG and reciprocal rank of one held-out item per user, from its rank alone.

With one relevant item, recall@k is 1 where the rank is at most k, NDCG@k is 1 / log2(rank + 1)
there (the ideal DCG is 1), and the reciprocal rank is 1 / rank; a miss scores 0 in all.

`recall@k/unseen` and `ndcg@k/unseen` are the same among items that a user has not had: items of the
history are left out of the ranking, and the users are those whose target is not in their history.
Limit: a ranking of 20 items, many of which the user has had, may hold fewer than k others. Then a
miss is undecided, and counts as a miss: `undecided@k/unseen` is the share of these users for whom
that is so, and recall@k/unseen is too low by at most as much.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from scoter.errors import ConfigError
from scoter.types import UserMetrics

CUTOFFS = (5, 10, 20)
METRICS = (*(f"{kind}@{k}" for k in CUTOFFS for kind in ("recall", "ndcg")), "mrr")
SHOWN = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")  # in tables and reports
UNSEEN = tuple(f"{kind}@{k}/unseen" for k in CUTOFFS for kind in ("recall", "ndcg", "undecided"))


def per_user(metrics: UserMetrics, name: str) -> Float[np.ndarray, " rows"]:
    """The metric `name` (`recall@k`, `ndcg@k` or `mrr`) of every user, in [0, 1].

    A metric that ends in `/unseen` has a row for each user whose target is not in the history.
    `mrr` is truncated at `metrics.depth` (RR@depth of ir-measures): deeper ranks count 0. A cut-off
    deeper than the ranks were kept is a `ConfigError`.

    >>> kept = UserMetrics(users=np.arange(3), ranks=np.array([1, 3, 0]), depth=20)
    >>> per_user(kept, "recall@5").tolist(), per_user(kept, "ndcg@5").tolist()
    ([1.0, 1.0, 0.0], [1.0, 0.5, 0.0])
    """
    ranks = metrics.ranks.astype(np.float64)
    if name == "mrr":
        return np.divide(1.0, ranks, out=np.zeros_like(ranks), where=ranks > 0)
    kind, k, unseen = _parse(name)
    if k > metrics.depth:
        kept = f"only {metrics.depth} were kept for each user"
        raise ConfigError(f"metric {name!r} looks at {k} items, but {kept}; rank {k} or more")
    if unseen:
        before = metrics.unseen_before
        if before is None:
            remedy = "give the histories to `Evaluator.evaluate`, or run the experiment again"
            raise ConfigError(f"metric {name!r}: nobody counted which items are unseen; {remedy}")
        if kind == "undecided":
            return ((ranks == 0) & (before < k))[before >= 0].astype(np.float64)
        ranks = np.where(ranks > 0, before + 1, 0)[before >= 0]
    hit = (ranks > 0) & (ranks <= k)
    return hit.astype(np.float64) if kind == "recall" else hit / np.log2(np.maximum(ranks, 1) + 1)


def mean_metrics(metrics: UserMetrics, names: Sequence[str] | None = None) -> dict[str, float]:
    """The mean of each metric over its users.

    By default of all `METRICS` that the depth allows, and of those of `UNSEEN` where the unseen
    items were counted and any target is one.
    """
    if not len(metrics.ranks):
        raise ConfigError("there are 0 users to average over; evaluate at least one")
    if names is None:
        before = metrics.unseen_before
        known = METRICS if before is None or (before < 0).all() else (*METRICS, *UNSEEN)
        names = [name for name in known if name == "mrr" or _parse(name)[1] <= metrics.depth]
    return {name: float(per_user(metrics, name).mean()) for name in names}


def _parse(name: str) -> tuple[str, int, bool]:
    """Kind, k, and whether it is among unseen items."""
    cut = name.removesuffix("/unseen")
    kind, _, k = cut.partition("@")
    known = ("recall", "ndcg") if cut == name else ("recall", "ndcg", "undecided")
    if kind not in known or not k.isdecimal() or int(k) < 1:
        remedy = "write recall@K, ndcg@K (K = 1, 2, ...), either with /unseen, or mrr"
        raise ConfigError(f"there is no metric {name!r}; {remedy}")
    return kind, int(k), cut != name
