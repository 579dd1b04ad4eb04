"""`CatalogReasoner`: a SYMBOLIC STAND-IN for a language model. No language model writes its chains.

It fills the roles of a pattern with sentences made from the visible history, the catalogue and
cross-fitted statistics, without knowledge from outside the dataset and without free wording.

One item gives the same sentence at every lag, so the order is in the order of the steps alone. (A
sentence that held its position would keep the order even in a mean pool.)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Int

from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import Facet, read_facets
from scoter.reasoning.catalogue.folded_reasons import ALL, FoldedReasons, Weights
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.successors import Successors, commonest, likely_next, popular_in
from scoter.reasoning.catalogue.view import View
from scoter.types import Catalog, InteractionLog, Step

MODEL = "catalog-reasoner (symbolic)"
PROMPT_VERSION = "2"  # of what it says of a history

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
TOGETHER = {"item": "Often bought together with these: {}."}
NEAREST = {"item": "In words, the nearest is {}."}
FOLLOWS = {"category": "What follows is often from {}."}
_LISTED = 10  # successors that are looked for at least
_DEGREES = "a guess, unsure, barely sure, somewhat sure, fairly sure, sure, very sure, certain"
REASONS_CERTAIN = 3  # a share of 2 ** -3 or more is as sure as can be said
CERTAINTY = tuple(_DEGREES.split(", "))
# The catalogue column that each facet is read from; "" where any catalogue has it.
COLUMNS = {"item": "", "brand": "brand", "price": "price"}
COLUMNS |= {"category": "categories", "department": "categories"}
WORDS = ("title", "phrase", "brand", "categories")

Parameters = Mapping[str, int | float | str]
Texts = Callable[[], np.ndarray]
# One row per prefix: numbers of sentences, -1 where there is nothing to say.
Codes = Int[np.ndarray, "rows width"]


@dataclass(frozen=True, eq=False)
class Spoken:
    """The sentences of one step for every row of a view."""

    wordings: Sequence[str]  # each with a gap for a label
    labels: Sequence[str]
    numbers: Codes  # row r says `sentence(n)` for each n >= 0 in `numbers[r]`
    certainty: Float[np.ndarray, "rows width"] | None = None  # shares of what they name

    def sentence(self, number: int) -> str:
        wording, label = divmod(number, len(self.labels))
        return self.wordings[wording].format(self.labels[label])

    def placed(self, places: dict[str, int]) -> Codes:
        """`numbers` with each sentence's place in `places`, where new sentences are put last."""
        used = np.unique(self.numbers[self.numbers >= 0])
        table = np.full(len(self.wordings) * len(self.labels) + 1, -1, np.int32)  # its end stays -1
        sentences = map(self.sentence, used.tolist())
        table[used] = [places.setdefault(sentence, len(places)) for sentence in sentences]
        return table[self.numbers]


@dataclass(frozen=True)
class Role:
    """One kind of step: what it may be asked for, and how it finds its sentences."""

    name: str
    wording: Mapping[str, str]  # facet: sentence with a gap for the label
    facet: str  # the facet it speaks of, or the parameter that names the facet
    select: Callable[["CatalogReasoner", View, Facet, Parameters], Codes]
    # The values that discovery tries, the default first; a parameter with one value is set by hand
    # only. Text takes these values, a number any from 1 on, up to what `most` says.
    parameters: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    final: bool = False  # whether a pattern may end in it
    words: bool = False  # whether items need words of their own
    ranks: bool = False  # whether it names items to come, best first
    most: Mapping[str, int] = field(default_factory=dict)

    def filled(self, parameters: Parameters) -> Parameters:
        return {name: values[0] for name, values in self.parameters.items()} | dict(parameters)

    def facet_of(self, parameters: Parameters) -> str:
        return str(self.filled(parameters).get(self.facet, self.facet))


@dataclass(frozen=True, eq=False)
class CatalogReasoner:
    """Writes steps for many prefixes at once: the symbolic stand-in for a language model."""

    catalog: Catalog
    statistics: FoldedStatistics
    texts: Texts | None = None  # makes the vectors of the items' texts
    weights: Weights | None = None  # of the reasons, fitted before; None fits them when needed
    facets: Mapping[str, Facet] = field(init=False)
    _successors: "WeakKeyDictionary[View, dict[tuple[str, int], Successors]]" = field(
        init=False, repr=False, default_factory=WeakKeyDictionary
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "facets", read_facets(self.catalog))

    @classmethod
    def of(
        cls,
        log: InteractionLog,
        catalog: Catalog,
        seed: int,
        texts: Texts | None = None,
        weights: Weights | None = None,
    ) -> "CatalogReasoner":
        """One that counts on a training log; `seed` draws the groups of its users."""
        return cls(catalog, FoldedStatistics(log, catalog.item_count, seed), texts, weights)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        kept = (self.catalog, self.statistics, self.texts, self.weights)
        return CatalogReasoner, kept  # without what is made of them

    @property
    def fitted_weights(self) -> Weights | None:
        """The weights of the reasons, where a step has asked for them."""
        return self.reasons.weights if "weights" in vars(vars(self).get("reasons", self)) else None

    @cached_property
    def reasons(self) -> FoldedReasons:
        """What ranks items by reasons."""
        texts = None if self.texts is None else self.texts()
        return FoldedReasons(self.catalog, self.statistics, texts, self.weights)

    def write(self, view: View, step: Step) -> Spoken:
        """The sentences of `step` for each row of `view`; `check_step` says what is refused."""
        role = check_step(step, self.catalog)
        parameters, name = role.filled(step.parameters), role.facet_of(step.parameters)
        facet = self.facets[name]
        numbers = role.select(self, view, facet, parameters)
        wordings = [role.wording[name]]
        if (degrees := int(parameters.get("degrees", 1))) > 1:
            wordings = [RECOMMENDS_SURELY.format(sure, "{}") for sure in CERTAINTY[:degrees]]
        certainty = None
        if parameters.get("by") == "reasons":
            rank, count = int(parameters["rank"]), int(parameters["count"])
            certainty = self.reasons.best(view, ALL, count + rank - 1)[1][:, rank - 1 :]
        return Spoken(wordings, facet.labels, numbers, certainty)

    def facet(self, step: Step) -> Facet:
        """What a step speaks of."""
        return self.facets[ROLES[step.role].facet_of(step.parameters)]

    def successors(self, view: View, what: str, window: int, count: int) -> Successors:
        """The `count` best of `likely_next`; visible items are left out.

        They are kept as long as the view, since many steps of a pattern ask for them.
        """
        known = self._successors.setdefault(view, {})
        if (what, window) not in known or known[what, window][0].shape[1] < count:
            most = max(count, _LISTED)
            found = likely_next(
                view, self.statistics, self.facets[what], most, window, new_only=what == "item"
            )
            known[what, window] = found
        best, strength = known[what, window]
        return best[:, :count], strength[:, :count]


def check_step(step: Step, catalog: Catalog) -> Role:
    """The role of a step, or a `ConfigError` that says why this catalogue cannot fill it."""
    if step.role not in ROLES:
        raise ConfigError(f"there is no role {step.role!r}; choose from: {', '.join(ROLES)}")
    role = ROLES[step.role]
    for name, value in step.parameters.items():
        if name not in role.parameters:
            choices = f"its parameters are: {', '.join(role.parameters) or 'none'}"
            raise ConfigError(f"role {role.name!r} has no parameter {name!r}; {choices}")
        listed = role.parameters[name]
        wrong = f"{step.label()}: {name} is {value!r}"
        if isinstance(listed[0], str) and value not in listed:
            raise ConfigError(f"{wrong}; choose from: {', '.join(map(str, listed))}")
        if isinstance(listed[0], int) and not (isinstance(value, int) and value >= 1):
            raise ConfigError(f"{wrong}; it must be a whole number from 1 on")
        if name in role.most and int(value) > role.most[name]:
            raise ConfigError(f"{wrong}; it must be at most {role.most[name]}")
    if column := lacking(step, catalog):
        needed = f"{step.label()} needs the catalogue column {column!r}, which holds nothing here"
        raise ConfigError(f"{needed}; leave the step out, or give the items a {column!r}")
    return role


def lacking(step: Step, catalog: Catalog) -> str | None:
    """The column that a step needs and that holds nothing here; None where nothing is missing."""
    if step.role not in ROLES:
        return None
    role = ROLES[step.role]
    if role.words and not any(catalog.has(name) for name in WORDS):
        return WORDS[0]
    column = COLUMNS[role.facet_of(step.parameters)]
    return column if column and not catalog.has(column) else None


def offered_steps(catalog: Catalog) -> list[Step]:
    """Every role, with every combination of listed parameters, that this catalogue can fill."""
    steps = []
    for role in ROLES.values():
        tried = {name: values for name, values in role.parameters.items() if len(values) > 1}
        combinations = (zip(tried, values, strict=True) for values in product(*tried.values()))
        steps += [Step(role.name, dict(parameters)) for parameters in combinations]
    return [step for step in steps if lacking(step, catalog) is None]


def ranked_steps(catalog: Catalog) -> list[Step]:
    """The steps that name one item to come, of the first rank, one for each way to rank."""
    ways = [("recommendation", {"by": "transitions"}), ("recommendation", {"by": "reasons"})]
    ways += [("bought_together", {}), ("near_in_words", {})]
    sure = {"recommendation": {"degrees": len(CERTAINTY), "window": 3}}
    steps = [
        Step(role, {"count": 1, "rank": 1, **sure.get(role, {}), **more}) for role, more in ways
    ]
    return [step for step in steps if lacking(step, catalog) is None]


def _last_items(_: CatalogReasoner, view: View, facet: Facet, parameters: Parameters) -> Codes:
    return facet.known(view.recent[:, : int(parameters["count"])])


def _item_at_lag(_: CatalogReasoner, view: View, facet: Facet, parameters: Parameters) -> Codes:
    lag = int(parameters["lag"])
    return facet.known(view.recent[:, lag - 1 : lag])


def _commonest(
    _: CatalogReasoner, view: View, facet: Facet, parameters: Parameters, least: int = 1
) -> Codes:
    return commonest(facet.known(view.recent), int(parameters.get("count", 1)), least)


def _likely(reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters) -> Codes:
    count, window = int(parameters["count"]), int(parameters["window"])
    return reasoner.successors(view, str(parameters["what"]), window, count)[0]


def _recommended(
    reasoner: CatalogReasoner, view: View, facet: Facet, parameters: Parameters
) -> Codes:
    """Items by transition score, from the `rank`-th on.

    Where no transition is known: the most popular items of the history's commonest department. With
    several `degrees`, an item is said with its own degree of certainty: one more for each doubling
    of its strength.
    """
    rank, degrees = int(parameters["rank"]), int(parameters["degrees"])
    count, window = int(parameters["count"]) + rank - 1, int(parameters["window"])
    if parameters["by"] == "reasons":
        best, shares = reasoner.reasons.best(view, ALL, count)
        strength = shares[:, rank - 1 :] * 2.0 ** (REASONS_CERTAIN + degrees - 1 - degrees // 2)
        return _said(facet, best[:, rank - 1 :], strength, degrees)
    best, strength = reasoner.successors(view, "item", window, count)
    unknown = np.flatnonzero(best[:, 0] < 0)
    if len(unknown):
        best = best.copy()
        rows = View(view.users[unknown], view.prefix_lengths[unknown], view.recent[unknown])
        groups = reasoner.facets.get("department", Facet(np.full(len(facet.codes), -1), ()))
        favourite = commonest(groups.known(rows.recent), 1)[:, 0]
        best[unknown] = popular_in(rows, reasoner.statistics, groups.codes, favourite, count)
    return _said(facet, best[:, rank - 1 :], strength[:, rank - 1 :], degrees)


def _said(
    facet: Facet, best: Codes, strength: Float[np.ndarray, "rows width"], degrees: int
) -> Codes:
    """The numbers of sentences that name items with how sure they are."""
    degree = np.floor(np.log2(np.maximum(strength, 1e-9))) + degrees // 2
    degree = np.clip(degree, 0, degrees - 1).astype(np.int64)
    return np.where(best >= 0, degree * len(facet.labels) + best, -1)


def _by_reason(
    reasoner: CatalogReasoner, view: View, _: Facet, parameters: Parameters, reason: str
) -> Codes:
    if reason not in reasoner.reasons.names:
        raise ConfigError(
            f"there is no reason {reason!r} without texts; pass texts to the reasoner"
        )
    rank = int(parameters["rank"])
    count = int(parameters["count"]) + rank - 1
    return reasoner.reasons.best(view, reason, count)[0][:, rank - 1 :]


def _following(reasoner: CatalogReasoner, view: View, _: Facet, parameters: Parameters) -> Codes:
    return reasoner.reasons.kinds(view, int(parameters["count"]))


_together = partial(_by_reason, reason="bought together")
_nearest = partial(_by_reason, reason="near in words")
_FIELDS = ("item", "brand", "category")
_PREFERENCES = {"level": ("category", "department"), "count": (2, 1, 3)}
_NEXT = {"what": ("category", "brand", "item"), "count": (3, 1, 5), "window": (3, 1)}
_BEST = {"count": (5, 1, 3, 10), "window": (3, 1), "rank": (1,), "degrees": (1,)}
_BEST |= {"by": ("transitions", "reasons")}
_LISTED_BY_REASON = {"count": (1, 3, 5), "rank": (1,)}
_MOST = {"degrees": len(CERTAINTY)}
_ROLES = (
    # The last `count` items.
    Role("history_summary", CHOSE, "item", _last_items, {"count": (10, 5, 20)}),
    # The item, or its brand or category, `lag` interactions ago.
    Role("recent_item", CHOSE, "field", _item_at_lag, {"lag": (1, 2, 3, 4, 5), "field": _FIELDS}),
    # The commonest categories of the visible history.
    Role("long_term_preference", PREFERS, "level", _commonest, _PREFERENCES),
    # The commonest brand, where it was chosen twice.
    Role("brand_loyalty", LOYAL, "brand", partial(_commonest, least=2)),
    # The commonest price band of the visible history.
    Role("price_band", PAYS, "price", _commonest),
    # What other users' next items most often are, after the last `window` items.
    Role("likely_next", WANTS, "what", _likely, _NEXT, final=True),
    # The items that others who have these items have too.
    Role("bought_together", TOGETHER, "item", _together, _LISTED_BY_REASON, ranks=True),
    # The items whose texts are nearest to those of the history.
    Role("near_in_words", NEAREST, "item", _nearest, _LISTED_BY_REASON, words=True, ranks=True),
    # The categories that follow the last item's category oftener than others.
    Role("kind_that_follows", FOLLOWS, "category", _following, {"count": (3, 1, 5)}),
    # The `count` items with the best transition score from the `rank`-th on, with their certainty;
    # or by all reasons in their fitted weights.
    Role(
        "recommendation",
        RECOMMENDS,
        "item",
        _recommended,
        _BEST,
        final=True,
        most=_MOST,
        ranks=True,
    ),
)
ROLES = {role.name: role for role in _ROLES}
