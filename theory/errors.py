"""The one error of theory: a premise of a statement that the arguments do not meet."""


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
