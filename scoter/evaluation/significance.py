"""Percentile bootstrap over users: how far a mean, or a paired difference of means, would move with
other users. And tests of such differences, one by one and as a family.

Limit: users are resampled, trained models are not. The interval says nothing of another seed's
model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scoter.errors import ConfigError

_BLOCK = 1 << 21


@dataclass(frozen=True)
class Estimate:
    """A mean over users, and the ends of its interval, in the metric's own unit."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """The mean of a - b over the same users; an interval above zero says that a is better."""


def paired_bootstrap(
    a: Float[np.ndarray, " users"],
    b: Float[np.ndarray, " users_of_b"],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Difference:
    """The mean of a - b over users with its percentile interval at `level`, where a[i] and b[i] are
    one user's metrics.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Raises:
        ConfigError: different lengths, no user, a value that is not finite, or a level outside (0,
            1).

    Example:
        >>> a, b = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
        >>> paired_bootstrap(a, b, seed=0)
        Difference(mean=0.25, low=0.0, high=0.75)
    """
    if len(a) != len(b):
        raise ConfigError(
            f"a has {len(a)} users and b has {len(b)}; pass both metrics of the same users in "
            f"the same order"
        )
    estimate = bootstrap_mean(
        np.asarray(a, np.float64) - np.asarray(b, np.float64), seed=seed, draws=draws, level=level
    )
    return Difference(estimate.mean, estimate.low, estimate.high)


def bootstrap_mean(
    values: Float[np.ndarray, " users"], *, seed: int, draws: int = 2000, level: float = 0.95
) -> Estimate:
    """The mean of `values` with its percentile interval at `level`, from `draws` resamples of the
    users.

    How often each *distinct* value occurs in a resample is multinomial, so those counts are drawn
    instead of user numbers: the same distribution, and a rank metric has a handful of values
    whatever the number of users. Memory is bounded (about 50 MB) for any input.

    Example:
        >>> bootstrap_mean(np.zeros(10), seed=0)
        Estimate(mean=0.0, low=0.0, high=0.0)
    """
    if not len(values) or not np.isfinite(values).all():
        raise ConfigError(
            f"values hold {len(values)} users, {np.sum(~np.isfinite(values))} of them not "
            f"finite; pass finite numbers"
        )
    if draws < 1 or not 0 < level < 1:
        raise ConfigError(
            f"draws = {draws} and level = {level}; take at least 1 draw and a level between 0 "
            f"and 1, such as 0.95"
        )
    distinct, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(distinct))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    shares = counts / len(values)
    # A row's sum, unlike a matrix product, does not depend on how many rows are summed at once.
    sums = [
        (generator.multinomial(len(values), shares, size=size) * distinct).sum(axis=1)
        for size in sizes
    ]
    means = np.concatenate(sums) / len(values)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(np.mean(values)), float(low), float(high))


def paired_p_value(a: Float[np.ndarray, " users"], b: Float[np.ndarray, " users_of_b"]) -> float:
    """The two-sided p-value of Student's t-test that a - b has mean zero over users; 1 where a and
    b are equal.

    Limit: like the bootstrap, it knows the users' spread only and not that of other training seeds.

    Source: Student, The Probable Error of a Mean, Biometrika 1908.

    Raises:
        ConfigError: different lengths, or fewer than two users.

    Example:
        >>> round(paired_p_value(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.0])), 4)
        0.0572
    """
    if len(a) != len(b) or len(a) < 2:
        raise ConfigError(
            f"a has {len(a)} users and b has {len(b)}; pass both metrics of the same users, two "
            f"or more"
        )
    from scipy.special import stdtr

    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    if error == 0:
        return 1.0 if gaps[0] == 0 else 0.0
    return float(2 * stdtr(len(gaps) - 1, -abs(gaps.mean()) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for all of them at once: the share of families without a difference in
    which any is called one.

    The smallest is multiplied by their number n, the next by n - 1 and so on; none becomes smaller
    than the one before.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of
    Statistics 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return corrected.tolist()
