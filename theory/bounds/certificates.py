"""What test rows certify: by cross-entropy (T9), by hits and by scores, without H(Y) (T24)."""

from dataclasses import dataclass

import numpy as np

from theory.bounds.finite_samples import bernstein_width, clopper_pearson
from theory.bounds.list_bounds import recall_floor
from theory.bounds.list_rate import ListRate
from theory.errors import Numbers, number, require, strictly, whole


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
    least = number(0, 1, smallest_probability=smallest_probability)
    require(least > 0, "mix q with the uniform", smallest_probability=least)
    largest = -np.log(least)
    require(np.all(losses >= 0), "a loss -log q is >= 0", log_losses=float(losses.min()))
    remedy = f"losses lie in [0, {largest:.4f}]: lower smallest_probability"
    require(np.all(losses <= largest + 1e-9), remedy, log_losses=float(losses.max()))
    whole(2, items=items)
    marginal_entropy = number(0, float(np.log(items)), marginal_entropy=marginal_entropy)
    strictly(0, 1, confidence=confidence)
    delta = 1 - confidence
    hoeffding = largest * np.sqrt(np.log(2 / delta) / (2 * losses.size))
    upper = float(losses.mean() + min(hoeffding, bernstein_width(losses, largest, delta)))
    return CrossEntropyCertificate(
        cross_entropy=float(losses.mean()),
        cross_entropy_upper=upper,
        information_lower=max(marginal_entropy - upper, 0.0),
        recall_floor=recall_floor(upper, items=items, k=k),
        confidence=confidence,
    )


@dataclass(frozen=True)
class GainCertificate:
    """Holds with probability >= `confidence` over the rows, whatever the collapsed reader."""

    recall: float  # measured share of hits of the structured reader
    recall_lower: float  # its true recall, and so R_k(Z), is at least this
    collapsed_upper: float  # R_k(T), the best of every reader of T, is at most this
    gain_lower: float  # R_k(Z) - R_k(T) is at least this; certified where above zero
    confidence: float


def certify_gain(
    hits: np.ndarray, labels: np.ndarray, targets: np.ndarray, k: int, *, confidence: float = 0.95
) -> GainCertificate:
    """A lower bound of the recall gain over every reader of T, from n independent rows (T24a).

    Args:
        hits: whether the structured reader, trained elsewhere, lists the row's target, [n].
        labels: the row's value of T (joined with what the recommender sees), whole numbers [n].
        targets: the row's item, whole numbers [n].

    Void (gain_lower = -1 or so) where labels are nearly unique: then no sample certifies a gain.

    >>> rng = np.random.default_rng(0)
    >>> t, y = rng.integers(4, size=4000), rng.integers(10, size=4000)
    >>> certificate = certify_gain(np.ones(4000, bool), t, y, k=3)
    >>> certificate.gain_lower > 0.6
    True
    """
    hits, counts = _checked_rows(hits, labels, targets, k)
    best = sum(float(-np.sort(-row)[:k].sum()) for row in counts) / len(hits)
    strictly(0, 1, confidence=confidence)
    delta = 1 - confidence
    low = clopper_pearson(int(hits.sum()), len(hits), delta=delta / 2)[0]
    high = self_bounding_upper(best, len(hits), delta=delta / 2)
    return GainCertificate(float(hits.mean()), low, high, low - high, confidence)


def certify_information(
    hits: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    k: int,
    *,
    slope: float = 1.0,
    confidence: float = 0.95,
) -> float:
    """Nats of I(Y;Z|T) that the hits certify, in the arguments of `certify_gain` (T24b).

    `slope` is the trade s of T16, fixed before the rows are seen; larger ones suit larger gains.

    >>> rng = np.random.default_rng(0)
    >>> t, y = rng.integers(4, size=4000), rng.integers(10, size=4000)
    >>> certify_information(np.ones(4000, bool), t, y, k=3, slope=3.0) > 0.8
    True
    """
    hits, counts = _checked_rows(hits, labels, targets, k)
    strictly(0, np.inf, slope=slope)
    strictly(0, 1, confidence=confidence)
    delta, energy = 1 - confidence, 0.0
    for row in counts:
        size = int(row.sum())
        law = np.concatenate([row[row > 0] / size, np.zeros(k)])
        energy += size * (slope if len(law) <= 2 * k else ListRate(law, k).free_energy(slope))
    low = clopper_pearson(int(hits.sum()), len(hits), delta=delta / 2)[0]
    high = self_bounding_upper(energy / (len(hits) * slope), len(hits), delta=delta / 2)
    return max(slope * (low - high), 0.0)


def certify_scores(
    joint: np.ndarray, independent: np.ndarray, *, low: float, high: float, confidence: float = 0.95
) -> float:
    """Nats of I(Y;Z) that a score f(z, y), fixed beforehand, certifies (T24c).

    Args:
        joint: f of n independent pairs (z, y), [n], all in [low, high].
        independent: f of pairs of different rows, each row used once, [n // 2].

    >>> certify_scores(np.full(9000, 2.0), np.full(4500, -2.0), low=-2.0, high=2.0) > 3
    True
    """
    require(low < high, "needs low < high", low=low, high=high)
    strictly(0, 1, confidence=confidence)
    for name, scores in (("joint", joint), ("independent", independent)):
        inside = np.size(scores) >= 2 and np.min(scores) >= low and np.max(scores) <= high
        require(inside, f"give two scores or more, in [{low}, {high}]", **{name: np.shape(scores)})
    delta, own = 1 - confidence, np.asarray(joint, float)
    ratios = np.exp(np.asarray(independent, float) - high)  # all at most 1
    mean = own.mean() - bernstein_width(own, high - low, delta)
    most = ratios.mean() + bernstein_width(ratios, float(-np.expm1(low - high)), delta)
    return max(float(mean - np.log(most)) - high, 0.0)


def self_bounding_upper(value: float, n: int, *, delta: float) -> float:
    """Upper limit of the mean of a self-bounding average of n rows: the better of two tails.

    McDiarmid's and that of Boucheron, Lugosi and Massart (2000), each at delta / 2.

    >>> round(self_bounding_upper(0.01, 22_000, delta=0.025), 4)
    0.0122
    """
    tail = np.log(2 / delta) / (2 * n)
    return float(min(value + np.sqrt(tail), (np.sqrt(value + tail) + np.sqrt(tail)) ** 2, 1.0))


def _checked_rows(
    hits: np.ndarray, labels: np.ndarray, targets: np.ndarray, k: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The hits, and the counts of the targets under each label."""
    hits, labels, targets = (np.asarray(values) for values in (hits, labels, targets))
    n = len(hits)
    require(n >= 2, "needs two rows or more", hits=n)
    require(np.isin(hits, (0, 1)).all(), "a hit is 0 or 1", hits=hits.dtype)
    for name, values in (("labels", labels), ("targets", targets)):
        require(values.shape == (n,), f"one whole number for each of {n}", **{name: values.shape})
        require(values.dtype.kind in "iub", "give whole numbers", **{name: values.dtype})
    whole(1, k=k)
    order = np.lexsort((targets, labels))
    groups = np.split(targets[order], np.flatnonzero(np.diff(labels[order])) + 1)
    return hits, [np.unique(group, return_counts=True)[1] for group in groups]
