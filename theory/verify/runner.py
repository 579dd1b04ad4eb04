"""Runs the checks one after the other and keeps what refuted or nearly refuted each."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from theory.bounds import REGISTERED
from theory.verify import (
    collapse_checks,
    false_claims,
    gain_checks,
    learning_checks,
    recall_checks,
    sample_checks,
    worked_values,
)
from theory.verify.comparison import Check, Effort

PARTS = (
    *(collapse_checks, recall_checks, learning_checks, gain_checks, sample_checks),
    *(false_claims, worked_values),
)
QUICK = Effort(joints=20_000, models=40, repetitions=1_000)
DEFAULT = Effort(joints=20_000, models=200, repetitions=4_000)
FULL = Effort(joints=200_000, models=1_000, repetitions=20_000)


@dataclass(frozen=True)
class Result:
    """Verdict on one statement; slack (tolerance included) is negative iff it fails."""

    id: str
    statement: str
    ok: bool
    slack: float
    cases: int
    seconds: float


def all_checks() -> list[Check]:
    """T1 to T24 with their corollaries, G1 to G3, F1 to F11, W1 and W2, and registered bounds.

    >>> [check.id for check in all_checks()][:5]
    ['T1', 'T2', 'C2a', 'C2b', 'T3']
    """
    ours = [check for part in PARTS for check in part.CHECKS]
    added = REGISTERED.items()
    return ours + [Check(name, b.statement, b.check) for name, b in added if b.check is not None]


def run(effort: Effort = DEFAULT, checks: Iterable[Check] | None = None) -> Iterator[Result]:
    """Yield the verdicts as they come."""
    for statement in all_checks() if checks is None else checks:
        yield check(statement, effort)


def check(statement: Check, effort: Effort) -> Result:
    """Run one check."""
    start = time.perf_counter()
    comparisons = list(statement.run(effort))
    slack = min(comparison.slack + comparison.tolerance for comparison in comparisons)
    return Result(
        id=statement.id,
        statement=statement.statement,
        ok=all(comparison.ok for comparison in comparisons),
        slack=slack,
        cases=sum(comparison.cases for comparison in comparisons),
        seconds=time.perf_counter() - start,
    )
