"""The values that flow between rooms: frozen, read-only arrays, shapes in the annotations.

Items are row numbers of a `Catalog`, users are row numbers of an `InteractionLog`. Ragged data is
stored flat with `offsets` (row r is `items[offsets[r]:offsets[r + 1]]`), so padding does not exist
here. A chain belongs to a (user, prefix length): prefix length p means "the user's first p items,
and nothing after".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import TypeAdapter, ValidationError

from scoter.errors import DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Part = Literal["valid", "test"]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Cell = str | tuple[str, ...] | float


def _freeze(instance: "DataclassInstance") -> None:
    """Give a frozen dataclass read-only copies of its arrays, so that a caller's array is never
    shared."""
    for spec in fields(instance):
        value = getattr(instance, spec.name)
        if isinstance(value, np.ndarray):
            value = value.copy() if value.flags.writeable else value
            value.setflags(write=False)
            object.__setattr__(instance, spec.name, value)


@dataclass(frozen=True, eq=False)
class InteractionLog:
    """Every user's items, oldest first. `times` are seconds since 1970, or None where the source
    has none."""

    items: Int[np.ndarray, " events"]
    offsets: Int[np.ndarray, " users_plus_1"]
    user_keys: tuple[str, ...]
    times: Int[np.ndarray, " events"] | None = None

    def __post_init__(self) -> None:
        _freeze(self)
        if len(self.offsets) != len(self.user_keys) + 1 or int(self.offsets[-1]) != len(self.items):
            raise DataError(
                f"offsets (last value {self.offsets[-1]}, {len(self.offsets)} entries) do not "
                f"describe {len(self.items)} events of {len(self.user_keys)} users; pass one "
                "entry per user plus one"
            )

    @property
    def user_count(self) -> int:
        return len(self.user_keys)

    @property
    def lengths(self) -> Int[np.ndarray, " users"]:
        """Number of events of each user."""
        return np.diff(self.offsets)

    def sequence(self, user: int) -> Int[np.ndarray, " length"]:
        """The items of one user, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


@dataclass(frozen=True, eq=False)
class Catalog:
    """What is known of each item before anybody buys it; row i is item i.

    `columns` maps a name to one cell per item: text columns (`title`, `brand`, `phrase`, any other)
    hold `str`, list columns (`categories`, coarse to fine) hold `tuple[str, ...]`, numeric columns
    (`price`) hold `float`. An absent value is `''`, `()` or NaN.
    """

    keys: tuple[str, ...]
    columns: Mapping[str, tuple[Cell, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, cells in self.columns.items():
            if len(cells) != len(self.keys):
                raise DataError(
                    f"catalogue column {name!r} has {len(cells)} cells for {len(self.keys)} items"
                )

    @property
    def item_count(self) -> int:
        return len(self.keys)

    def coverage(self, column: str) -> float:
        """Share of items whose cell in `column` holds something; 0.0 where the column does not
        exist."""
        cells = self.columns.get(column, ())
        return sum(_holds_something(cell) for cell in cells) / max(1, self.item_count)

    def has(self, column: str) -> bool:
        """Whether any item has something in `column`."""
        return any(_holds_something(cell) for cell in self.columns.get(column, ()))


def _holds_something(cell: Cell) -> bool:
    return cell == cell and cell not in ("", ())


@dataclass(frozen=True, eq=False)
class Histories:
    """What a recommender may look at: one row per request, and no target anywhere."""

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, " events"]
    offsets: Int[np.ndarray, " rows_plus_1"]

    def __post_init__(self) -> None:
        _freeze(self)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Number of items in each history: the prefix length that a chain is looked up with."""
        return np.diff(self.offsets)

    def sequence(self, row: int) -> Int[np.ndarray, " length"]:
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def select(self, rows: Int[np.ndarray, " chosen"]) -> "Histories":
        """The histories of some rows, in the order given."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        take = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Histories(self.users[rows], self.items[take], offsets)


@dataclass(frozen=True, eq=False)
class Targets:
    """The held-out next item of each row; aligned with the `Histories` of the same part."""

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, " rows"]

    def __post_init__(self) -> None:
        _freeze(self)

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class Split:
    """Leave-one-out: a user's last item is the test target, the one before it the validation
    target.

    Limit: leave-one-out mixes calendar times across users, so a model may learn from events that
    happened after another user's test event. It is what the published tables on these benchmarks
    use.
    """

    train: InteractionLog
    valid: Targets
    test: Targets

    def histories(self, part: Part) -> Histories:
        """What may be seen before the target of `part`: training items, and for test the validation
        item too."""
        users = np.arange(self.train.user_count)
        seen = Histories(users, self.train.items, self.train.offsets)
        if part == "valid":
            return seen.select(self.valid.users)
        ends = self.train.offsets[1:]
        has_valid = np.isin(users, self.valid.users)
        items = np.insert(
            self.train.items, ends[has_valid], self.valid.items[np.argsort(self.valid.users)]
        )
        offsets = np.concatenate([[0], np.cumsum(self.train.lengths + has_valid)])
        return Histories(users, items, offsets).select(self.test.users)

    def targets(self, part: Part) -> Targets:
        return self.valid if part == "valid" else self.test


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """One unique tuple of codes per item, coarse to fine, the collision level included where there
    is one.

    `codes[i, l]` lies in [0, codebook_sizes[l]). No caller ever adds a level: rows are unique.
    `codebooks[l, c]` is the vector behind code c of level l, where it is known; a collision level
    has none.
    """

    codes: Int[np.ndarray, "items levels"]
    codebook_sizes: tuple[int, ...]
    codebooks: Float[np.ndarray, "quantised size dim"] | None = None

    def __post_init__(self) -> None:
        _freeze(self)
        if self.codes.ndim != 2 or self.codes.shape[1] != len(self.codebook_sizes):
            raise DataError(
                f"codes of shape {self.codes.shape} do not have {len(self.codebook_sizes)} levels"
            )
        if (self.codes < 0).any() or (self.codes >= np.asarray(self.codebook_sizes)).any():
            raise DataError(f"a code lies outside its codebook; sizes are {self.codebook_sizes}")
        if len(np.unique(self.codes, axis=0)) != len(self.codes):
            raise DataError(
                "two items share one semantic ID; add a collision level (semantic_ids.assign)"
            )


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

        Example:
            >>> ReasoningPattern((Step("recent_item", {"lag": 1}),)).to_json()
            [{'role': 'recent_item', 'parameters': {'lag': 1}}]
        """
        return [{"role": step.role, "parameters": {**step.parameters}} for step in self.steps]

    @classmethod
    def from_json(cls, steps: object) -> "ReasoningPattern":
        """The inverse of `to_json`; `parameters` may be left out.

        Raises:
            ValueError: `steps` is not a list of steps; the message says where it differs.
        """
        try:
            return cls(_STEPS.validate_python(steps))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise ValueError(f"no list of steps: {place}: {first['msg']}") from None


_STEPS = TypeAdapter(tuple[Step, ...])


@dataclass(frozen=True)
class ReasoningChain:
    """A pattern's textual instance for one user's prefix (SCoTER, abstract: "chain").

    `steps[k]` holds the sentences of step k (usually one; several where a step lists things). An
    empty tuple means that the step has nothing to say. The chain sees the user's first
    `prefix_length` items only.
    """

    user: int
    prefix_length: int
    pattern: ReasoningPattern
    steps: tuple[tuple[str, ...], ...]
    model: str
    prompt_version: str = "1"
    sample: int = 0


@dataclass(frozen=True, eq=False)
class StepEmbeddings:
    """Ordered step embeddings of every (user, prefix), kept as unique sentences and who uses them.

    The embedding of a step is the mean of its sentences' vectors. Chain c, step k uses the
    sentences `indices[offsets[c * K + k]:offsets[c * K + k + 1]]`; an empty range is a missing
    step. The chain of (user, prefix length p >= 1) is `starts[user] + p - 1`; a user without chains
    has an empty range. `named`, where it is known, is the item that a sentence names, -1 where it
    names none, or one of several with that name.
    """

    vectors: Float[np.ndarray, "sentences dim"]
    indices: Int[np.ndarray, " entries"]
    offsets: Int[np.ndarray, " bags_plus_1"]
    starts: Int[np.ndarray, " users_plus_1"]
    pattern: ReasoningPattern
    encoder: str
    named: Int[np.ndarray, " sentences"] | None = None

    def __post_init__(self) -> None:
        _freeze(self)
        if len(self.offsets) != int(self.starts[-1]) * len(self.pattern) + 1:
            raise DataError(
                f"{len(self.offsets)} offsets do not describe {self.starts[-1]} chains of "
                f"{len(self.pattern)} steps"
            )

    @property
    def step_count(self) -> int:
        return len(self.pattern)

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

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
class Rankings:
    """The best items for each row, best first. -1 means that no further valid item exists; scores
    in nats."""

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, "rows k"]
    scores: Float[np.ndarray, "rows k"]

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, eq=False)
class UserMetrics:
    """The 1-based rank of each user's target among the `depth` items returned; 0 where it is not
    among them."""

    users: Int[np.ndarray, " rows"]
    ranks: Int[np.ndarray, " rows"]
    depth: int

    def __post_init__(self) -> None:
        _freeze(self)
