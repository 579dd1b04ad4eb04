"""The values that flow between rooms: frozen, with read-only arrays.

Items are row numbers of a `Catalog`, users of an `InteractionLog`. Ragged data is flat with
`offsets`: row r is `items[offsets[r]:offsets[r + 1]]`. A chain belongs to a (user, prefix length):
prefix length p means the user's first p items and nothing after.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import TypeAdapter, ValidationError

from scoter.errors import DataError

Part = Literal["valid", "test"]
EvaluationProtocol = Literal["A", "B"]
"""How recommenders are judged: A trains without validation items and ranks the whole catalogue; B
trains again with them, for as many epochs as A chose, and ranks what is new to the user."""
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Cell = str | tuple[str, ...] | float


class Frozen:
    """A dataclass that has read-only copies of its arrays; a caller's array is never shared."""

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray):
                value = value.copy() if value.flags.writeable else value
                value.setflags(write=False)
                object.__setattr__(self, name, value)


class Ragged(Frozen):
    """Rows of any length, one after the other: row r is `items[offsets[r]:offsets[r + 1]]`."""

    items: Int[np.ndarray, " entries"]
    offsets: Int[np.ndarray, " rows_plus_1"]

    @property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Number of items of each row: of a history, the prefix length of its chain."""
        return np.diff(self.offsets)

    def sequence(self, row: int) -> Int[np.ndarray, " length"]:
        """The items of one row, oldest first."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]


def entries_of(
    low: Int[np.ndarray, " rows"], counts: Int[np.ndarray, " rows"]
) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " rows_plus_1"]]:
    """The numbers of the entries that begin at `low`, `counts` of each, and their new offsets.

    >>> entries_of(np.array([5, 0]), np.array([2, 1]))
    (array([5, 6, 0]), array([0, 2, 3]))
    """
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return np.repeat(low - offsets[:-1], counts) + np.arange(offsets[-1]), offsets


@dataclass(frozen=True, eq=False)
class InteractionLog(Ragged):
    """Every user's items, oldest first."""

    items: Int[np.ndarray, " events"]
    offsets: Int[np.ndarray, " users_plus_1"]
    user_keys: tuple[str, ...]
    times: Int[np.ndarray, " events"] | None = None  # seconds since 1970; None where unknown

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.offsets) != len(self.user_keys) + 1 or int(self.offsets[-1]) != len(self.items):
            given = f"offsets (last value {self.offsets[-1]}, {len(self.offsets)} entries)"
            events = f"{len(self.items)} events of {len(self.user_keys)} users"
            raise DataError(f"{given} do not describe {events}; pass one entry per user plus one")

    @property
    def user_count(self) -> int:
        return len(self.user_keys)

    @property
    def histories(self) -> "Histories":
        """Everything that each user has."""
        return Histories(np.arange(self.user_count), self.items, self.offsets)

    def where(self, keep: Bool[np.ndarray, " events"]) -> "InteractionLog":
        """The log of the events where `keep` is true, with all its users."""
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets]
        times = None if self.times is None else self.times[keep]
        return InteractionLog(self.items[keep], offsets, self.user_keys, times)


@dataclass(frozen=True, eq=False)
class Catalog:
    """What is known of each item beforehand; row i is item i.

    A column has one cell per item: `str` (`title`, `brand`, `phrase`, any other), `tuple[str, ...]`
    (`categories`, coarse to fine) or `float` (`price`). An absent value is `''`, `()` or NaN.
    """

    keys: tuple[str, ...]
    columns: Mapping[str, tuple[Cell, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, cells in self.columns.items():
            if len(cells) != len(self.keys):
                counts = f"{len(cells)} cells for {len(self.keys)} items"
                raise DataError(f"catalogue column {name!r} has {counts}")

    @property
    def item_count(self) -> int:
        return len(self.keys)

    def coverage(self, column: str) -> float:
        """Share of items with a value in `column`; 0.0 where the column does not exist."""
        cells = self.columns.get(column, ())
        return sum(_holds_something(cell) for cell in cells) / max(1, self.item_count)

    def has(self, column: str) -> bool:
        """Whether any item has a value in `column`."""
        return any(_holds_something(cell) for cell in self.columns.get(column, ()))


def _holds_something(cell: Cell) -> bool:
    return cell == cell and cell not in ("", ())


@dataclass(frozen=True, eq=False)
class Histories(Ragged):
    """What a recommender may look at: one row per request, and no target anywhere."""

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, " events"]
    offsets: Int[np.ndarray, " rows_plus_1"]

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: Int[np.ndarray, " chosen"]) -> "Histories":
        """The histories of some rows, in the order given."""
        take, offsets = entries_of(self.offsets[rows], self.lengths[rows])
        return Histories(self.users[rows], self.items[take], offsets.astype(np.int64))

    def newest(self, count: int) -> Int[np.ndarray, "rows count"]:
        """The last `count` items of each history, the newest first; -1 where there is none."""
        places = self.offsets[1:, None] - 1 - np.arange(count)
        there = places >= self.offsets[:-1, None]
        return np.where(there, self.items[np.maximum(places, 0)], -1)


@dataclass(frozen=True, eq=False)
class Targets(Frozen):
    """The held-out next item of each row; aligned with the `Histories` of the same part."""

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, " rows"]

    def __len__(self) -> int:
        return len(self.users)


NOBODY = Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Split:
    """Leave-one-out: a user's last item is the test target, the one before the validation target.

    It is what published tables use. Limit: it mixes calendar times, so a model may learn from
    events after another user's test event.
    """

    train: InteractionLog
    valid: Targets
    test: Targets

    @cached_property
    def visible(self) -> Histories:
        """What each user's chains may be written from: training items, then the validation item."""
        users = np.arange(self.train.user_count)
        has_valid = np.isin(users, self.valid.users)
        validation = self.valid.items[np.argsort(self.valid.users)]
        items = np.insert(self.train.items, self.train.offsets[1:][has_valid], validation)
        offsets = np.concatenate([[0], np.cumsum(self.train.lengths + has_valid)])
        return Histories(users, items, offsets)

    def histories(self, part: Part) -> Histories:
        """What may be seen before the target: training items; for test, the validation item too."""
        if part == "valid":
            return self.train.histories.select(self.valid.users)
        return self.visible.select(self.test.users)

    def targets(self, part: Part) -> Targets:
        return {"valid": self.valid, "test": self.test}[part]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have targets; protocol B has none for validation."""
        both: tuple[Part, ...] = ("valid", "test")
        return tuple(part for part in both if len(self.targets(part)))


@dataclass(frozen=True, eq=False)
class SemanticIds(Frozen):
    """One unique tuple of codes per item, coarse to fine, with the collision level if there is one.

    `codebooks[l, c]` is the vector behind code c of level l; a collision level has none.
    """

    codes: Int[np.ndarray, "items levels"]  # codes[i, l] lies in [0, codebook_sizes[l])
    codebook_sizes: tuple[int, ...]
    codebooks: Float[np.ndarray, "quantised size dim"] | None = None  # None where unknown

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codes.ndim != 2 or self.codes.shape[1] != len(self.codebook_sizes):
            levels = len(self.codebook_sizes)
            raise DataError(f"codes of shape {self.codes.shape} do not have {levels} levels")
        if (self.codes < 0).any() or (self.codes >= np.asarray(self.codebook_sizes)).any():
            raise DataError(f"a code lies outside its codebook; sizes are {self.codebook_sizes}")
        if len(np.unique(self.codes, axis=0)) != len(self.codes):
            remedy = "add a collision level (semantic_ids.assign)"
            raise DataError(f"two items share one semantic ID; {remedy}")


@dataclass(frozen=True)
class Step:
    """One role of a pattern, with its parameters, such as `Step('recent_item', {'lag': 1})`."""

    role: str
    parameters: Mapping[str, int | float | str] = field(default_factory=dict)

    def label(self) -> str:
        """A short readable name, unique within a sensible pattern: `recent_item(lag=1)`."""
        inside = ", ".join(f"{key}={value}" for key, value in sorted(self.parameters.items()))
        return f"{self.role}({inside})" if inside else self.role


@dataclass(frozen=True)
class ReasoningPattern:
    """An abstract template of K ordered logical steps (SCoTER, abstract: "pattern")."""

    steps: tuple[Step, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def to_json(self) -> list[Json]:
        """The steps as plain values, in the one form that every file of scoter uses.

        >>> ReasoningPattern((Step("recent_item", {"lag": 1}),)).to_json()
        [{'role': 'recent_item', 'parameters': {'lag': 1}}]
        """
        return [{"role": step.role, "parameters": {**step.parameters}} for step in self.steps]

    def distinct_labels(self) -> list[str]:
        """The label of each step; a `DataError` if two steps have one, whose texts would mix."""
        labels = [step.label() for step in self.steps]
        for label, count in Counter(labels).most_common(1):
            if count > 1:
                remedy = "give each a role or parameters of its own"
                raise DataError(f"the pattern has {count} steps {label!r}; {remedy}")
        return labels

    @classmethod
    def from_json(cls, steps: object) -> "ReasoningPattern":
        """The inverse of `to_json`; `parameters` may be left out, all else is a ValueError."""
        try:
            return cls(_STEPS.validate_python(steps))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise ValueError(f"no list of steps: {place}: {first['msg']}") from None


_STEPS = TypeAdapter(tuple[Step, ...])


@dataclass(frozen=True)
class ReasoningChain:
    """A pattern's textual instance for one user's prefix (SCoTER, abstract: "chain")."""

    user: int
    prefix_length: int  # of the user's items, which are all that the chain was written from
    pattern: ReasoningPattern
    steps: tuple[tuple[str, ...], ...]  # the sentences of each step; empty: nothing to say
    model: str
    prompt_version: str = "1"
    sample: int = 0  # numbers further chains of the same prefix


@dataclass(frozen=True, eq=False)
class StepEmbeddings(Frozen):
    """Ordered step embeddings of every (user, prefix), kept as unique sentences and who uses them.

    The embedding of a step is the mean of its sentences' vectors. Chain c, step k uses the
    sentences `indices[offsets[c * K + k]:offsets[c * K + k + 1]]`; an empty range is a missing
    step. The chain of (user, prefix length p >= 1) is `starts[user] + p - 1`; a user without chains
    has an empty range.
    """

    vectors: Float[np.ndarray, "sentences dim"]
    indices: Int[np.ndarray, " entries"]
    offsets: Int[np.ndarray, " bags_plus_1"]
    starts: Int[np.ndarray, " users_plus_1"]
    pattern: ReasoningPattern
    encoder: str
    named: Int[np.ndarray, " sentences"] | None = None  # the item that each names, -1: none
    # The share of all choices that a step gives to what an entry names, 0 where it says none.
    certainty: Float[np.ndarray, " entries"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.offsets) != int(self.starts[-1]) * len(self.pattern) + 1:
            chains = f"{self.starts[-1]} chains of {len(self.pattern)} steps"
            raise DataError(f"{len(self.offsets)} offsets do not describe {chains}")

    @property
    def step_count(self) -> int:
        return len(self.pattern)

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    def with_entries(
        self,
        taken: Int[np.ndarray, " taken"] | Bool[np.ndarray, " entries"],
        offsets: Int[np.ndarray, " bags_plus_1"],
        pattern: ReasoningPattern,
    ) -> "StepEmbeddings":
        """The same sentences, with some of the entries laid out anew."""
        certainty = None if self.certainty is None else self.certainty[taken]
        entries = {"indices": self.indices[taken], "certainty": certainty}
        return replace(self, offsets=offsets, pattern=pattern, **entries)

    def chain_rows(
        self, users: Int[np.ndarray, " rows"], prefix_lengths: Int[np.ndarray, " rows"]
    ) -> Int[np.ndarray, " rows"]:
        """The chain number of each (user, prefix length), or -1 where no such chain exists."""
        rows = self.starts[users] + prefix_lengths - 1
        return np.where((prefix_lengths >= 1) & (rows < self.starts[users + 1]), rows, -1)

    def dense(
        self, chains: Int[np.ndarray, " rows"]
    ) -> tuple[Float[np.ndarray, "rows steps dim"], Bool[np.ndarray, "rows steps"]]:
        """Step embeddings of some chains and which of them exist; -1 gives zeros and False."""
        bags = chains[:, None] * self.step_count + np.arange(self.step_count)
        bags = np.where(chains[:, None] >= 0, bags, 0)
        counts = np.where(chains[:, None] >= 0, self.offsets[bags + 1] - self.offsets[bags], 0)
        values = np.zeros((len(chains), self.step_count, self.dim), np.float32)
        for row, step in zip(*np.nonzero(counts), strict=True):
            low, high = self.offsets[bags[row, step]], self.offsets[bags[row, step] + 1]
            values[row, step] = self.vectors[self.indices[low:high]].astype(np.float32).mean(axis=0)
        return values, counts > 0


@dataclass(frozen=True, eq=False)
class Rankings(Frozen):
    """The best items for each row, best first."""

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, "rows k"]  # -1: no further valid item exists
    scores: Float[np.ndarray, "rows k"]  # in nats

    def unseen(self, histories: Histories, k: int) -> "Rankings":
        """The `k` best of each row that its history does not hold; -1 where there are fewer.

        >>> asked = Histories(np.array([0]), np.array([7, 9]), np.array([0, 2]))
        >>> best = Rankings(np.array([0]), np.array([[7, 5, 9, 4]]), np.zeros((1, 4)))
        >>> best.unseen(asked, 3).items.tolist()
        [[5, 4, -1]]
        """
        rows = np.arange(len(self.items))
        width = 1 + max(int(items.max(initial=0)) for items in (self.items, histories.items))
        held = np.repeat(rows, histories.lengths) * width + histories.items
        kept = (self.items >= 0) & ~np.isin(rows[:, None] * width + self.items, held)
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        kept, items, scores = (
            np.take_along_axis(each, order, axis=1) for each in (kept, self.items, self.scores)
        )
        items, scores = np.where(kept, items, -1), np.where(kept, scores, -np.inf)
        return Rankings(self.users, items, scores.astype(self.scores.dtype))


@dataclass(frozen=True, eq=False)
class UserMetrics(Frozen):
    """The rank of each user's target among the items returned."""

    users: Int[np.ndarray, " rows"]
    ranks: Int[np.ndarray, " rows"]  # from 1; 0 where it is not among them
    depth: int  # how many items were returned
    # The items before the target (in all the list, if it is a miss) that the user has not had yet;
    # -1: the user has had the target. None where it was not counted.
    unseen_before: Int[np.ndarray, " rows"] | None = None
