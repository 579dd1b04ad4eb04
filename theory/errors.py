"""The one error of theory: a premise of a statement that the arguments do not meet."""

from typing import Any


class PremiseError(ValueError):
    """An argument outside the premises of the statement used; the message names it, its value and
    the remedy."""


def require(holds: Any, argument: str, value: object, remedy: str) -> None:
    """Raise PremiseError unless the premise holds."""
    if not holds:
        raise PremiseError(f"{argument} = {value!r}: {remedy}")
