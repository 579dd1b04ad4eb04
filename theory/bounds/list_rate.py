"""The exact ceiling of a list's recall and NDCG, given information and popularity (T16 to T18)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr

from theory.errors import number, require, whole

_SLOPES = (1e-7, 60.0)  # of the trade s between recall and nats that are searched


def list_rate_ceiling(popularity: np.ndarray, k: int, information: float) -> float:
    """Largest recall@k of any representation W with I(Y;W) <= information, in nats (T16).

    Args:
        popularity: P(Y = y) of every item, [items]; sums to 1.

    The value is exact up to rounding: within 1e-7, more or less. With side information, average
    `ListRate.free_energy` over the laws of Y given it.

    >>> zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    >>> round(list_rate_ceiling(zipf, 3, 0.088), 4)
    0.6778
    """
    return ListRate(popularity, k).ceiling(information)


def list_rate(popularity: np.ndarray, k: int, recall: float) -> float:
    """Least I(Y;W) in nats that a recall@k needs, 0 where the most popular items reach it (T16).

    >>> zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    >>> round(list_rate(zipf, 3, 0.6778), 3)
    0.088
    """
    return ListRate(popularity, k).rate(recall)


def ndcg_rate_ceiling(popularity: np.ndarray, k: int, information: float) -> float:
    """Largest NDCG@k of any representation W with I(Y;W) <= information, in nats (T18).

    >>> zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    >>> ndcg_rate_ceiling(zipf, 3, 0.088) < list_rate_ceiling(zipf, 3, 0.088)
    True
    """
    return RankingRate(popularity, k).ceiling(information)


def sorted_law(popularity: np.ndarray, k: int) -> np.ndarray:
    """The law of the items, the most popular first; refused where it or k is none.

    >>> sorted_law(np.array([0.25, 0.75]), 1).tolist()
    [0.75, 0.25]
    """
    p = np.asarray(popularity, dtype=float)
    require(p.ndim == 1 and np.all(p >= 0), "probabilities [items] >= 0", popularity=p.shape)
    require(abs(p.sum() - 1) < 1e-9, "probabilities sum to 1", popularity=float(p.sum()))
    whole(1, len(p) - 1, k=k)
    return -np.sort(-p)


class _Rate(ABC):
    """The ceiling inf_s (I + F(s)) / s of a free energy F; any s gives a valid one."""

    def __init__(self, popularity: np.ndarray, k: int) -> None:
        p = sorted_law(popularity, k)
        self.p, self.k = p[p > 0], k
        self.mass = np.concatenate([[0], self.p.cumsum()])

    @abstractmethod
    def free_energy(self, s: float) -> float:
        """F(s), or anything above it."""

    @property
    @abstractmethod
    def least(self) -> float:
        """What the best constant list reaches."""

    def ceiling(self, information: float) -> float:
        """The largest value at this information, in nats."""
        information = number(0, np.inf, information=information)
        if information == 0 or self.least >= 1:
            return min(self.least, 1.0)

        def value(log_s: float) -> float:
            s = float(np.exp(log_s))
            return (information + self.free_energy(s)) / s

        return float(min(max(_least(value), self.least), 1.0))

    def rate(self, value: float) -> float:
        """The least information that reaches `value`: max over s of s value - F(s)."""
        value = number(0, 1, value=value)
        if value <= self.least:
            return 0.0

        def cost(log_s: float) -> float:
            s = float(np.exp(log_s))
            return self.free_energy(s) - s * value

        return float(np.clip(-_least(cost), 0.0, entr(self.p).sum()))


class ListRate(_Rate):
    """Recall@k against information for one law of Y, by waterfilling (T16)."""

    @cached_property
    def _entropy(self) -> np.ndarray:
        return np.concatenate([[0], (self.p * np.log(self.p)).cumsum()])

    @property
    def least(self) -> float:
        return 1.0 if len(self.p) <= self.k else float(self.mass[self.k])

    def free_energy(self, s: float) -> float:
        """F_p(s) = max of sum_y p_y log(1 + c pi_y), c = e^s - 1, over 0 <= pi <= 1 of sum k.

        The dual value at the multiplier found, which any other multiplier could only raise.
        """
        log_c, log_multiplier = self._waterfill(s)
        inverse_c, multiplier = float(np.exp(-log_c)), float(np.exp(log_multiplier))
        full, some = self._counts(log_multiplier, log_c)
        between = self.mass[some] - self.mass[full]
        gained = s * self.mass[full] + (self._entropy[some] - self._entropy[full])
        gained += (log_c - log_multiplier) * between
        used = full * multiplier + between - (some - full) * inverse_c * multiplier
        return float(gained - used + multiplier * self.k)

    def inclusion(self, s: float) -> np.ndarray:
        """pi, the chance of each item (most popular first) to be in the best random list, at s."""
        log_c, log_multiplier = self._waterfill(s)
        return np.clip(self.p / np.exp(log_multiplier) - np.exp(-log_c), 0, 1)

    def _waterfill(self, s: float) -> tuple[float, float]:
        """log c, and the log of the multiplier at which the inclusion probabilities sum to k."""
        log_c = s + float(np.log(-np.expm1(-s)))
        inverse_c = float(np.exp(-log_c))
        low, high = np.log(self.p[-1] / (1 + inverse_c)), np.log(self.p[0]) + log_c
        for _ in range(100):
            middle = (low + high) / 2
            full, some = self._counts(middle, log_c)
            spread = (self.mass[some] - self.mass[full]) / np.exp(middle)
            above = full + spread - (some - full) * inverse_c > self.k
            low, high = (middle, high) if above else (low, middle)
        return log_c, float((low + high) / 2)

    def _counts(self, log_multiplier: float, log_c: float) -> tuple[int, int]:
        """How many items are always in the list, and how many are in it at times."""
        rising = self.p[::-1]
        always = np.exp(log_multiplier) * (1 + np.exp(-log_c))
        full = len(rising) - np.searchsorted(rising, always, "left")
        some = len(rising) - np.searchsorted(rising, np.exp(log_multiplier - log_c), "right")
        return int(full), int(max(some, full))


class RankingRate(_Rate):
    """NDCG@k against information for one law of Y (T18)."""

    @cached_property
    def discounts(self) -> np.ndarray:
        """Gain of each rank, [k]."""
        return 1 / np.log2(np.arange(1, self.k + 1) + 1)

    @property
    def least(self) -> float:
        ranked = self.p[: self.k]
        return float(ranked @ self.discounts[: len(ranked)])

    def free_energy(self, s: float) -> float:
        """F(s) = max of sum_y p_y log(1 + x_y), x majorised by e^(s w_r) - 1: its dual value."""
        gains = np.concatenate([[0], np.expm1(s * self.discounts).cumsum()])
        multipliers = np.minimum.accumulate(self._multipliers(gains))
        filled = self.p > multipliers
        p, multiplier = self.p[filled], multipliers[filled]
        ranks = min(self.k, len(self.p))
        spent = multipliers[:ranks] @ np.diff(gains)[:ranks]
        return float((p * np.log(p / multiplier) - p + multiplier).sum() + spent)

    def _multipliers(self, gains: np.ndarray) -> np.ndarray:
        """Water levels of the items, split at each prefix that breaks majorisation most."""
        found, left = np.empty(len(self.p)), [(0, len(self.p))]
        while left:
            start, end = left.pop()
            first, last = min(start, self.k), min(end, self.k)
            total, p = gains[last] - gains[first], self.p[start:end]
            levels = p.cumsum() / (total + np.arange(1, len(p) + 1))
            inside = np.flatnonzero(p > levels)
            level = levels[inside[-1] if len(inside) else 0]
            used = np.maximum(p[: last - first] / level - 1, 0).cumsum()
            excess = used[:-1] - (gains[first + 1 : last] - gains[first])
            if len(excess) == 0 or excess.max() <= 1e-13 * total:
                found[start:end] = level
            else:
                cut = start + 1 + int(excess.argmax())
                left += [(start, cut), (cut, end)]
        return found


def _least(function: Callable[[float], float]) -> float:
    """The least value of a function of log s with one valley."""
    low, high = np.log(_SLOPES[0]), np.log(_SLOPES[1])
    grid = np.linspace(low, high, 41)
    values = [function(float(point)) for point in grid]
    best = int(np.argmin(values))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    fine = minimize_scalar(function, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return min(float(fine.fun), values[best])
