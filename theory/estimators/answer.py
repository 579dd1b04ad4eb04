"""What an estimator answers, and the interval that is made of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri
from scipy.stats import t as student

from theory.errors import PremiseError, require

_SPLITS, _MOST = 8, 1000  # how often rows are halved, and how many of them


@dataclass(frozen=True)
class Answer:
    """A value in nats, and pointwise terms whose spread gives the interval.

    freedom: 2n times the mean of the plug-in estimate under independence, which is a chi-square of
    as many degrees; of counts 2n times its bias, negative where one side settles the other (Miller
    1955). centre: of the interval, where not the value. error: the standard error, where terms
    depend on each other. interval: whether there is one. notes: for the caller.
    """

    value: float
    terms: np.ndarray
    freedom: int = 0
    centre: float | None = None
    error: float | None = None
    interval: bool = True
    notes: dict[str, object] = field(default_factory=dict)


def mean_of(terms: np.ndarray) -> Answer:
    """The answer of an estimate that is a mean of independent terms."""
    return Answer(float(np.mean(terms)), terms)


def of_neighbours(
    terms: Callable[..., np.ndarray], *columns: np.ndarray, **options: object
) -> Answer:
    """The mean of terms of near neighbours, which depend on each other.

    So their spread is too small (Holmes and Nemenman 2019), and the standard error comes from
    differences between halves of at most 1,000 rows, as its square falls with 1 / n.
    """
    n, least = len(columns[0]), inspect.signature(terms).parameters["neighbours"].default + 1
    require("neighbours" in options or n >= least, f"neighbours need {least} rows or more", rows=n)
    found = terms(*columns, **options)
    least = 4 * (1 + int(str(options.get("neighbours", 4))))
    if n < least:
        return mean_of(found)
    most = max(_MOST, least)
    rng, squares = np.random.default_rng(0), []
    for _ in range(_SPLITS):
        rows = rng.permutation(n)[:most]
        halves = rows[::2], rows[1::2]
        one, other = (terms(*(c[half] for c in columns), **options).mean() for half in halves)
        squares.append((one - other) ** 2 / 4)
    error = float(np.sqrt(np.mean(squares) * min(1.0, most / n)))
    return Answer(float(found.mean()), found, error=error)


def interval(answer: Answer, confidence: float) -> tuple[float, float] | None:
    """Values of I that the estimate does not reject; None where it claims no interval.

    With `freedom` p the variance at I is taken as linear in I, from p / (2 n^2) at independence,
    where the spread of the terms says nothing, to that of the terms at the estimate.

    >>> low, high = interval(Answer(0.0, np.zeros(100), freedom=1), 0.95)
    >>> low, round(high, 4)
    (0.0, 0.0139)
    """
    value = answer.value if answer.centre is None else answer.centre
    terms, z = answer.terms, float(ndtri((1 + confidence) / 2))
    if not answer.interval:
        return None
    n, squared = len(terms), float(np.var(terms, ddof=1)) / len(terms)
    if answer.error is not None:
        half = float(student.ppf((1 + confidence) / 2, _SPLITS - 1)) * answer.error
        return value - half, value + half
    if not answer.freedom and answer.centre is None:
        return value - z * float(np.sqrt(squared)), value + z * float(np.sqrt(squared))
    least, plug_in = max(answer.freedom, 0) / (2 * n**2), value + answer.freedom / (2 * n)
    slope = squared / plug_in if plug_in > 0 else 0.0
    middle = value + z**2 * slope / 2
    half = float(np.sqrt(max(middle**2 - value**2 + z**2 * least, 0.0)))
    low = middle - half if middle > half else min(0.0, value)
    return min(low, answer.value), max(middle + half, 0.0, answer.value)


def checked(name: str, answer: object) -> Answer:
    """What an estimator gave, where it is an Answer, or a value and its terms."""
    remedy = f"the estimator {name} must return a number and an array of two or more terms"
    if isinstance(answer, Answer):
        return answer
    try:
        value, terms = answer  # pyright: ignore[reportGeneralTypeIssues]
        value, terms = float(value), np.asarray(terms, dtype=float)
    except (TypeError, ValueError):
        raise PremiseError(f"{answer!r}: {remedy}") from None
    whole = terms.ndim == 1 and len(terms) > 1 and not np.isnan(terms).any()
    require(whole and not np.isnan(value), remedy, value=value, terms=terms.shape)
    return Answer(value, terms)
