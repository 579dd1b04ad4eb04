"""How much recall information can buy (T5, T7, T16), and what a lift certifies (C7a)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr, rel_entr

from theory.bounds.list_bounds import fano_ceiling
from theory.bounds.list_rate import ListRate
from theory.errors import ROUNDING, Numbers, PremiseError, number, numbers, require


@dataclass(frozen=True)
class Ceiling:
    """The lowest ceiling that the premises allow."""

    value: float
    statement: str  # which statement of STATEMENTS.md gives it
    ceilings: dict[str, float]  # what each statement gives whose premises are met


def recall_ceiling(
    conditional_entropy: float | None = None,
    *,
    k: int,
    items: int | None = None,
    information: float | None = None,
    popularity: np.ndarray | None = None,
    baseline_recall: float | None = None,
) -> Ceiling:
    """Highest recall@k of any decoder, by the best statement that the arguments allow.

    Args:
        conditional_entropy: H(Y|W) in nats, or a lower bound of it; with `items` gives T5.
        information: I(Y;W) beside `popularity`, or I(Y;Z|T,X) beside `baseline_recall`, in nats.
        popularity: P(Y = y) of every item, [items]; gives T16, and T5 and T7 to compare.
        baseline_recall: the collapsed *Bayes* recall, or an upper bound of it; gives T7.

    >>> zipf = 1 / np.arange(1, 13) / (1 / np.arange(1, 13)).sum()
    >>> found = recall_ceiling(k=3, information=0.088, popularity=zipf)
    >>> found.statement, {name: round(value, 4) for name, value in found.ceilings.items()}
    ('T16', {'T16': 0.6778, 'T5': 0.6949, 'T7': 0.7885})
    >>> recall_ceiling(8.0, items=12_101, k=10).statement
    'T5'
    """
    found: dict[str, float] = {}
    if popularity is not None:
        alone = conditional_entropy is None and baseline_recall is None
        require(
            information is not None and alone,
            "goes with information = I(Y;W) alone",
            popularity=np.shape(popularity),
        )
        assert information is not None
        size = np.size(popularity)
        require(items in (None, size), f"popularity is that of {size} items", items=items)
        rate = ListRate(popularity, k)
        found["T16"] = rate.ceiling(information)
        left = max(float(entr(rate.p).sum()) - information, 0.0)
        found["T5"] = fano_ceiling(left, items=size, k=k)
        found["T7"] = recall_cap(rate.least, information)
    if conditional_entropy is not None:
        require(items is not None, "needs items too", conditional_entropy=conditional_entropy)
        assert items is not None
        found["T5"] = fano_ceiling(conditional_entropy, items=items, k=k)
    if baseline_recall is not None:
        require(information is not None, "needs information too", baseline_recall=baseline_recall)
        assert information is not None
        found["T7"] = recall_cap(baseline_recall, information)
    remedy = "give conditional_entropy and items, or information with one of the other two"
    read = information is None or popularity is not None or baseline_recall is not None
    require(found and read, remedy, information=information)
    best = min(found, key=found.__getitem__)
    return Ceiling(found[best], best, found)


def recall_cap(baseline_recall: Numbers, information: Numbers) -> Any:
    """Largest structured recall, given the collapsed Bayes recall and I(Y;Z|T,X) (T7).

    Premises: baseline_recall in [0, 1] is the *Bayes* recall of the collapsed representation or an
    upper bound of it (a trained model's recall is below it and gives no cap); information >= 0.

    >>> round(float(recall_cap(0.0648, 4.87e-5)), 4)
    0.0672
    """
    base = numbers(0, 1, baseline_recall=baseline_recall)
    nats = numbers(0, np.inf, information=information)
    try:
        base, nats = np.broadcast_arrays(base, nats)
    except ValueError:
        remedy = f"information = {nats.shape}: needs the shape of baseline_recall: {base.shape}"
        raise PremiseError(remedy) from None
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
    lifted = recall >= baseline_recall - ROUNDING
    require(lifted, f"C7a needs a lift over {baseline_recall}", recall=recall)
    return float(binary_kl(max(recall, baseline_recall), baseline_recall))


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
