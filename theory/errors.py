"""What arguments may be, and the one error of theory: a premise that they do not meet."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Numbers = float | int | np.generic | np.ndarray | Sequence
"""What the bounds accept where a number or many will do."""

ROUNDING = 1e-9
"""A number this far outside its range is taken for rounding, and clipped."""


class PremiseError(ValueError):
    """An argument outside the premises of the statement; the message has name, value, remedy."""


def require(holds: object, remedy: str, /, **given: object) -> None:
    """Raise PremiseError unless the premise holds; `given` names the arguments it speaks of.

    >>> require(1.5 <= 1, "a recall lies in [0, 1]", recall=1.5)
    Traceback (most recent call last):
    ...
    theory.errors.PremiseError: recall = 1.5: a recall lies in [0, 1]
    """
    if not holds:
        values = ", ".join(f"{name} = {value!r}" for name, value in given.items())
        raise PremiseError(f"{values}: {remedy}")


def numbers(low: float | int, high: float | int, /, **given: object) -> np.ndarray:
    """The one argument given as an array clipped to [low, high], beyond which it may only round.

    >>> float(numbers(0, 1, recall=1 + 1e-12))
    1.0
    >>> numbers(0, np.inf, information=-0.5)
    Traceback (most recent call last):
    ...
    theory.errors.PremiseError: information = -0.5: a number >= 0
    """
    ((name, value),) = given.items()
    remedy = f"a number >= {low}" if high == np.inf else f"lies in [{low}, {high:.6g}]"
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise PremiseError(f"{name} = {value!r}: {remedy}") from None
    inside = (values >= low - ROUNDING) & (values <= high + ROUNDING)
    require(inside.all(), remedy, **given)
    return np.asarray(np.clip(values, low, high))


def number(low: float | int, high: float | int, /, **given: object) -> float:
    """`numbers` of one number alone.

    >>> number(0, 1, recall=0.25)
    0.25
    """
    values = numbers(low, high, **given)
    require(values.ndim == 0, "one number, not an array", **given)
    return float(values)


def strictly(low: float | int, high: float | int, /, **given: Any) -> None:
    """Raise PremiseError unless every argument lies strictly between low and high.

    >>> strictly(0, 1, confidence=1.0)
    Traceback (most recent call last):
    ...
    theory.errors.PremiseError: confidence = 1.0: lies strictly between 0 and 1
    """
    between = "a number > 0" if high == np.inf else f"lies strictly between {low} and {high}"
    for name, value in given.items():
        real = np.asarray(value).dtype.kind in "iuf" and np.ndim(value) == 0
        require(real and low < np.asarray(value) < high, between, **{name: value})


def whole(low: int, high: float | int = np.inf, /, **given: object) -> None:
    """Raise PremiseError unless every argument is a whole number in [low, high].

    >>> whole(1, 9, k=2.5)
    Traceback (most recent call last):
    ...
    theory.errors.PremiseError: k = 2.5: a whole number >= 1 and <= 9
    """
    above = "" if high == np.inf else f" and <= {high:.0f}"
    for name, value in given.items():
        exact = isinstance(value, int | np.integer) and not isinstance(value, bool)
        inside = exact and low <= int(str(value)) <= high
        require(inside, f"a whole number >= {low}{above}", **{name: value})
