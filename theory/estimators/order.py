"""Is there information, or order information (exact tests), and how much of the latter (C2b)?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from theory.errors import require, whole
from theory.estimators.copula import normal_scores
from theory.estimators.entropies import ENTROPIES, codes
from theory.estimators.nearest_neighbour import mixed_ksg


@dataclass(frozen=True)
class OrderTest:
    """p_value is valid at any n; `informative_rows` share their multiset with other orders."""

    p_value: float
    statistic: float
    informative_rows: int


def order_test(steps: np.ndarray, y: np.ndarray, *, seed: int, permutations: int = 99) -> OrderTest:
    """Test of Y independent of the arrangement given the multiset of steps [n, K].

    Under it the targets of rows with the same multiset are exchangeable, so p = (1 + #{as large}) /
    (1 + permutations) is valid for any statistic and any n. Statistic: plug-in I(Y;Pi|S) in nats.
    Premise: rows independent.

    >>> rng = np.random.default_rng(0)
    >>> steps = rng.integers(3, size=(200, 2))
    >>> order_test(steps, steps[:, 0], seed=0).p_value
    0.01
    """
    steps, target = _checked(steps, y)
    whole(1, permutations=permutations)
    whole(0, seed=seed)
    rng = np.random.default_rng(seed)
    sequence, bag = codes(steps), codes(np.sort(steps, axis=1))
    by_bag = np.argsort(bag, kind="stable")
    observed, larger = _score(sequence, target), 0
    for _ in range(permutations):
        shuffled = np.empty_like(target)
        shuffled[by_bag] = target[np.lexsort((rng.random(len(bag)), bag))]
        larger += _score(sequence, shuffled) >= observed - 1e-12
    arrangements = np.bincount(bag[np.unique(sequence, return_index=True)[1]])
    statistic = shuffle_contrast(steps, y).corrected
    p_value = (1 + int(larger)) / (1 + permutations)
    return OrderTest(p_value, statistic, int((arrangements[bag] > 1).sum()))


@dataclass(frozen=True)
class ShuffleContrast:
    """`naive` D1, `order_alone` D0 and `corrected` D1 - D0, the order information (C2b)."""

    naive: float
    order_alone: float
    corrected: float


def shuffle_contrast(
    steps: np.ndarray, y: np.ndarray, *, entropy: str = "plug_in"
) -> ShuffleContrast:
    """Divergence of (y, ordered) from (y, shuffled), of ordered from shuffled, and the rest.

    >>> steps = np.array([[0, 1], [1, 0]] * 50)
    >>> round(shuffle_contrast(steps, steps[:, 0]).corrected, 4)
    0.6931
    """
    steps, target = _checked(steps, y)
    require(entropy in ENTROPIES, f"choose one of {sorted(ENTROPIES)}", entropy=entropy)
    sequence, bag = codes(steps), codes(np.sort(steps, axis=1))
    spread = _mean_log_arrangements(np.sort(steps, axis=1))

    def of(*columns: np.ndarray) -> float:
        counts = np.unique(codes(np.stack(columns, axis=1)), return_counts=True)[1]
        return ENTROPIES[entropy](counts, len(counts))

    naive = of(bag, target) + spread - of(sequence, target)
    alone = of(bag) + spread - of(sequence)
    return ShuffleContrast(naive, alone, naive - alone)


def _checked(steps: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps = np.asarray(steps)
    remedy = "give whole numbers [rows, steps]; number continuous steps by clusters"
    require(steps.ndim == 2 and steps.size, remedy, steps=steps.shape)
    require(len(y) == len(steps), f"needs one target per row: {len(steps)}", y=len(y))
    return steps, codes(np.asarray(y))


def _score(sequence: np.ndarray, target: np.ndarray) -> float:
    counts = np.bincount(sequence * (int(target.max()) + 1) + target)
    counts = counts[counts > 0]
    return float(counts @ np.log(counts))  # all else is the same under every permutation


def _mean_log_arrangements(bags: np.ndarray) -> float:
    distinct, rows = np.unique(bags, axis=0, return_counts=True)
    times = [np.unique(bag, return_counts=True)[1] for bag in distinct]
    spread = [gammaln(bags.shape[1] + 1) - gammaln(m + 1).sum() for m in times]
    return float(rows @ np.array(spread) / len(bags))


@dataclass(frozen=True)
class IndependenceTest:
    """p_value is valid at any n; `statistic` is the estimate of the rows as they are."""

    p_value: float
    statistic: float


def independence_test(
    x: np.ndarray,
    y: np.ndarray,
    *,
    statistic: Callable[[np.ndarray, np.ndarray], float] | None = None,
    seed: int,
    permutations: int = 99,
) -> IndependenceTest:
    """Test of X independent of Y: the estimate against those with the rows of y permuted.

    Premise: rows independent; `statistic` is any function of x and y, by default mixed KSG of their
    normal scores.

    >>> x = np.random.default_rng(0).standard_normal(200)
    >>> independence_test(x, x**2, seed=0).p_value
    0.01
    """
    whole(1, permutations=permutations)
    whole(0, seed=seed)
    require(len(y) == len(x), f"needs one target per row: {len(x)}", y=len(y))
    for name, side in (("x", x), ("y", y)):
        require(np.isfinite(side).all(), "drop rows with nan or infinity", **{name: "not finite"})
    x, y = (np.asarray(side) if statistic else normal_scores(side) for side in (x, y))
    of, rng = statistic or mixed_ksg, np.random.default_rng(seed)
    observed = float(of(x, y))
    larger = sum(of(x, y[rng.permutation(len(y))]) >= observed for _ in range(permutations))
    return IndependenceTest((1 + int(larger)) / (1 + permutations), observed)
