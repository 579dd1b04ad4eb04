"""Every statement of STATEMENTS.md, checked by its id."""

from theory.verify.comparison import Check, Comparison, Effort, at_most, equal, within_errors
from theory.verify.runner import DEFAULT, FULL, QUICK, Result, all_checks, check, run

__all__ = [
    "DEFAULT",
    "FULL",
    "QUICK",
    "Check",
    "Comparison",
    "Effort",
    "Result",
    "all_checks",
    "at_most",
    "check",
    "equal",
    "run",
    "within_errors",
]
