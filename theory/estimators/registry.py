"""All estimators by name, and the one call that picks and runs one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import entr, ndtri

from theory.errors import PremiseError, require
from theory.estimators import nearest_neighbour as near
from theory.estimators.entropies import ENTROPIES, discrete_information
from theory.estimators.gaussian import gaussian_information, normal_scores
from theory.estimators.usable_information import paired_log_ratios
from theory.estimators.variational import VARIATIONAL, variational_terms

Certificate = Literal["exact", "lower", "upper", "none"]
Kind = Literal["discrete", "continuous", "any"]
Estimate = tuple[float, np.ndarray]
Run = Callable[[np.ndarray, np.ndarray, np.ndarray | None, int], Estimate]


@dataclass(frozen=True)
class MIResult:
    """An estimate of I(X;Y|C) in nats.

    ci: approximate confidence interval of the estimate's own mean over rows; it knows nothing of
    bias. certificate: "exact" (no error), "lower" or "upper" (the expectation lies on that side of
    the truth), "none". diagnostics: the estimator's name, rows, and what it flags.
    """

    value: float
    ci: tuple[float, float]
    certificate: Certificate
    diagnostics: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimator:
    """What an estimator reads, and how it runs."""

    x_kind: Kind
    y_kind: Kind
    conditional: bool  # whether it takes `cond`
    symmetric: bool  # whether I(X;Y) and I(Y;X) are the same to it
    run: Run  # from x, y, cond and seed: the value, and terms whose spread gives the interval
    certificate: Certificate = "none"  # of an estimate without `cond`


def estimate(
    x: np.ndarray,
    y: np.ndarray,
    *,
    cond: np.ndarray | None = None,
    seed: int,
    estimator: str | None = None,
    confidence: float = 0.95,
) -> MIResult:
    """Estimate I(X;Y), or I(X;Y|cond), in nats from independent rows of x, y and cond.

    Without a name: Chao-Shen where all is whole numbers, usable information where only y is (a
    vector), else Gaussian copula. Raises PremiseError where rows differ, values are not finite, or
    the estimator cannot read the data.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(2, size=500)
    >>> found = estimate(x, x, seed=0)
    >>> round(found.value, 1), found.certificate, found.diagnostics["estimator"]
    (0.7, 'none', 'chao_shen')
    """
    x, y = _checked(x, "x"), _checked(y, "y")
    cond = None if cond is None else _checked(cond, "cond")
    n = len(x)
    for name, values in (("y", y), ("cond", x if cond is None else cond)):
        require(len(values) == n, f"needs the rows of x: {n}", **{name: len(values)})
    require(n >= 2, "needs at least two rows", x=n)
    require(0 < confidence < 1, "lies strictly between 0 and 1", confidence=confidence)
    name = _choose(x, y, cond) if estimator is None else estimator
    require(name in ESTIMATORS, f"choose one of {sorted(ESTIMATORS)}", estimator=name)
    chosen = ESTIMATORS[name]
    _check_kinds(name, chosen, x, y, cond)
    diagnostics: dict[str, object] = {"estimator": name, "rows": n}
    value, terms = _answer(name, chosen.run(x, y, cond, seed))
    half = float(ndtri((1 + confidence) / 2)) * float(np.std(terms, ddof=1)) / np.sqrt(len(terms))
    certificate = chosen.certificate if cond is None else "none"
    if value > 0.8 * np.log(n):
        limit = f"log rows = {np.log(n):.3f}"
        diagnostics["saturated"] = f"near {limit}: no estimate from {n} rows can vouch for more"
    interval = (float(value - half), float(value + half))
    return MIResult(float(value), interval, certificate, diagnostics)


def _mean(terms: np.ndarray) -> Estimate:
    return float(terms.mean()), terms


def _counts(entropy: str) -> Run:
    return lambda x, y, cond, seed: discrete_information(x, y, cond, entropy=entropy)


def _learned(method: str) -> Run:
    return lambda x, y, cond, seed: _mean(variational_terms(x, y, method=method, seed=seed))


def _copula(x: np.ndarray, y: np.ndarray, cond: np.ndarray | None, seed: int) -> Estimate:
    scores = None if cond is None else normal_scores(cond)
    return gaussian_information(normal_scores(x), normal_scores(y), scores)


def _usable(x: np.ndarray, y: np.ndarray, cond: np.ndarray | None, seed: int) -> Estimate:
    gains, own = paired_log_ratios(x, y, cond, seed=seed)
    if cond is not None:
        return _mean(gains)
    # E of the plug-in H(Y) is <= H(Y), and a held-out cross-entropy is >= H(Y|X) in expectation: a
    # lower bound (T9)
    label = np.unique(y, return_inverse=True)[1]
    share = np.bincount(label) / len(y)
    return float(entr(share).sum() + own.mean()), own - np.log(share)[label]


def _neighbours(terms: Callable[..., np.ndarray]) -> Run:
    given = near.conditional_ksg_terms
    return lambda x, y, cond, _: _mean(terms(x, y) if cond is None else given(x, y, cond))


_ksg_2 = partial(near.ksg_terms, variant=2)

_COUNTS: tuple[Kind, Kind] = ("discrete", "discrete")
_FLOATS: tuple[Kind, Kind] = ("continuous", "continuous")
ESTIMATORS: dict[str, Estimator] = {
    **{name: Estimator(*_COUNTS, True, True, _counts(name)) for name in ENTROPIES},
    "ksg_1": Estimator(*_FLOATS, True, True, _neighbours(near.ksg_terms)),
    "ksg_2": Estimator(*_FLOATS, False, True, _neighbours(_ksg_2)),
    "mixed_ksg": Estimator("any", "any", True, True, _neighbours(near.mixed_ksg_terms)),
    "ross": Estimator("continuous", "discrete", False, False, _neighbours(near.ross_terms)),
    "gaussian": Estimator(*_FLOATS, True, True, lambda x, y, c, _: gaussian_information(x, y, c)),
    "gaussian_copula": Estimator(*_FLOATS, True, True, _copula),
    "usable_information": Estimator("any", "discrete", True, False, _usable, "lower"),
    **{
        name: Estimator(*_FLOATS, False, False, _learned(name), "lower" if lower else "none")
        for name, lower in VARIATIONAL.items()
    },
}

_OURS = frozenset(ESTIMATORS)


def register_estimator(
    name: str,
    x_kind: Kind = "any",
    y_kind: Kind = "any",
    *,
    conditional: bool = False,
    symmetric: bool = False,
    certificate: Certificate = "none",
) -> Callable[[Run], Run]:
    """A decorator that adds an estimator: from x, y, cond and seed, its value and its terms.

    A name of our own is a `PremiseError`.

    >>> @register_estimator("half_the_log", "discrete", "discrete")
    ... def half(x, y, cond, seed):
    ...     return 0.5 * np.log(len(x)), np.zeros(len(x))
    >>> rows = np.arange(4)
    >>> bool(estimate(rows, rows, seed=0, estimator="half_the_log").value == np.log(2))
    True
    >>> del ESTIMATORS["half_the_log"]
    """

    require(name not in _OURS, "is an estimator of theory itself; use another", name=name)

    def add(run: Run) -> Run:
        ESTIMATORS[name] = Estimator(x_kind, y_kind, conditional, symmetric, run, certificate)
        return run

    return add


def _answer(name: str, answer: object) -> Estimate:
    """What an estimator gave, where it is a value and its terms."""
    remedy = f"the estimator {name} must return a number and an array of two or more terms"
    try:
        value, terms = answer  # pyright: ignore[reportGeneralTypeIssues]
        value, terms = float(value), np.asarray(terms, dtype=float)
    except (TypeError, ValueError):
        raise PremiseError(f"{answer!r}: {remedy}") from None
    whole = terms.ndim == 1 and len(terms) > 1 and not np.isnan(terms).any()
    require(whole and not np.isnan(value), remedy, value=value, terms=terms.shape)
    return value, terms


def _choose(x: np.ndarray, y: np.ndarray, cond: np.ndarray | None) -> str:
    whole = [values.dtype.kind in "iub" for values in (x, y, *(() if cond is None else (cond,)))]
    if all(whole):
        return "chao_shen"
    if whole[1]:
        return "usable_information"
    return "mixed_ksg" if any(whole) and cond is None else "gaussian_copula"


def _check_kinds(
    name: str, chosen: Estimator, x: np.ndarray, y: np.ndarray, cond: np.ndarray | None
) -> None:
    for argument, values, kind in (("x", x, chosen.x_kind), ("y", y, chosen.y_kind)):
        whole = values.dtype.kind in "iub"
        fits = kind == "any" or whole == (kind == "discrete")
        read = ("whole numbers: choose a continuous", "floats: choose a discrete")
        remedy = f"{name} reads {read[kind != 'discrete']} estimator"
        require(fits, remedy, **{argument: values.dtype})
    able = sorted(name for name, known in ESTIMATORS.items() if known.conditional)
    remedy = f"with cond, choose one of {able}"
    require(cond is None or chosen.conditional, remedy, estimator=name)


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    require(values.ndim >= 1 and values.size > 0, "give one row per sample", **{name: values.shape})
    require(values.dtype.kind in "iubf", "give whole numbers or floats", **{name: values.dtype})
    require(np.isfinite(values).all(), "drop rows with nan or infinity", **{name: "not finite"})
    return values
