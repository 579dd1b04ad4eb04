"""Expected gap between training and test loss, bounded by information (T12)."""

import numpy as np

from theory.errors import number, require, whole


def xu_raginsky(information: float, n: int, *, sub_gaussian: float = 0.5) -> float:
    """`|E gap| <= sqrt(2 s^2 I(W;S_n) / n)` (arXiv 1705.07809, Theorem 1).

    Premises: n independent rows; for every w the loss of a row is s-sub-Gaussian (s = 1/2 for a
    loss in [0, 1]).

    >>> xu_raginsky(0.5, 100)
    0.05
    """
    information = number(0, np.inf, information=information)
    whole(1, n=n)
    require(sub_gaussian > 0, "s > 0; 1/2 for losses in [0, 1]", sub_gaussian=sub_gaussian)
    return float(np.sqrt(2 * sub_gaussian**2 * information / n))


def conditional_information_bound(conditional_information: float, n: int) -> float:
    """`|E gap| <= sqrt(2 CMI / n)` for a loss in [0, 1] (arXiv 2001.09122); CMI <= n log 2.

    >>> round(conditional_information_bound(0.02, 400), 3)
    0.01
    """
    whole(1, n=n)
    conditional_information = number(
        0, n * float(np.log(2)), conditional_information=conditional_information
    )
    return float(np.sqrt(2 * conditional_information / n))


def rows_for_gap(weights: int, bits: int, gap: float) -> float:
    """Rows at which a Bayes advantage `gap` outlasts training: b d log 2 / (2 gap^2) (T12).

    Sufficient, not necessary; premise: exact empirical risk minimisation over a class that holds
    the Bayes rule.

    >>> f"{rows_for_gap(1_000_000, 32, 0.01):.0e}"
    '1e+11'
    """
    whole(1, weights=weights, bits=bits)
    require(gap > 0, "an advantage is a number > 0", gap=gap)
    return weights * bits * np.log(2) / (2 * gap**2)
