"""The price of choosing: among patterns (G2), among samples by a verifier (G3)."""

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr

from theory.errors import number, require, whole


def selection_optimism(patterns: int, validation_rows: int) -> float:
    """sqrt(log N / (2 n_v)): cap on expected winner's curse and regret of the pick (G2).

    Premises: N patterns fixed before the n_v independent validation rows are seen; scores in [0,
    1]; the best is picked.

    >>> round(selection_optimism(50, 100), 3)
    0.14
    """
    whole(1, patterns=patterns)
    return selection_optimism_by_entropy(np.log(patterns), validation_rows)


def selection_optimism_by_entropy(entropy: float, validation_rows: int) -> float:
    """sqrt(H(sel) / (2 n_v)), H or a cap of it: caps the winner's curse only (G2).

    >>> selection_optimism_by_entropy(0.0, 10)
    0.0
    """
    entropy = number(0, np.inf, entropy=entropy)
    whole(1, validation_rows=validation_rows)
    return float(np.sqrt(entropy / (2 * validation_rows)))


def best_of_n_kl(n: int) -> float:
    """log n - (n-1)/n: cap on KL(best of n || policy); equal iff n = 1 or no ties (G3).

    >>> round(best_of_n_kl(4), 4)
    0.6363
    """
    whole(1, n=n)
    return float(np.log(n) - (n - 1) / n)


def best_of_n_gain(n: int, *, sub_gaussian: float) -> float:
    """sqrt(2 s^2 KL): cap on the mean score won by an s-sub-Gaussian score (G3).

    >>> best_of_n_gain(1, sub_gaussian=1.0)
    0.0
    """
    require(sub_gaussian > 0, "s > 0; half the range of a score", sub_gaussian=sub_gaussian)
    return float(np.sqrt(2 * sub_gaussian**2 * best_of_n_kl(n)))


def noisy_verifier_gain(n: int, correlation: float) -> float:
    """Gain of best of n in standard deviations: correlation * E max of n normals (G3).

    Premise: true score and verifier are jointly Gaussian with this correlation.

    >>> round(noisy_verifier_gain(4, 0.6), 4)
    0.6176
    """
    whole(1, n=n)
    correlation = number(-1, 1, correlation=correlation)
    return correlation * _expected_maximum(n)


def _expected_maximum(n: int) -> float:
    # E max = int_0^inf (1 - F^n) - int_-inf^0 F^n, folded onto the half line
    return float(quad(lambda t: 1 - ndtr(t) ** n - ndtr(-t) ** n, 0, 40, limit=200)[0])
