"""Expected gap between training and test loss by information (T12): Xu-Raginsky and
Steinke-Zakynthinou."""

import numpy as np

from theory.errors import require


def xu_raginsky(information: float, n: int, *, sub_gaussian: float = 0.5) -> float:
    """|E gap| <= sqrt(2 s^2 I(W;S_n) / n) (arXiv 1705.07809, Theorem 1).

    Premises: n independent rows; for every w the loss of a row is s-sub-Gaussian (s = 1/2 for a
    loss in [0, 1]).

    >>> xu_raginsky(0.5, 100)
    0.05
    """
    require(information >= 0, "information", information, "I(W;S_n) in nats is a number >= 0")
    require(n >= 1, "n", n, "needs at least one training row")
    require(
        sub_gaussian > 0, "sub_gaussian", sub_gaussian, "needs s > 0; s = 1/2 for losses in [0, 1]"
    )
    return float(np.sqrt(2 * sub_gaussian**2 * information / n))


def conditional_information_bound(conditional_information: float, n: int) -> float:
    """|E gap| <= sqrt(2 CMI / n) for a loss in [0, 1] (Steinke-Zakynthinou arXiv 2001.09122); CMI
    <= n log 2 always.

    >>> round(conditional_information_bound(0.02, 400), 3)
    0.01
    """
    require(n >= 1, "n", n, "needs at least one training row")
    most = n * np.log(2)
    inside = 0 <= conditional_information <= most + 1e-9
    require(
        bool(inside),
        "conditional_information",
        conditional_information,
        f"CMI of n bits lies in [0, {most:.4f}]",
    )
    return float(np.sqrt(2 * conditional_information / n))


def rows_for_gap(weights: int, bits: int, gap: float) -> float:
    """Rows at which T12 guarantees that a Bayes advantage `gap` of losses in [0, 1] outlasts
    training: b d log 2 / (2 gap^2).

    Sufficient, not necessary; premise: exact empirical risk minimisation over a class that holds
    the Bayes rule.

    >>> f"{rows_for_gap(1_000_000, 32, 0.01):.0e}"
    '1e+11'
    """
    require(
        weights >= 1 and bits >= 1,
        "weights, bits",
        (weights, bits),
        "a model has weights of at least one bit",
    )
    require(gap > 0, "gap", gap, "an advantage is a number > 0")
    return weights * bits * np.log(2) / (2 * gap**2)
