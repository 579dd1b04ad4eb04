"""How much recall information can buy (T7), and what a lift certifies (C7a)."""

from typing import Any

import numpy as np
from scipy.special import rel_entr

from theory.arrays import Numbers
from theory.errors import number, numbers, require


def recall_cap(baseline_recall: Numbers, information: Numbers) -> Any:
    """Largest structured recall, given the collapsed Bayes recall and I(Y;Z|T,X) (T7).

    Premises: baseline_recall in [0, 1] is the *Bayes* recall of the collapsed representation or an
    upper bound of it (a trained model's recall is below it and gives no cap); information >= 0.

    >>> round(float(recall_cap(0.0648, 4.87e-5)), 4)
    0.0672
    """
    base = numbers(0, 1, baseline_recall=baseline_recall)
    base, nats = np.broadcast_arrays(base, numbers(0, np.inf, information=information))
    low, high = base.copy(), np.ones_like(base)
    for _ in range(80):  # the upper end keeps the cap valid under rounding
        middle = (low + high) / 2
        below = binary_kl(middle, base) <= nats
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    scalar = np.ndim(baseline_recall) == 0 and np.ndim(information) == 0
    return float(high) if scalar else high


def certified_information(recall: float, baseline_recall: float) -> float:
    """Nats of I(Y;Z|T,X) that a recall above the collapsed Bayes recall proves (C7a).

    >>> f"{certified_information(0.0648 * 1.0375, 0.0648):.1e}"
    '4.8e-05'
    """
    recall = number(0, 1, recall=recall)
    baseline_recall = number(0, 1, baseline_recall=baseline_recall)
    require(recall >= baseline_recall, f"C7a needs a lift over {baseline_recall}", recall=recall)
    return float(binary_kl(recall, baseline_recall))


def pinsker_gain(information: float) -> float:
    """The weaker cap of T7 on the gain itself, sqrt(I/2).

    >>> round(pinsker_gain(0.02), 3)
    0.1
    """
    return float(np.sqrt(number(0, np.inf, information=information) / 2))


def binary_kl(p: Numbers, q: Numbers) -> Any:
    """d(p||q) in nats between two coins.

    >>> float(binary_kl(0.3, 0.3))
    0.0
    """
    p, q = numbers(0, 1, p=p), numbers(0, 1, q=q)
    return np.maximum(rel_entr(p, q) + rel_entr(1 - p, 1 - q), 0)
