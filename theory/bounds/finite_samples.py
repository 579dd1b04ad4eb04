"""Finite samples: how sure a measured recall is (T20), what no learner can beat (T21 to T23)."""

import numpy as np
from scipy.stats import beta, binom

from theory.errors import Numbers, number, require, strictly, whole


def recall_deviation(users: int, *, readers: int = 1, delta: float = 0.05) -> float:
    """Largest `|measured - true|` recall of `readers` fixed beforehand, w.p. 1 - delta (T20a).

    >>> round(recall_deviation(22_363, readers=2), 4)
    0.0099
    """
    whole(1, users=users, readers=readers)
    strictly(0, 1, delta=delta)
    return float(np.sqrt(np.log(2 * readers / delta) / (2 * users)))


def clopper_pearson(hits: int, users: int, *, delta: float) -> tuple[float, float]:
    """Lower and upper limit of a probability, each wrong with probability at most delta.

    >>> [round(limit, 4) for limit in clopper_pearson(50, 1000, delta=0.025)]
    [0.0373, 0.0654]
    """
    whole(1, users=users)
    whole(0, users, hits=hits)
    strictly(0, 1, delta=delta)
    low = float(beta.ppf(delta, hits, users - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - delta, hits + 1, users - hits)) if hits < users else 1.0
    return low, high


def paired_recall_interval(
    only_first: int, only_second: int, users: int, *, delta: float = 0.05
) -> tuple[float, float]:
    """Interval of the first reader's recall less the second's, w.p. 1 - delta (T20b).

    Args:
        only_first, only_second: users whose target one reader lists and the other does not.

    >>> low, high = paired_recall_interval(224, 157, 22_363)
    >>> round(low, 4), round(high, 4)
    (0.0002, 0.0058)
    """
    strictly(0, 1, delta=delta)
    whole(0, only_first=only_first, only_second=only_second)
    apart = f"only_first and only_second are different users, of {users} in all"
    require(only_first + only_second <= users, apart, users=users)
    first = clopper_pearson(only_first, users, delta=delta / 4)
    second = clopper_pearson(only_second, users, delta=delta / 4)
    return first[0] - second[1], first[1] - second[0]


def paired_ndcg_interval(differences: Numbers, *, delta: float = 0.05) -> tuple[float, float]:
    """Interval of a mean of independent differences in [-1, 1], w.p. 1 - delta (T20b).

    >>> low, high = paired_ndcg_interval(np.tile([0.0, 0.2], 5000))
    >>> 0.09 < low < 0.1 < high < 0.11
    True
    """
    d = np.asarray(differences, dtype=float)
    require(d.ndim == 1 and d.size >= 2, "give two differences or more", differences=d.shape)
    require(np.all(np.abs(d) <= 1), "lie in [-1, 1]", differences=float(np.abs(d).max()))
    strictly(0, 1, delta=delta)
    width = bernstein_width(d, 2.0, delta)
    return float(d.mean()) - width, float(d.mean()) + width


def bernstein_width(values: np.ndarray, spread: float, delta: float) -> float:
    """How far a mean of values in a range of `spread` may be off to one side, w.p. 1 - delta / 2.

    Maurer and Pontil (arXiv 0907.3740, Theorem 4).

    >>> round(bernstein_width(np.tile([0.0, 1.0], 500), 1.0, 0.05), 4)
    0.0571
    """
    risk, n = np.log(4 / delta), len(values)
    tail = 7 * spread * risk / (3 * (n - 1))
    return float(np.sqrt(2 * values.var(ddof=1) * risk / n) + tail)


def linear_reader_deviation(users: int, items: int, dims: int, *, delta: float = 0.05) -> float:
    """Deviation for all readers whose scores are linear in `dims` weights at once (T20c).

    >>> round(linear_reader_deviation(22_363, 12_101, 8), 2)
    0.24
    """
    whole(1, users=users, dims=dims)
    whole(2, items=items)
    require(users * (items - 1) >= dims, "needs users (items - 1) >= dims", dims=dims)
    growth = dims * np.log(2 * np.e * users * (items - 1) / dims)
    strictly(0, 1, delta=delta)
    return float(np.sqrt(8 / users * (growth + np.log(4 / delta))))


def table_excess_floor(cells: int, items: int, n: int) -> float:
    """What every learner's expected excess log-loss is at least on some problem, in nats (T21).

    Cells are equally likely and their laws Dirichlet(alpha); the best alpha is taken.

    >>> round(table_excess_floor(256, 8, 5000), 3)
    0.103
    """
    whole(1, cells=cells)
    whole(2, items=items)
    whole(0, n=n)
    alpha = np.geomspace(0.2, 20, 81)
    floors = ((items - 1) / 2 - items / (12 * alpha)) / (n / cells + items * alpha)
    return float(floors.max())


def ordered_table_loses(ordered_cells: int, pooled_cells: int, items: int) -> float:
    """Rows beyond which an ordered table loses to a pooled one on some law without order (T21).

    Infinite where there are too few ordered cells: premise ordered_cells > 3 pooled_cells.

    >>> round(ordered_table_loses(256, 35, 8))
    1422
    """
    whole(1, ordered_cells=ordered_cells, pooled_cells=pooled_cells)
    whole(2, items=items)
    more = ordered_cells - 3 * pooled_cells
    if more <= 0:
        return float("inf")
    return (3 * pooled_cells * ordered_cells * items - ordered_cells) / more


def table_regret(cells: int, k: int, n: int) -> float:
    """Cap of the plug-in table's expected loss of recall@k, on any law (T22a).

    >>> round(table_regret(256, 3, 30_720), 3)
    0.183
    """
    whole(1, cells=cells, k=k)
    whole(0, n=n)
    return float(min(np.sqrt(cells * (k + 1) / (n + 1)), 1.0))


def rows_for_gain(cells: int, k: int, gain: float) -> float:
    """Rows at which the trained ordered table is no worse than the collapsed Bayes reader (T22a).

    >>> rows_for_gain(16, 3, 0.2)
    1599.0
    """
    whole(1, cells=cells, k=k)
    gain = number(0, 1, gain=gain)
    require(gain > 0, "a strict gain lies in (0, 1]", gain=gain)
    return float(np.ceil(cells * (k + 1) / gain**2 - 1e-9) - 1)


def table_regret_floor(cells: int, items: int, k: int, n: int) -> float:
    """What every learner loses of recall@k on some problem; premise: items >= 2k (T22b).

    The best of a grid of eps and of the closed form, sqrt(cells k / n) / 8 from n = cells k / 4 on.

    >>> round(table_regret_floor(256, 12, 3, 30_720), 3)
    0.027
    """
    whole(1, cells=cells, k=k, items=items)
    require(items >= 2 * k, f"the pairs of T22 need items >= 2k = {2 * k}", items=items)
    whole(0, n=n)
    scale = np.sqrt(cells * k / max(n, 1))
    grid = np.unique(np.minimum(scale * np.geomspace(0.2, 5, 41), 1))
    closed = scale / 8 if 4 * n >= cells * k else 0.0
    return float(max(closed, *(eps * sign_error(n, 1 / (cells * k), eps) for eps in grid)))


def learned_share(cells: int, k: int, n: int, eps: float) -> float:
    """Most of a gain of size eps in pairs of arrangements that n rows can teach (T23).

    Every learner gains no more on some signs of these pairs.

    >>> [round(learned_share(256, 3, n, 0.2), 2) for n in (2_000, 8_000, 32_000)]
    [0.35, 0.64, 0.93]
    """
    whole(1, cells=cells, k=k)
    whole(0, n=n)
    eps = number(0, 1, eps=eps)
    require(eps > 0, "a bias lies in (0, 1]", eps=eps)
    return 1 - 2 * sign_error(n, min(2 / (cells * k), 1.0), eps)


def sign_error(n: int, chance: float, eps: float) -> float:
    """Error of the majority of Bin(n, chance) coins of bias (1 + eps) / 2; a tie errs by half.

    >>> sign_error(0, 0.5, 0.2), round(sign_error(1, 1.0, 0.2), 3)
    (0.5, 0.4)
    """
    least, most = binom.ppf((1e-14, 1 - 1e-13), n, chance).astype(int) if n else (0, 0)
    coins = np.arange(max(least, 0), most + 1)
    wrong = binom.cdf(np.ceil(coins / 2) - 1, coins, (1 + eps) / 2)
    tied = np.where(coins % 2 == 0, binom.pmf(coins // 2, coins, (1 + eps) / 2), 0)
    return float(binom.pmf(coins, n, chance) @ (wrong + tied / 2))
