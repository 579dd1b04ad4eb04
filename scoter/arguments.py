"""`checked`: a public function's arguments against its annotations, before anything is done."""

from collections.abc import Callable
from functools import cache, wraps
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Annotated, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import InstanceOf, TypeAdapter, ValidationError

from scoter.errors import ConfigError

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]


def checked(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Have a function refuse what its annotations exclude; a `ConfigError` names the argument.

    Numbers and their bounds, text, `Literal`, classes and unions of these are checked; sequences
    and names in quotes are not.

    >>> @checked
    ... def first(k: Seed) -> int: ...
    >>> first(-1)
    Traceback (most recent call last):
    scoter.errors.ConfigError: k = -1 was refused: Input should be greater than or equal to 0
    """
    expected = signature(function)

    @wraps(function)
    def wrapper(*given: Given.args, **named: Given.kwargs) -> Returned:
        try:
            bound = expected.bind(*given, **named)
        except TypeError as error:
            raise TypeError(f"{function.__qualname__}: {error}; it takes {expected}") from None
        for name, value in bound.arguments.items():
            hint = _checkable(expected.parameters[name].annotation)
            try:
                bound.arguments[name] = value if hint is None else _reader(hint)(value)
            except ValidationError as error:
                raise ConfigError(refusal(name, error)) from None
        return function(*bound.args, **bound.kwargs)

    return wrapper


def refusal(place: str, error: ValidationError) -> str:
    """What was refused, in which place, and why."""
    rows, value = error.errors(), error.errors()[0]["input"]
    given, why = repr(value), dict.fromkeys(row["msg"] for row in rows if row["input"] is value)
    short = given if len(given) < 200 else given[:200] + "..."
    return f"{place} = {short} was refused: {'; or: '.join(why)}"


def _checkable(hint: object) -> object:
    """The annotation as pydantic is to read it; None where it is not checked."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        read = tuple(map(_checkable, parts))
        return None if None in read else Union[read]  # noqa: UP007
    if kind in (Literal, Annotated) or hint in (bool, int, float, str, NoneType):
        return hint
    is_class = isinstance(hint, type) and hint is not Parameter.empty
    return InstanceOf[hint] if is_class else None  # pyright: ignore[reportInvalidTypeArguments]


@cache
def _reader(hint: object) -> Callable[[object], object]:
    return TypeAdapter(hint).validate_python  # pyright: ignore[reportArgumentType]
