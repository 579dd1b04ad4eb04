"""W1 and W2: the worked values of WORKED.md, and what its rows say is refused."""

import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, is_dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from theory import bounds, exact
from theory.errors import PremiseError
from theory.exact.measured import ranks_of
from theory.verify import worked_estimates
from theory.verify.comparison import Checks, Comparison, Effort, at_most, equal

PAGE = Path(__file__).parents[1] / "WORKED.md"
Function = Callable[..., object]
CHECKS = Checks()


def known_bounds() -> dict[str, Function]:
    """Every bound by name, ours and registered ones."""
    known = {name: getattr(bounds, name) for name in bounds.__all__ if name.islower()}
    del known["register_bound"]
    return known | {name: added.run for name, added in bounds.REGISTERED.items()}


def value_of(function: Function, given: list[str]) -> object:
    """The value at ARGUMENT=VALUE texts, values in JSON; `[0,1]*9` repeats an array.

    >>> value_of(bounds.ndcg_from_recalls, ["recalls=[0.5]*2"])
    0.5
    """
    try:
        pairs = [text.split("=", 1) for text in given]
        return function(**{name: _read(text) for name, text in pairs})
    except (TypeError, ValueError, ArithmeticError, IndexError) as error:
        if isinstance(error, PremiseError):
            raise
        raise PremiseError(f"values = {given}: write ARGUMENT=VALUE ({error})") from None


def _read(text: str) -> object:
    body, _, times = text.partition("]*")
    try:
        value = json.loads(f"{body}]" if times else text)
    except json.JSONDecodeError:
        value = float(text)  # as .5, which is no JSON
    return np.array(value * int(times or 1)) if isinstance(value, list) else value


def rows() -> Iterator[tuple[str, list[str], str]]:
    """Name, arguments and value of each row of WORKED.md."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            call, value = (cell.strip() for cell in line.strip("| ").split("|"))
            name, *given = call.strip("`").split()
            yield name, given, value


@cache
def functions() -> dict[str, Function]:
    """All by name: bounds, estimators, what theory.exact has, and METHOD of a MODEL.METHOD."""
    known = known_bounds() | {name: getattr(exact, name) for name in exact.__all__}
    known |= worked_estimates.FUNCTIONS
    known["ranks_of"] = ranks_of
    models = [made for made in known.values() if isinstance(made, type) and is_dataclass(made)]
    for model in models:
        for method in (name for name in vars(model) if name[0] != "_"):
            known[f"{model.__name__}.{method}"] = partial(_method, model, method)
    return known


def _method(model: type, method: str, /, **given: object) -> object:
    """A method, or an attribute, of the model that some of the arguments make."""
    own = {name: given.pop(name) for name in model.__dataclass_fields__ if name in given}
    states, weights = own.get("states"), own.get("weights")
    if isinstance(states, dict):
        own["states"] = exact.OrderChannel(**states)
    if isinstance(weights, np.ndarray):
        own["weights"] = tuple(weights.tolist())
    found = getattr(model(**own), method)
    return found(**given) if callable(found) else found


def row_holds(name: str, given: list[str], value: str) -> Comparison:
    """Whether a row gives its value, or is refused for the argument that it names."""
    try:
        result = value_of(functions()[name], given)
    except PremiseError as error:
        return at_most(value != f"refused: {str(error).partition(' = ')[0]}", 0.5)
    found = np.array(list(_numbers(result)))
    wrapped = isinstance(result, np.ndarray) and result.ndim == 0
    refused = value.startswith("refused")
    truth = np.array([] if refused else [float(number) for number in value.split()])
    if refused or found.shape != truth.shape or wrapped:
        return at_most(1, 0.5)
    return equal(found, truth, 1e-9 * max(1.0, float(np.abs(truth).max())))


@CHECKS.of("W1", "every bound and untrained estimator has its worked values")
def _values(effort: Effort) -> Iterator[Comparison]:
    called = [row for row in rows() if not row[2].startswith("refused")]
    yield from (row_holds(*row) for row in called)
    texts = {text for name, given, _ in called if name == "estimate" for text in given}
    estimators = {text.split('"')[1] for text in texts if text.startswith("estimator=")}
    missing = known_bounds().keys() - bounds.REGISTERED - {row[0] for row in called}
    yield equal(len(missing | (worked_estimates.COUNTED - estimators)), 0)


@CHECKS.of("W2", "every bound refuses what is outside its premises")
def _refusals(effort: Effort) -> Iterator[Comparison]:
    return (row_holds(*row) for row in rows() if row[2].startswith("refused"))


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if is_dataclass(value) and not isinstance(value, type):
        value = astuple(value)
    if isinstance(value, tuple | list):
        for part in value:
            yield from _numbers(part)
    elif not isinstance(value, str):
        yield from np.asarray(value, float).reshape(-1).tolist()
