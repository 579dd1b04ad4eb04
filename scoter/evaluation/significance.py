"""Percentile bootstrap over users, and tests of paired differences, one by one and as a family.

Limit: users are resampled, trained models are not; an interval says nothing of another seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scoter.errors import ConfigError

_BLOCK = 1 << 21


@dataclass(frozen=True)
class Estimate:
    """A mean over users with its interval, in the unit of the metric."""

    mean: float
    low: float  # the ends of the interval
    high: float


def paired_bootstrap(
    a: Float[np.ndarray, " users"],
    b: Float[np.ndarray, " users_of_b"],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """The mean of a - b with its percentile interval; a[i] and b[i] are of one user.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    >>> a, b = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    >>> paired_bootstrap(a, b, seed=0)
    Estimate(mean=0.25, low=0.0, high=0.75)
    """
    return bootstrap_mean(_gaps(a, b), seed=seed, draws=draws, level=level)


def bootstrap_mean(
    values: Float[np.ndarray, " users"], *, seed: int, draws: int = 2000, level: float = 0.95
) -> Estimate:
    """The mean of `values` with its percentile interval, from `draws` resamples of the users.

    The counts of each distinct value are drawn (multinomial) instead of users: the same
    distribution, and a rank metric has few values. Memory stays below about 50 MB.
    """
    if not len(values) or not np.isfinite(values).all():
        held = f"values hold {len(values)} users, {np.sum(~np.isfinite(values))} of them not finite"
        raise ConfigError(f"{held}; pass finite numbers")
    if draws < 1 or not 0 < level < 1:
        remedy = "take at least 1 draw and a level between 0 and 1, such as 0.95"
        raise ConfigError(f"draws = {draws} and level = {level}; {remedy}")
    distinct, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(distinct))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    shares = counts / len(values)
    counted = (generator.multinomial(len(values), shares, size=size) for size in sizes)
    # A row's sum, unlike a matrix product, does not depend on how many rows are summed at once.
    means = np.concatenate([(rows * distinct).sum(axis=1) for rows in counted]) / len(values)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(np.mean(values)), float(low), float(high))


def paired_p_value(a: Float[np.ndarray, " users"], b: Float[np.ndarray, " users_of_b"]) -> float:
    """The two-sided p-value of the paired t-test that a - b has mean zero; 1 where they are equal.

    Source: Student, The Probable Error of a Mean, Biometrika 1908.
    """
    from scipy.special import stdtr

    gaps = _gaps(a, b, least=2)
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    if error == 0:
        return 1.0 if gaps[0] == 0 else 0.0
    return float(2 * stdtr(len(gaps) - 1, -abs(gaps.mean()) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for all of them: the smallest times n, the next n - 1, ...

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return corrected.tolist()


def _gaps(a: np.ndarray, b: np.ndarray, least: int = 0) -> np.ndarray:
    if len(a) != len(b) or len(a) < least:
        number = f", {least} or more" if least else ""
        wanted = f"pass both metrics of the same users in the same order{number}"
        raise ConfigError(f"a has {len(a)} users and b has {len(b)}; {wanted}")
    return np.asarray(a, np.float64) - np.asarray(b, np.float64)
