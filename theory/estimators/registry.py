"""All estimators by name, and the one call that picks and runs one."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import entr

from theory.errors import require, strictly, whole
from theory.estimators import nearest_neighbour as near
from theory.estimators.answer import Answer, checked, interval, mean_of, of_neighbours
from theory.estimators.automatic import LOW, automatic, automatic_given
from theory.estimators.copula import gaussian_information, normal_scores, student_copula
from theory.estimators.entropies import ENTROPIES, codes, discrete_information, occupied
from theory.estimators.learned import LEARNED, learned
from theory.estimators.token_choice import token_log_ratios
from theory.estimators.usable_information import paired_log_ratios
from theory.estimators.variational import VARIATIONAL, variational, variational_terms

Certificate = Literal["exact", "lower", "upper", "none"]
Kind = Literal["discrete", "continuous", "any"]
Unit = Literal["nats", "bits"]
Run = Callable[..., Answer | tuple[float, np.ndarray]]
Cond = np.ndarray | None
Map = Callable[[np.ndarray], np.ndarray]
Ratios = Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class MIResult:
    """An estimate of I(X;Y|C).

    ci: approximate confidence interval; of the information where the certificate is "none", of the
    estimate's own mean where it is "lower" (so its lower end is what holds), and None where an
    estimator claims none or rows are copied. It knows of no bias but that of counts. certificate:
    "exact" (no error), "lower" or "upper" (the expectation lies on that side of the truth), "none".
    diagnostics: the estimator's name, rows, and what it flags. pointwise: terms of log p(y|x) /
    p(y), one for each row that the estimator judges.
    """

    value: float
    ci: tuple[float, float] | None
    certificate: Certificate
    diagnostics: dict[str, object] = field(default_factory=dict)
    unit: Unit = "nats"
    pointwise: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    @property
    def flags(self) -> dict[str, object]:
        """What speaks against believing the value."""
        return {key: text for key, text in self.diagnostics.items() if key in FLAGS}

    def sentence(self, *, conditional: bool = False) -> str:
        """The value with its unit, what it means, and a line for each flag.

        >>> MIResult(0.25, (0.2, 0.3), "none", {"estimator": "nsb", "rows": 900}).sentence()
        'I(X;Y) is about 0.250 [0.200, 0.300] nats by nsb on 900 rows, which is no bound.'
        """
        what = "I(X;Y|cond)" if conditional else "I(X;Y)"
        ends = "without an interval" if self.ci is None else "[{:.3f}, {:.3f}]".format(*self.ci)
        meaning = MEANING[self.certificate]
        by = f"by {self.diagnostics['estimator']} on {self.diagnostics['rows']} rows, {meaning}."
        flags = (f"{flag}: {text}" for flag, text in self.flags.items())
        return "\n".join([f"{what} is about {self.value:.3f} {ends} {self.unit} {by}", *flags])


MEANING = {
    "exact": "without error",
    "lower": "a lower bound in expectation",
    "upper": "an upper bound in expectation",
    "none": "which is no bound",
}
_FLAGS = "saturated", "sparse", "ties", "disagreement", "negative", "refused", "reading"
FLAGS = (*_FLAGS, "duplicates")


@dataclass(frozen=True)
class Estimator:
    """What an estimator reads, and how it runs."""

    x_kind: Kind
    y_kind: Kind
    conditional: bool  # whether it takes `cond`
    symmetric: bool  # whether I(X;Y) and I(Y;X) are the same to it
    run: Run  # from x, y, cond, seed and options of its own
    certificate: Certificate = "none"  # of an estimate without `cond`


def estimate(
    x: np.ndarray,
    y: np.ndarray,
    *,
    cond: np.ndarray | None = None,
    seed: int,
    estimator: str | None = None,
    confidence: float = 0.95,
    unit: Unit = "nats",
    **options: object,
) -> MIResult:
    """Estimate I(X;Y), or I(X;Y|cond), from independent rows of x, y and cond.

    Without a name: counts where all is whole numbers (Chao-Shen, shrinkage where the table is
    sparse), usable information where only y is, Ross where only x is, and `automatic` where all are
    numbers, without ties or of more than four columns, where ties are broken at random; else mixed
    KSG. Columns of one value are dropped. Floats that hold at most 50 whole numbers are read as
    labels, and flagged. So is how a side of more whole numbers is read: as numbers where there are
    fewer than five rows for each, else as labels. `options` go to the estimator. Raises
    PremiseError where rows differ, values are not finite, or the estimator cannot read the data.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(2, size=500)
    >>> found = estimate(x, x, seed=0, unit="bits")
    >>> round(found.value, 1), found.certificate, found.diagnostics["estimator"]
    (1.0, 'none', 'chao_shen')
    >>> y = rng.standard_normal(500)
    >>> estimate(y, y**3, seed=0, estimator="ksg_1", neighbours=10).diagnostics["rows"]
    500
    """
    given = {"x": x, "y": y} | ({} if cond is None else {"cond": cond})
    arrays = {key: _checked(values, key) for key, values in given.items()}
    n = len(arrays["x"])
    for key, values in arrays.items():
        require(len(values) == n, f"needs the rows of x: {n}", **{key: len(values)})
    require(n >= 2, "needs at least two rows", x=n)
    strictly(0, 1, confidence=confidence)
    require(unit in ("nats", "bits"), "choose nats or bits", unit=unit)
    whole(0, seed=seed)
    known = estimator is None or estimator in ESTIMATORS
    require(known, f"choose one of {sorted(ESTIMATORS)}", estimator=estimator)
    notes = _duplicates(list(arrays.values()))
    if estimator is None:
        arrays = {key: _varying(values) for key, values in arrays.items()}
    notes |= _read_labels(arrays, None if estimator is None else ESTIMATORS[estimator])
    name = _choose(*arrays.values()) if estimator is None else estimator
    notes |= _readings(name, arrays) if estimator is None else {}
    if estimator is None and name == "ross":  # it reads numbers as x, and the labels as y
        arrays = {"x": arrays["y"], "y": arrays["x"]}
    chosen = ESTIMATORS[name]
    _check_kinds(name, chosen, arrays["x"], arrays["y"], cond is not None)
    _check_options(name, chosen.run, options, cond is not None)
    run = chosen.run(arrays["x"], arrays["y"], arrays.get("cond"), seed, **options)
    answer = checked(name, run)
    diagnostics = {"estimator": name, "rows": n, **notes, **answer.notes}
    if answer.value > 0.8 * np.log(n):
        limit = f"the log of {n} rows: no estimate from so many can vouch for more"
        diagnostics.setdefault("saturated", f"near {limit}")
    certificate = chosen.certificate if cond is None else "none"
    ci = None if "duplicates" in notes else interval(answer, confidence)
    scale = float(np.log(2)) if unit == "bits" else 1.0
    ends = None if ci is None else (ci[0] / scale, ci[1] / scale)
    terms = answer.terms / scale
    families = diagnostics.get("families")
    if isinstance(families, dict):
        shown = {name: round(value / scale, 4) for name, value in families.items()}
        diagnostics["families"] = shown
        if "disagreement" in diagnostics:
            diagnostics["disagreement"] = f"{diagnostics['disagreement']}: {shown} {unit}"
    return MIResult(answer.value / scale, ends, certificate, diagnostics, unit, terms)


def _counts(entropy: str, x: np.ndarray, y: np.ndarray, cond: Cond, seed: int) -> Answer:
    value, terms = discrete_information(x, y, cond, entropy=entropy)
    table, once, freedom = occupied(x, y, cond)
    if once < _SPARSE * len(x):  # the interval is about the plug-in less its bias
        centre = float(terms.mean()) - freedom / (2 * len(x))
        return Answer(value, terms, freedom=freedom, centre=centre)
    text = f"{once} of {len(x)} rows are alone in their cell of {table} seen"
    remedy = "counts say little: coarsen x or y"
    return Answer(value, terms, interval=False, notes={"sparse": f"{text}: {remedy}"})


def _variational(method: str, x: np.ndarray, y: np.ndarray, cond: Cond, seed: int) -> Answer:
    if cond is None:
        return variational(x, y, method=method, seed=seed)
    both = np.c_[y, cond]  # I(X;Y|C) = I(X;Y,C) - I(X;C), as Mukherjee et al. (2020) classify
    more, less = (variational_terms(x, of, method=method, seed=seed) for of in (both, cond))
    return replace(mean_of(more - less), interval=False)


def _learned(method: str, x: np.ndarray, y: np.ndarray, cond: Cond, seed: int) -> Answer:
    return learned(x, y, method=method, seed=seed)


def _gaussian(of: Map, x: np.ndarray, y: np.ndarray, cond: Cond, seed: int) -> Answer:
    value, terms = gaussian_information(of(x), of(y), None if cond is None else of(cond))
    return Answer(value, terms, freedom=(x.size // len(x)) * (y.size // len(y)))


def _lower(y: np.ndarray, own: np.ndarray) -> Answer:
    """H(Y) less a held-out cross-entropy: in expectation at most I(X;Y) (T9).

    E of the plug-in H(Y) is <= H(Y), and the cross-entropy is >= H(Y|X).
    """
    label = codes(y)
    share, notes = np.bincount(label) / len(y), {}
    value = float(entr(share).sum() + own.mean())
    if value < 0:
        notes["negative"] = "less was learned than chance knows: 0 is the better bound"
    return Answer(value, own - np.log(share)[label], notes=notes)


def _decoded(ratios: Ratios, x: np.ndarray, y: np.ndarray, cond: Cond, seed: int) -> Answer:
    gains, own = ratios(x, y, cond, seed=seed)
    return _lower(y, own) if cond is None else mean_of(gains)


def _neighbours(
    terms: Callable[..., np.ndarray], given: Callable[..., np.ndarray] | None
) -> Callable[..., Answer]:
    def run(x: np.ndarray, y: np.ndarray, cond: Cond, seed: int, **options: object) -> Answer:
        of, columns = (terms, (x, y)) if cond is None else (given, (x, y, cond))
        assert of is not None  # `conditional` says which take `cond`
        return of_neighbours(of, *map(_scores, columns), **options)

    run.options = {*inspect.signature(terms).parameters} - {"x", "y"}  # pyright: ignore
    return run


def _scores(values: np.ndarray) -> np.ndarray:
    """Normal scores; of labels of five rows or more the binary digits, which are equally far."""
    if not _are_labels(values) or codes(values).max() >= len(values) / 5:
        return normal_scores(values)
    label = codes(values)
    return _FAR * (label[:, None] >> np.arange(max(1, int(label.max()).bit_length())) & 1)


def _mixed(x: np.ndarray, y: np.ndarray, cond: Cond, seed: int, **options: object) -> Answer:
    answer = _neighbours(near.mixed_ksg_terms, _given)(x, y, cond, seed, **options)
    columns = _width(x, y, *(() if cond is None else (cond,)))
    if columns <= LOW:
        return answer
    text = f"{columns} columns: neighbours see little beyond {LOW}, so the value is too low"
    return replace(answer, interval=False, notes={"sparse": text})


_mixed.options = {"neighbours"}  # pyright: ignore


def _ross(x: np.ndarray, y: np.ndarray, cond: Cond, seed: int, *, neighbours: int = 4) -> Answer:
    return of_neighbours(near.ross_terms, normal_scores(x), y, neighbours=neighbours)


def _automatic(x: np.ndarray, y: np.ndarray, cond: Cond, seed: int) -> Answer:
    rng = np.random.default_rng([seed, 3])
    x, y = _untied(x, rng), _untied(y, rng)
    if cond is None:
        return automatic(x, y, seed=seed)
    return automatic_given(x, y, _untied(cond, rng))


def _untied(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Columns with equal values broken at random, by less than the least step between others."""
    columns = np.array(values.reshape(len(values), -1), dtype=float)
    for column in columns.T:
        distinct = np.unique(column)
        if 1 < len(distinct) < len(column):
            column += rng.uniform(-0.5, 0.5, len(column)) * np.diff(distinct).min()
    return columns


_NUMBERS = "numbers; name usable_information where they are labels"
_AS_LABELS = "labels; pass floats where their order counts"
_FAR = 100.0  # between labels, beyond the range of normal scores
_SPARSE, _LABELS = 0.2, 50  # share of rows alone in their cell; labels that floats may hold
_ROSS = inspect.signature(_ross).parameters["neighbours"].default
_given = near.conditional_ksg_terms
_ksg_2 = partial(near.ksg_terms, variant=2)
_COUNTS: tuple[Kind, Kind] = ("discrete", "discrete")
_FLOATS: tuple[Kind, Kind] = ("continuous", "continuous")
ESTIMATORS: dict[str, Estimator] = {
    **{name: Estimator(*_COUNTS, True, True, partial(_counts, name)) for name in ENTROPIES},
    "ksg_1": Estimator(*_FLOATS, True, True, _neighbours(near.ksg_terms, _given)),
    "ksg_2": Estimator(*_FLOATS, False, True, _neighbours(_ksg_2, None)),
    "mixed_ksg": Estimator("any", "any", True, True, _mixed),
    "ross": Estimator("continuous", "discrete", False, False, _ross),
    "gaussian": Estimator(*_FLOATS, True, True, partial(_gaussian, np.asarray)),
    "gaussian_copula": Estimator(*_FLOATS, True, True, partial(_gaussian, normal_scores)),
    "student_copula": Estimator(
        *_FLOATS, False, True, lambda x, y, cond, seed: student_copula(x, y)
    ),
    "automatic": Estimator(*_FLOATS, True, False, _automatic),
    "usable_information": Estimator(
        "any", "discrete", True, False, partial(_decoded, paired_log_ratios), "lower"
    ),
    "token_choice": Estimator(
        "any", "discrete", True, False, partial(_decoded, token_log_ratios), "lower"
    ),
    **{
        name: Estimator(
            *_FLOATS,
            name == "smile",
            False,
            partial(_variational, name),
            "lower" if lower else "none",
        )
        for name, lower in VARIATIONAL.items()
    },
    **{name: Estimator(*_FLOATS, False, False, partial(_learned, name)) for name in LEARNED},
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


def _choose(x: np.ndarray, y: np.ndarray, cond: np.ndarray | None = None) -> str:
    kinds = [values.dtype.kind in "iub" for values in (x, y, *(() if cond is None else (cond,)))]
    if all(kinds):
        sparse = occupied(x, y, cond)[1] >= _SPARSE * len(x)
        return "shrinkage" if sparse else "chao_shen"
    if kinds[1] and (cond is not None or _are_labels(y)):
        return "usable_information"  # of rarer labels there is nothing to learn
    columns = _width(x, y, *(() if cond is None else (cond,)))
    if cond is None and _are_labels(x) and columns <= LOW:
        alone = np.bincount(codes(x)).min() <= _ROSS or len(np.unique(y, axis=0)) < len(y)
        return "mixed_ksg" if alone else "ross"
    tied = columns <= LOW and any(_repeats(values) for values in (x, y))
    return "mixed_ksg" if any(kinds) or tied else "automatic"


def _are_labels(values: np.ndarray) -> bool:
    """Whether whole numbers are labels: few, or at least five rows for each."""
    whole = values.dtype.kind in "iub"
    return whole and bool(codes(values).max() < max(_LABELS, len(values) / 5))


def _readings(name: str, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    """How sides of many whole numbers are read beside numbers."""
    if name in ENTROPIES:
        return {}
    many = [
        f"{key} holds many whole numbers, read as "
        + (_AS_LABELS if _are_labels(values) or name == "usable_information" else _NUMBERS)
        for key, values in arrays.items()
        if values.dtype.kind in "iub" and codes(values).max() >= _LABELS
    ]
    return {"reading": "; ".join(many)} if many else {}


def _width(*sides: np.ndarray) -> int:
    return sum(side.size // len(side) for side in sides)


def _varying(values: np.ndarray) -> np.ndarray:
    """The columns that hold two values or more; all, where each or none does."""
    columns = values.reshape(len(values), -1)
    varying = (columns != columns[0]).any(0)
    return values if varying.all() or not varying.any() else columns[:, varying]


def _duplicates(sides: list[np.ndarray]) -> dict[str, object]:
    """A flag where many numbers come again, and only with all else of their row."""
    flat = [side.reshape(len(side), -1) for side in sides]
    numbers = [side for side in flat if side.dtype.kind == "f"]
    counts = np.unique(np.concatenate(flat, axis=1), axis=0, return_counts=True)[1]
    repeated = int((counts > 1).sum())
    if not numbers or repeated <= max(1, len(counts) / 100):
        return {}
    if any(len(np.unique(side, axis=0)) < len(counts) for side in numbers):
        return {}
    text = f"{len(counts)} rows are all that {sum(counts)} hold: copies of rows are not independent"
    return {"duplicates": f"{text}, so there is no interval; drop them"}


def _repeats(values: np.ndarray) -> bool:
    """Whether a float column has as many equal values as rounding or a label would make."""
    columns = values.reshape(len(values), -1).T
    return any(len(np.unique(column)) < 0.9 * len(values) for column in columns)


def _read_labels(arrays: dict[str, np.ndarray], asked: Estimator | None) -> dict[str, object]:
    """Turn floats that hold few whole numbers into labels; what was turned, and other ties.

    Where an estimator was asked for, only what it reads as labels.
    """
    ties: list[str] = []
    for name, values in arrays.items():
        if values.dtype.kind != "f":
            continue
        columns = values.reshape(len(values), -1).T
        distinct = max(len(np.unique(column)) for column in columns)
        few = distinct <= len(values) / 5 and bool((values == np.floor(values)).all())
        kind = None if asked is None else {"x": asked.x_kind, "y": asked.y_kind}.get(name)
        if few and (distinct <= _LABELS if asked is None else kind == "discrete"):
            labels = [np.unique(column, return_inverse=True)[1] for column in columns]
            arrays[name] = np.stack(labels, 1).reshape(values.shape)
            ties.append(f"{name} holds {distinct} whole numbers as floats: read as labels")
        elif _repeats(values):
            ties.append(f"{name} has equal values: continuous estimators err with them")
    return {"ties": "; ".join(ties)} if ties else {}


def _check_options(name: str, run: Run, options: dict[str, object], conditional: bool) -> None:
    known = {*inspect.signature(run).parameters} - {"x", "y", "cond", "seed", "options"}
    own = getattr(run, "options", set())
    known |= own & {"neighbours"} if conditional else own
    for option, value in options.items():
        remedy = f"is no option of {name}, which takes {sorted(known) or 'none'}"
        require(option in known, remedy, **{option: value})


def _check_kinds(
    name: str, chosen: Estimator, x: np.ndarray, y: np.ndarray, conditional: bool
) -> None:
    for argument, values, kind in (("x", x, chosen.x_kind), ("y", y, chosen.y_kind)):
        whole = values.dtype.kind in "iub"
        fits = kind == "any" or whole == (kind == "discrete")
        read = ("whole numbers: choose a continuous", "floats: choose a discrete")
        remedy = f"{name} reads {read[kind != 'discrete']} estimator"
        require(fits, remedy, **{argument: values.dtype})
    able = sorted(name for name, known in ESTIMATORS.items() if known.conditional)
    remedy = f"with cond, choose one of {able}"
    require(not conditional or chosen.conditional, remedy, estimator=name)


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    require(not np.ma.is_masked(values), "drop masked rows", **{name: "masked"})
    values = np.asarray(values)
    require(values.ndim >= 1 and values.size > 0, "give one row per sample", **{name: values.shape})
    require(values.dtype.kind in "iubf", "give whole numbers or floats", **{name: values.dtype})
    require(np.isfinite(values).all(), "drop rows with nan or infinity", **{name: "not finite"})
    return values
