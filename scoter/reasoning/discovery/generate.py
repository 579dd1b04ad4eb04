"""Generate: varied patterns, and a held-in sample of users to try them on.

The paper samples patterns from a language model by nucleus sampling; here a seeded grammar does. A
pattern is a shuffled list of moves and a final one that names what comes next. A move is one
offered step, or a trail: the same field of the last n items, oldest first; or a ladder: the n best
items, each a step of its own that says how sure it is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.reasoner import ROLES, offered_steps, ranked_steps
from scoter.seeding import derive_seed
from scoter.types import NOBODY, Catalog, ReasoningPattern, Split, Step, Targets

TRAIL_LENGTHS = (2, 3, 4)
LADDERS = (3, 5, 10, 20)
CHANGES = ("drop", "put in", "replace", "exchange", "other last move", "join")
_MOST_VAIN_DRAWS = 2000

Move = tuple[Step, ...]
Choice = TypeVar("Choice")


@dataclass(frozen=True, eq=False)
class HeldIn:
    """Users whose last *training* item is the target."""

    users: Int[np.ndarray, " rows"]
    prefix_lengths: Int[np.ndarray, " rows"]  # of the training items before the target
    targets: Int[np.ndarray, " rows"]

    def __len__(self) -> int:
        return len(self.users)


def hold_in(split: Split, config: DiscoverConfig, seed: int) -> tuple[HeldIn, HeldIn]:
    """`config.users` users to choose patterns on, and `config.fresh_users` others to confirm on.

    The target of each is the last item of the user's *training* part, and the chain sees the
    training items before it. Targets of validation and test are in neither.
    """
    lengths = split.train.lengths
    able = np.flatnonzero(lengths >= 2)
    wanted = config.users + config.fresh_users
    if min(config.users, config.fresh_users) < 4 or len(able) < wanted:
        raise ConfigError(
            f"discover.users={config.users} and discover.fresh_users={config.fresh_users} need "
            f"{wanted} users with two training items, at least 4 each; this log has {len(able)}. "
            "Set both to fit"
        )
    chosen = np.random.default_rng(derive_seed(seed, "held-in users")).permutation(able)[:wanted]
    targets = split.train.items[split.train.offsets[1:][chosen] - 1]
    parts = (slice(0, config.users), slice(config.users, wanted))
    tried, fresh = (HeldIn(chosen[at], lengths[chosen[at]] - 1, targets[at]) for at in parts)
    return tried, fresh


def without_targets(split: Split, samples: Sequence[HeldIn]) -> Split:
    """A split whose training part lacks the held-in targets, which are its validation targets.

    It has no test targets, so nothing can be learned from them.

    >>> from scoter.types import InteractionLog
    >>> log = InteractionLog(np.array([7, 8, 9]), np.array([0, 3]), ("ann",))
    >>> held = HeldIn(np.array([0]), np.array([2]), np.array([9]))
    >>> without_targets(Split(log, NOBODY, NOBODY), [held]).train.items.tolist()
    [7, 8]
    """
    users = np.concatenate([sample.users for sample in samples])
    targets = np.concatenate([sample.targets for sample in samples])
    log, order = split.train, np.argsort(users)
    keep = np.ones(len(log.items), bool)
    keep[log.offsets[1:][users] - 1] = False
    return Split(log.where(keep), Targets(users[order], targets[order]), NOBODY)


def generate(catalog: Catalog, config: DiscoverConfig, seed: int) -> tuple[ReasoningPattern, ...]:
    """`config.patterns` distinct patterns of `min_steps` to `max_steps` steps.

    A ladder counts as one step.
    """
    if not 2 <= config.min_steps <= config.max_steps:
        given = f"discover.min_steps={config.min_steps} and max_steps={config.max_steps}"
        raise ConfigError(f"{given}: need 2 <= min_steps <= max_steps")
    grammar = _grammar(catalog, config, derive_seed(seed, "patterns"))
    patterns: dict[tuple[str, ...], ReasoningPattern] = {}
    vain = 0
    while len(patterns) < config.patterns and vain < _MOST_VAIN_DRAWS:
        length = int(grammar.rng.integers(config.min_steps, config.max_steps + 1))
        pattern = ReasoningPattern((*grammar.fill(length - 1), *grammar.final()))
        name = labels(pattern)
        new = len(set(name)) == len(pattern) and name not in patterns
        if new:
            patterns[name] = pattern
        vain = 0 if new else vain + 1
    if len(patterns) < config.patterns:
        distinct = f"but only {len(patterns)} distinct patterns were found; ask for fewer"
        raise ConfigError(f"discover.patterns={config.patterns}, {distinct}")
    return tuple(patterns.values())


def vary(
    seeds: Sequence[ReasoningPattern],
    catalog: Catalog,
    config: DiscoverConfig,
    known: Collection[tuple[str, ...]],
    count: int,
    seed: int,
) -> tuple[ReasoningPattern, ...]:
    """At most `count` new patterns near the `seeds`, none of which is among the labels `known`.

    Each is a seed with one or two `CHANGES`; there may be fewer than `count` of them. Recent items
    are put oldest first, since patterns that differ only in that score alike.
    """
    grammar = _grammar(catalog, config, derive_seed(seed, "variations"))
    patterns: dict[tuple[str, ...], ReasoningPattern] = {}
    for _ in range(_MOST_VAIN_DRAWS):
        if len(patterns) == count:
            break
        parts = moves(grammar.pick(seeds))
        for _ in range(int(grammar.rng.integers(1, 3))):
            parts = grammar.changed(parts, moves(grammar.pick(seeds)))
        pattern = _oldest_first([step for move in parts for step in move])
        name = labels(pattern)
        fits = config.min_steps <= len(moves(pattern)) <= config.max_steps
        if fits and len(set(name)) == len(pattern) and name not in known:
            patterns.setdefault(name, pattern)
    return tuple(patterns.values())


def labels(pattern: ReasoningPattern) -> tuple[str, ...]:
    """The steps' names, which identify a pattern."""
    return tuple(step.label() for step in pattern.steps)


def moves(pattern: ReasoningPattern) -> list[Move]:
    """A pattern's steps one by one, and its ladders as a whole.

    >>> best = [Step("recommendation", {"rank": rank}) for rank in (1, 2)]
    >>> [len(move) for move in moves(ReasoningPattern((Step("price_band"), *best)))]
    [1, 2]
    """
    parts: list[Move] = []
    for step in pattern.steps:
        rank = step.parameters.get("rank", 1)
        before = parts[-1][-1] if parts else None
        if before is not None and int(rank) > 1 and before == _with_rank(step, int(rank) - 1):
            parts[-1] = (*parts[-1], step)
        else:
            parts.append((step,))
    return parts


def ladder(step: Step, count: int) -> Move:
    """The `count` best items of a step that names items, a step each."""
    return tuple(_with_rank(step, rank) for rank in range(1, count + 1))


def _with_rank(step: Step, rank: int) -> Step:
    return Step(step.role, {**step.parameters, "rank": rank})


@dataclass(frozen=True, eq=False)
class _Grammar:
    # Choices in two stages give each family the same chance.
    families: list[list[Move]]  # moves by role, and the trails
    finals: list[list[Move]]  # last moves by role, and the ladders
    rng: np.random.Generator = field(repr=False)

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.rng.integers(len(choices)))]

    def move(self) -> Move:
        return self.pick(self.pick(self.families))

    def final(self) -> Move:
        return self.pick(self.pick(self.finals))

    def fill(self, room: int) -> list[Step]:
        drawn: list[Move] = []
        while room > 0:
            move = self.move()
            size = 1 if "rank" in move[-1].parameters else len(move)
            if size <= room:
                drawn.append(move)
                room -= size
        return [step for place in self.rng.permutation(len(drawn)) for step in drawn[place]]

    def changed(self, parts: Sequence[Move], other: Sequence[Move]) -> list[Move]:
        """The moves with one of `CHANGES`, which may leave them alike, too long or too short."""
        *before, last = parts
        change = self.pick(CHANGES)
        if change == "other last move":
            return [*before, self.final()]
        if change == "put in" or not before:
            place = int(self.rng.integers(len(before) + 1))
            return [*before[:place], self.move(), *before[place:], last]
        place = int(self.rng.integers(len(before)))
        if change == "drop":
            return [*before[:place], *before[place + 1 :], last]
        if change == "replace":
            return [*before[:place], self.move(), *before[place + 1 :], last]
        if change == "exchange":
            neighbours = before[place : place + 2]
            return [*before[:place], *neighbours[::-1], *before[place + 2 :], last]
        start = int(self.rng.integers(len(other)))
        return [*before[: place + 1], *other[start:-1], other[-1]]


def _grammar(catalog: Catalog, config: DiscoverConfig, seed: int) -> _Grammar:
    offered = offered_steps(catalog)
    families: dict[str, list[Move]] = {}
    for step in offered:
        if step.role != "recommendation":
            families.setdefault(step.role, []).append((step,))
    recent = [step for step in offered if step.role == "recent_item"]
    fields = dict.fromkeys(step.parameters["field"] for step in recent)
    for length in TRAIL_LENGTHS:
        if length < config.max_steps:
            families.setdefault("trail", []).extend(_trail(name, length) for name in fields)
    finals: dict[str, list[Move]] = {}
    for step in offered:
        if ROLES[step.role].final:
            finals.setdefault(step.role, []).append((step,))
    for best in ranked_steps(catalog):
        into = finals if ROLES[best.role].final else families
        into.setdefault(f"ladder of {best.role}", []).extend(ladder(best, n) for n in LADDERS)
    draws = np.random.default_rng(seed)
    return _Grammar(list(families.values()), list(finals.values()), draws)


def _trail(name: int | float | str, length: int) -> Move:
    lags = range(length, 0, -1)
    return tuple(Step("recent_item", {"lag": lag, "field": name}) for lag in lags)


def _oldest_first(steps: Sequence[Step]) -> ReasoningPattern:
    ordered = list(steps)
    places: dict[int | float | str, list[int]] = {}
    for place, step in enumerate(steps):
        if step.role == "recent_item":
            places.setdefault(step.parameters["field"], []).append(place)
    for own in places.values():
        oldest_first = sorted(own, key=lambda place: -int(steps[place].parameters["lag"]))
        for place, source in zip(own, oldest_first, strict=True):
            ordered[place] = steps[source]
    return ReasoningPattern(tuple(ordered))
