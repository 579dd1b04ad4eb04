"""Generate: varied patterns, and a held-in sample of shoppers to try them on.

The paper samples patterns from a language model by nucleus sampling; here a seeded grammar does. A
pattern is a shuffled list of moves and one final step that names what comes next, so that it can be
grounded in the catalogue. A move is one offered step, or a trail: the same field of the last n
purchases, oldest first. Later rounds also vary what was mined.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.reasoner import ROLES, offered_steps
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split, Step

TRAIL_LENGTHS = (2, 3, 4)
_MOST_VAIN_DRAWS = 2000

Move = tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class HeldIn:
    """Shoppers whose last *training* item is the target, and the prefix of training items before
    it."""

    users: Int[np.ndarray, " rows"]
    prefix_lengths: Int[np.ndarray, " rows"]
    targets: Int[np.ndarray, " rows"]

    def __len__(self) -> int:
        return len(self.users)


def hold_in(split: Split, config: DiscoverConfig, seed: int) -> tuple[HeldIn, HeldIn]:
    """`config.users` shoppers to choose patterns on, and `config.fresh_users` others to confirm the
    choice on.

    Validation and test targets are not looked at: the target is the last training item, hidden from
    the chain.
    """
    lengths = split.train.lengths
    able = np.flatnonzero(lengths >= 2)
    wanted = config.users + config.fresh_users
    if min(config.users, config.fresh_users) < 4 or len(able) < wanted:
        raise ConfigError(
            f"discover.users={config.users} and discover.fresh_users={config.fresh_users} need "
            f"{wanted} shoppers with two "
            f"training purchases, at least 4 each; this log has {len(able)}. Set both to fit"
        )
    chosen = np.random.default_rng(derive_seed(seed, "held-in users")).permutation(able)[:wanted]
    targets = split.train.items[split.train.offsets[1:][chosen] - 1]
    parts = [slice(0, config.users), slice(config.users, wanted)]
    tried, fresh = (
        HeldIn(chosen[part], lengths[chosen[part]] - 1, targets[part]) for part in parts
    )
    return tried, fresh


def generate(catalog: Catalog, config: DiscoverConfig, seed: int) -> tuple[ReasoningPattern, ...]:
    """`config.patterns` distinct patterns of `min_steps` to `max_steps` steps; the last step names
    what comes next.

    Example:
        >>> shop = Catalog(("a",), {"title": ("Soap",), "brand": ("Lumi",)})
        >>> patterns = generate(shop, DiscoverConfig(patterns=3, min_steps=2, max_steps=4), seed=0)
        >>> (
        ...     len(patterns),
        ...     {pattern.steps[-1].role for pattern in patterns}
        ...     <= {"likely_next", "recommendation"},
        ... )
        (3, True)
    """
    if not 2 <= config.min_steps <= config.max_steps:
        raise ConfigError(
            f"discover.min_steps={config.min_steps} and max_steps={config.max_steps}: need 2 <= "
            f"min_steps <= max_steps"
        )
    families, finals = _families(catalog, config.max_steps - 1), _finals(catalog)
    rng = np.random.default_rng(derive_seed(seed, "patterns"))
    found: dict[tuple[str, ...], ReasoningPattern] = {}
    vain = 0
    while len(found) < config.patterns and vain < _MOST_VAIN_DRAWS:
        length = int(rng.integers(config.min_steps, config.max_steps + 1))
        pattern = ReasoningPattern(
            (*_fill(families, length - 1, rng), _pick(_pick(finals, rng), rng))
        )
        new = len(set(labels(pattern))) == length and labels(pattern) not in found
        found |= {labels(pattern): pattern} if new else {}
        vain = 0 if new else vain + 1
    if len(found) == config.patterns:
        return tuple(found.values())
    raise ConfigError(
        f"discover.patterns={config.patterns}, but only {len(found)} distinct patterns were "
        f"found; ask for fewer"
    )


def vary(
    seeds: Sequence[ReasoningPattern],
    catalog: Catalog,
    config: DiscoverConfig,
    known: Collection[tuple[str, ...]],
    count: int,
    seed: int,
) -> tuple[ReasoningPattern, ...]:
    """At most `count` new patterns near the `seeds`, none of which is among the labels `known`.

    Each is a seed with one or two changes: a step dropped, a move put in or put in a step's place,
    two neighbours exchanged, another last step, or its first steps joined to the last steps of
    another seed. So what one round found is what the next one starts from; fewer than `count` come
    back where the neighbourhood is exhausted. Recent purchases are told oldest first: Validate
    reads each step at its own place, so patterns that differ in that alone score alike.

    Example:
        >>> shop = Catalog(("a",), {"title": ("Soap",), "brand": ("Lumi",)})
        >>> config = DiscoverConfig(patterns=1, min_steps=2, max_steps=4)
        >>> start = generate(shop, config, seed=0)
        >>> near = vary(start, shop, config, {labels(start[0])}, count=5, seed=0)
        >>> len(near), labels(start[0]) in map(labels, near)
        (5, False)
    """
    families, finals = _families(catalog, config.max_steps - 1), _finals(catalog)
    rng = np.random.default_rng(derive_seed(seed, "variations"))
    found: dict[tuple[str, ...], ReasoningPattern] = {}
    for _ in range(_MOST_VAIN_DRAWS):
        if len(found) == count:
            break
        *before, last = _pick(seeds, rng).steps
        for _ in range(int(rng.integers(1, 3))):
            before, last = _changed(before, last, _pick(seeds, rng), families, finals, rng)
        pattern = _oldest_first(ReasoningPattern((*before, last)))
        name = labels(pattern)
        if (
            config.min_steps <= len(set(name)) == len(pattern) <= config.max_steps
            and name not in known
        ):
            found.setdefault(name, pattern)
    return tuple(found.values())


def labels(pattern: ReasoningPattern) -> tuple[str, ...]:
    """The steps' names, which identify a pattern."""
    return tuple(step.label() for step in pattern.steps)


def _families(catalog: Catalog, longest: int) -> list[list[Move]]:
    """Moves grouped by role, and trails by field, so that a role with many parameters is not drawn
    more often."""
    offered = offered_steps(catalog)
    families: dict[str, list[Move]] = {}
    for step in offered:
        if step.role != "recommendation":
            families.setdefault(step.role, []).append((step,))
    fields = dict.fromkeys(
        step.parameters["field"] for step in offered if step.role == "recent_item"
    )
    for length in TRAIL_LENGTHS:
        if length <= longest:
            lags = range(length, 0, -1)
            trails = [
                tuple(Step("recent_item", {"lag": lag, "field": name}) for lag in lags)
                for name in fields
            ]
            families.setdefault("trail", []).extend(trails)
    return list(families.values())


def _finals(catalog: Catalog) -> list[list[Step]]:
    offered = offered_steps(catalog)
    return [
        [step for step in offered if step.role == name]
        for name, role in ROLES.items()
        if role.final
    ]


def _fill(families: list[list[Move]], room: int, rng: np.random.Generator) -> list[Step]:
    """Random moves that fit into `room` steps, in random order."""
    moves: list[Move] = []
    while room > 0:
        move = _pick(_pick(families, rng), rng)
        if len(move) > room:
            continue
        moves.append(move)
        room -= len(move)
    return [step for place in rng.permutation(len(moves)) for step in moves[place]]


def _changed(
    before: list[Step],
    last: Step,
    other: ReasoningPattern,
    families: list[list[Move]],
    finals: list[list[Step]],
    rng: np.random.Generator,
) -> tuple[list[Step], Step]:
    """One change of a pattern, which may also leave it as it is, or make it too long or too
    short."""
    change = _pick(("drop", "put in", "replace", "exchange", "other last step", "join"), rng)
    if change == "other last step":
        return before, _pick(_pick(finals, rng), rng)
    if change == "put in" or not before:
        place = int(rng.integers(len(before) + 1))
        return [*before[:place], *_pick(_pick(families, rng), rng), *before[place:]], last
    place = int(rng.integers(len(before)))
    if change == "drop":
        return before[:place] + before[place + 1 :], last
    if change == "replace":
        return [*before[:place], *_pick(_pick(families, rng), rng), *before[place + 1 :]], last
    if change == "exchange":
        return [*before[:place], *before[place : place + 2][::-1], *before[place + 2 :]], last
    return [*before[: place + 1], *other.steps[int(rng.integers(len(other))) : -1]], other.steps[-1]


def _oldest_first(pattern: ReasoningPattern) -> ReasoningPattern:
    """The same steps, those of one field of recent purchases in the order of the purchases."""
    steps = list(pattern.steps)
    for name in dict.fromkeys(
        step.parameters["field"] for step in steps if step.role == "recent_item"
    ):
        places = [
            place
            for place, step in enumerate(steps)
            if step.role == "recent_item" and step.parameters["field"] == name
        ]
        told = sorted(
            (steps[place] for place in places), key=lambda step: -int(step.parameters["lag"])
        )
        for place, step in zip(places, told, strict=True):
            steps[place] = step
    return ReasoningPattern(tuple(steps))


def _pick(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]
