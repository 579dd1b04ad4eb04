"""`CatalogReasoner`: a SYMBOLIC STAND-IN for a language model. No language model writes these
chains.

It fills the roles of a pattern with sentences made from the visible history, the catalogue and
cross-fitted statistics. What it cannot do is what a language model might add: knowledge from
outside the dataset, and free wording.

Sentences say what a shopper chose, never when: the same purchase gives the same sentence at every
lag, so that order lives in the order of the steps alone. (A sentence with its position in it would
keep order even in a mean pool.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from jaxtyping import Int

from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import Facet, read_facets
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.successors import (
    commonest,
    likely_next,
    likely_next_with_strength,
    popular_in,
)
from scoter.reasoning.catalogue.view import View
from scoter.types import Catalog, Step

MODEL = "catalog-reasoner (symbolic)"
PROMPT_VERSION = "1"

CHOSE = {
    "item": "The shopper chose {}.",
    "brand": "The shopper chose something by {}.",
    "category": "The shopper chose something from {}.",
}
PREFERS = {"category": "The shopper prefers {}.", "department": "The shopper mostly looks at {}."}
LOYAL = {"brand": "The shopper is loyal to {}."}
PAYS = {"price": "The shopper usually pays {}."}
WANTS = {
    "item": "Similar shoppers also want {}.",
    "brand": "Similar shoppers also want something by {}.",
    "category": "Similar shoppers also want something from {}.",
}
RECOMMENDS = {"item": "The recommendation is {}."}
RECOMMENDS_SURELY = "The recommendation, {}, is {}."
CERTAINTY = (
    "a guess",
    "unsure",
    "barely sure",
    "somewhat sure",
    "fairly sure",
    "sure",
    "very sure",
    "certain",
)

Parameters = Mapping[str, int | float | str]
# One row per prefix: numbers of sentences, -1 where there is nothing to say.
Codes = Int[np.ndarray, "rows width"]


@dataclass(frozen=True, eq=False)
class Spoken:
    """The sentences of one step for every row of a view: row r says `sentences[n]` for each n >= 0
    in `numbers[r]`."""

    sentences: list[str]
    numbers: Codes


@dataclass(frozen=True)
class Role:
    """One kind of step. `parameters` lists the values that discovery tries; the first one is the
    default.

    A parameter with one listed value is left at it by discovery, and may be set by hand.

    `facet` names the catalogue facet that the role speaks of, given its parameters; `COLUMNS` says
    which column the facet needs. A text parameter takes the listed values only; a number may be any
    from 1 on, or up to what `most` says.
    """

    name: str
    purpose: str
    wording: Mapping[str, str]
    facet: Callable[[Parameters], str]
    select: Callable[["CatalogReasoner", View, Facet, Parameters], Codes]
    parameters: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    final: bool = False
    most: Mapping[str, int] = field(default_factory=dict)


COLUMNS = {
    "item": (),
    "brand": ("brand",),
    "category": ("categories",),
    "department": ("categories",),
    "price": ("price",),
}


@dataclass(frozen=True, eq=False)
class CatalogReasoner:
    """Writes steps for many prefixes at once: the symbolic stand-in for a language model."""

    catalog: Catalog
    statistics: FoldedStatistics
    facets: Mapping[str, Facet] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facets", read_facets(self.catalog))

    def write(self, view: View, step: Step) -> Spoken:
        """The sentences of `step` for each row of `view`.

        Raises:
            ConfigError: no such role or parameter, a value out of range, or a column that this
                catalogue lacks.
        """
        role, parameters = check_step(step, self.catalog)
        name = role.facet(parameters)
        facet = self.facets[name]
        numbers = role.select(self, view, facet, parameters)
        degrees = int(parameters.get("degrees", 1))
        if degrees > 1:
            said = [
                RECOMMENDS_SURELY.format(sure, label)
                for sure in CERTAINTY[:degrees]
                for label in facet.labels
            ]
            return Spoken(said, numbers)
        return Spoken([role.wording[name].format(label) for label in facet.labels], numbers)


def check_step(step: Step, catalog: Catalog) -> tuple[Role, dict[str, int | float | str]]:
    """The role of a step and its parameters with defaults filled in; a step that cannot be written
    is an error."""
    if step.role not in ROLES:
        raise ConfigError(f"there is no role {step.role!r}; choose from: {', '.join(ROLES)}")
    role = ROLES[step.role]
    for name, value in step.parameters.items():
        if name not in role.parameters:
            choices = ", ".join(role.parameters) or "none"
            raise ConfigError(
                f"role {role.name!r} has no parameter {name!r}; its parameters are: {choices}"
            )
        values = role.parameters[name]
        if isinstance(values[0], str) and value not in values:
            raise ConfigError(
                f"{step.label()}: {name} is {value!r}; choose from: {', '.join(map(str, values))}"
            )
        if isinstance(values[0], int) and not (isinstance(value, int) and value >= 1):
            raise ConfigError(
                f"{step.label()}: {name} is {value!r}; it must be a whole number from 1 on"
            )
        if name in role.most and int(value) > role.most[name]:
            raise ConfigError(
                f"{step.label()}: {name} is {value!r}; it must be at most {role.most[name]}"
            )
    if column := lacking(step, catalog):
        raise ConfigError(
            f"{step.label()} needs the catalogue column {column!r}, which holds nothing here; "
            f"leave the step out, or give the items a {column!r}"
        )
    return role, _filled(role, step)


def lacking(step: Step, catalog: Catalog) -> str | None:
    """The column that a step needs and that holds nothing here; None where nothing is missing, or
    the role is unknown.

    Example:
        >>> shop = Catalog(("a",), {"title": ("Soap",)})
        >>> lacking(Step("brand_loyalty"), shop), lacking(Step("recommendation"), shop)
        ('brand', None)
    """
    role = ROLES.get(step.role)
    if role is None:
        return None
    return next(
        (column for column in COLUMNS[role.facet(_filled(role, step))] if not catalog.has(column)),
        None,
    )


def _filled(role: Role, step: Step) -> dict[str, int | float | str]:
    """The step's parameters, and the defaults of those that it leaves open."""
    return {name: values[0] for name, values in role.parameters.items()} | dict(step.parameters)


def offered_steps(catalog: Catalog) -> list[Step]:
    """Every role with every combination of its listed parameters for which this catalogue has the
    columns.

    Example:
        >>> {step.role for step in offered_steps(Catalog(("a",), {"phrase": ("a red one",)}))} == {
        ...     "history_summary",
        ...     "recent_item",
        ...     "likely_next",
        ...     "recommendation",
        ... }
        True
    """
    steps = []
    for role in ROLES.values():
        for values in product(*role.parameters.values()):
            tried = zip(role.parameters.items(), values, strict=True)
            parameters = {name: value for (name, listed), value in tried if len(listed) > 1}
            if all(catalog.has(column) for column in COLUMNS[role.facet(parameters)]):
                steps.append(Step(role.name, parameters))
    return steps


def _history_summary(
    reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters
) -> Codes:
    return facet.known(view.recent[:, : int(parameters["count"])])


def _recent_item(
    reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters
) -> Codes:
    lag = int(parameters["lag"])
    return facet.known(view.recent[:, lag - 1 : lag])


def _commonest(
    reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters
) -> Codes:
    return commonest(facet.known(view.recent), int(parameters.get("count", 1)))


def _loyalty(reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters) -> Codes:
    return commonest(facet.known(view.recent), 1, least=2)


def _likely_next(
    reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters
) -> Codes:
    count, window = int(parameters["count"]), int(parameters["window"])
    return likely_next(
        view, reasoner.statistics, facet, count, window, new_only=parameters["what"] == "item"
    )


def _recommendation(
    reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters
) -> Codes:
    """Items by transition score, from the `rank`-th on; where no transition is known, the favourite
    department's most popular.

    With several `degrees` of certainty, each item is said with its own: a degree for each doubling
    of its strength.
    """
    rank, degrees = int(parameters["rank"]), int(parameters["degrees"])
    count = int(parameters["count"]) + rank - 1
    best, strength = likely_next_with_strength(
        view, reasoner.statistics, facet, count, int(parameters["window"]), new_only=True
    )
    unknown = np.flatnonzero(best[:, 0] < 0)
    if len(unknown):
        rows = View(view.users[unknown], view.prefix_lengths[unknown], view.recent[unknown])
        groups = reasoner.facets.get("department", Facet(np.full(len(facet.codes), -1), ()))
        favourite = commonest(groups.known(rows.recent), 1)[:, 0]
        best[unknown] = popular_in(rows, reasoner.statistics, groups.codes, favourite, count)
    degree = np.floor(np.log2(np.maximum(strength, 1e-9))) + degrees // 2
    degree = np.clip(degree, 0, degrees - 1).astype(np.int64)
    return np.where(best >= 0, degree * len(facet.labels) + best, -1)[:, rank - 1 :]


_COUNTS: dict[str, tuple[int | str, ...]] = {"count": (5, 1, 3, 10), "window": (3, 1)}
_FIELDS: tuple[int | str, ...] = ("item", "brand", "category")

ROLES = {
    role.name: role
    for role in (
        Role(
            "history_summary",
            "the last `count` items",
            CHOSE,
            lambda p: "item",
            _history_summary,
            {"count": (10, 5, 20)},
        ),
        Role(
            "recent_item",
            "the item, or its brand or category, `lag` purchases ago",
            CHOSE,
            lambda p: str(p["field"]),
            _recent_item,
            {"lag": (1, 2, 3, 4, 5), "field": _FIELDS},
        ),
        Role(
            "long_term_preference",
            "the commonest categories of the visible history",
            PREFERS,
            lambda p: str(p["level"]),
            _commonest,
            {"level": ("category", "department"), "count": (2, 1, 3)},
        ),
        Role(
            "brand_loyalty",
            "the commonest brand, where it was chosen twice",
            LOYAL,
            lambda p: "brand",
            _loyalty,
        ),
        Role(
            "price_band",
            "the commonest price band of the visible history",
            PAYS,
            lambda p: "price",
            _commonest,
        ),
        Role(
            "likely_next",
            "what other shoppers' next purchases most often are, after the last `window` items",
            WANTS,
            lambda p: str(p["what"]),
            _likely_next,
            {"what": ("category", "brand", "item"), "count": (3, 1, 5), "window": (3, 1)},
            final=True,
        ),
        Role(
            "recommendation",
            "the final statement: the `count` items with the best transition score, from the "
            "`rank`-th on, said with `degrees` degrees of certainty",
            RECOMMENDS,
            lambda p: "item",
            _recommendation,
            {**_COUNTS, "rank": (1,), "degrees": (1,)},
            final=True,
            most={"degrees": len(CERTAINTY)},
        ),
    )
}
