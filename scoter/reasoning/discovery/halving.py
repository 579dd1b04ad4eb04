"""Successive halving: spend little on many candidates, then more on the better half.

The method is that of Jamieson and Talwalkar (2016). The paper calls discovery and transfer "a
jointly optimised problem"; its abstract says no more. In our reading the candidates are patterns, a
unit is an epoch of training with a pattern's chains, and a score is the result on held-in targets.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scoter.errors import ConfigError


@dataclass(frozen=True)
class Round:
    """One round of halving."""

    candidates: tuple[int, ...]  # who took part
    units: int  # how many more each was given
    scores: tuple[float, ...]  # what each then reached, in the order of `candidates`


def successive_halving(
    candidates: int, first_units: int, advance: Callable[[int, int], float]
) -> tuple[int, list[Round]]:
    """The last candidate, and the rounds: each has half as many candidates and twice the units.

    `advance(candidate, units)` trains a candidate for so many more units and returns its score, to
    be maximised. The better half survives, rounded down; among equals the lower number.

    Limit: a candidate that starts slowly is lost, however good it would become.
    """
    if candidates < 1 or first_units < 1:
        given = f"candidates = {candidates} and first_units = {first_units}"
        raise ConfigError(f"{given}; both must be 1 or more")
    left, units, rounds = list(range(candidates)), first_units, []
    while len(left) > 1:
        scores = {candidate: advance(candidate, units) for candidate in left}
        rounds.append(Round(tuple(left), units, tuple(scores.values())))
        best_first = sorted(left, key=lambda candidate: (-scores[candidate], candidate))
        left, units = sorted(best_first[: len(left) // 2]), 2 * units
    return left[0], rounds


def halving_units(candidates: int, first_units: int) -> tuple[int, int]:
    """Units that `successive_halving` spends in all, and those that its winner has had."""
    _, rounds = successive_halving(candidates, first_units, lambda candidate, units: 0.0)
    spent = sum(each.units * len(each.candidates) for each in rounds)
    return spent, sum(each.units for each in rounds)
