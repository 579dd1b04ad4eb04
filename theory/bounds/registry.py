"""Bounds of others: callable by name beside ours, and checked by `theory.verify`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theory.errors import require

if TYPE_CHECKING:
    from theory.verify.comparison import Comparison, Effort


@dataclass(frozen=True)
class RegisteredBound:
    """A bound that was registered, and what would refute it."""

    run: Callable[..., object]  # the bound itself, from numbers to a number
    statement: str  # one line for the verifier
    check: "Callable[[Effort], list[Comparison]] | None"  # comparisons that must hold


REGISTERED: dict[str, RegisteredBound] = {}
TAKEN: set[str] = set()  # our own names, which theory.bounds adds


def register_bound(
    name: str, statement: str = "", check: "Callable[[Effort], list[Comparison]] | None" = None
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """A decorator that adds a bound under `name`; `check` is run by `theory.verify`.

    A name of our own is a `PremiseError`.

    >>> import numpy as np
    >>> @register_bound("coin_entropy", "h <= log 2")
    ... def most(sides: int = 2) -> float:
    ...     return float(np.log(sides))
    >>> REGISTERED.pop("coin_entropy").statement
    'h <= log 2'
    """

    require(name not in TAKEN, "is a name of theory.bounds; use another", name=name)

    def add(run: Callable[..., object]) -> Callable[..., object]:
        REGISTERED[name] = RegisteredBound(run, statement or (run.__doc__ or name), check)
        return run

    return add
