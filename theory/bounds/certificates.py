"""What a test cross-entropy certifies (T9): floors of information and of Bayes recall."""

from dataclasses import dataclass

import numpy as np

from theory.arrays import Numbers
from theory.bounds.list_bounds import recall_floor
from theory.errors import require


@dataclass(frozen=True)
class CrossEntropyCertificate:
    """Holds with probability >= `confidence` over the test rows; all in nats but `recall_floor`."""

    cross_entropy: float
    cross_entropy_upper: float
    information_lower: float
    recall_floor: float
    confidence: float


def certify_cross_entropy(
    log_losses: Numbers,
    *,
    marginal_entropy: float,
    smallest_probability: float,
    items: int,
    k: int,
    confidence: float = 0.95,
) -> CrossEntropyCertificate:
    """Lower bounds of I(Y;W) and Bayes recall@k from log-losses -log q(y_i|w_i) (T9).

    Premises: the model q was fixed before these rows were seen; every q(y|w) >=
    smallest_probability > 0, so that a loss lies in [0, -log smallest_probability] (mix q with a
    little of the uniform); marginal_entropy is H(Y) or a lower bound of it. The mean loss is
    bounded by the better of Hoeffding and Maurer-Pontil (arXiv 0907.3740, Theorem 4), half of the
    risk each. No ceiling follows: that would need a lower bound of H(Y|W).

    >>> sure = certify_cross_entropy(
    ...     np.full(4000, 0.1), marginal_entropy=2.0, smallest_probability=1e-3, items=10, k=1
    ... )
    >>> sure.information_lower < 2.0 - 0.1 and sure.recall_floor > 0.9
    True
    """
    losses = np.asarray(log_losses, dtype=float)
    require(losses.ndim == 1 and losses.size >= 2, "give two or more", log_losses=losses.shape)
    least = smallest_probability
    require(0 < least <= 1, "mix q with the uniform", smallest_probability=least)
    largest = -np.log(least)
    inside = np.all((losses >= 0) & (losses <= largest + 1e-9))
    remedy = f"losses lie in [0, {largest:.4f}]: lower smallest_probability"
    require(inside, remedy, log_losses=float(losses.max()))
    possible = 0 <= marginal_entropy <= np.log(items) + 1e-9
    require(possible, "H(Y) lies in [0, log items]", marginal_entropy=marginal_entropy)
    require(0 < confidence < 1, "lies strictly between 0 and 1", confidence=confidence)
    risk = np.log(4 / (1 - confidence))  # log(2 / (delta/2)), and log(1 / (delta/2)) <= it
    n = losses.size
    hoeffding = largest * np.sqrt((risk - np.log(2)) / (2 * n))
    bernstein = np.sqrt(2 * losses.var(ddof=1) * risk / n) + 7 * largest * risk / (3 * (n - 1))
    upper = float(losses.mean() + min(hoeffding, bernstein))
    return CrossEntropyCertificate(
        cross_entropy=float(losses.mean()),
        cross_entropy_upper=upper,
        information_lower=max(marginal_entropy - upper, 0.0),
        recall_floor=recall_floor(upper, items=items, k=k),
        confidence=confidence,
    )
