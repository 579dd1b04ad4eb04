"""What a check yields: comparisons of values, so that a test can reverse one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

TOLERANCE = 1e-12


@dataclass(frozen=True)
class Comparison:
    """`smaller <= larger` in every case, up to a rounding tolerance."""

    smaller: Any
    larger: Any
    tolerance: float

    @property
    def slack(self) -> float:
        """Least of larger - smaller; below -tolerance the statement fails."""
        return float(np.min(self.larger - self.smaller))

    @property
    def ok(self) -> bool:
        return self.slack >= -self.tolerance

    @property
    def cases(self) -> int:
        return int(np.size(self.larger - self.smaller))

    def reversed(self) -> "Comparison":
        """The opposite claim."""
        return replace(self, smaller=self.larger, larger=self.smaller)


def at_most(smaller: Any, larger: Any, tolerance: float = TOLERANCE) -> Comparison:
    """smaller <= larger."""
    return Comparison(np.asarray(smaller, float), np.asarray(larger, float), tolerance)


def equal(left: Any, right: Any, tolerance: float = TOLERANCE) -> Comparison:
    """left = right, as `|left - right| <= tolerance`."""
    gap = np.abs(np.asarray(left, float) - np.asarray(right, float))
    return Comparison(gap, np.full_like(gap, tolerance), 0.0)


def within_errors(
    measured: Any, truth: Any, standard_error: Any, errors: float = 4.0
) -> Comparison:
    """A Monte-Carlo value within 4 standard errors of the truth."""
    gap = np.abs(np.asarray(measured, float) - np.asarray(truth, float))
    allowed = errors * np.asarray(standard_error, float) * np.ones_like(gap)
    return Comparison(gap, allowed, TOLERANCE)


@dataclass(frozen=True)
class Effort:
    """How many random joints, small models and Monte-Carlo repetitions."""

    joints: int
    models: int
    repetitions: int


Compare = Callable[[Effort], Iterable[Comparison]]


@dataclass(frozen=True)
class Check:
    """One statement of STATEMENTS.md and the comparisons that would refute it."""

    id: str
    statement: str
    run: Compare


class Checks(list[Check]):
    """The checks of one part of STATEMENTS.md."""

    def of(self, id: str, statement: str) -> Callable[[Compare], Compare]:
        """A decorator that adds the check of a statement."""

        def add(run: Compare) -> Compare:
            self.append(Check(id, statement, run))
            return run

        return add
