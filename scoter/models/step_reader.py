"""What recommenders read of chains: sources of step embeddings, and encoded chains."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.protocols import Fusion, StepSource
from scoter.types import StepEmbeddings

NOT_GROUNDED = "these chains do not say which items they name, and steps vote; ground them first"

Rows: TypeAlias = Int[Tensor, " rows"]
Dense: TypeAlias = tuple[Float[Tensor, "rows steps dim"], Bool[Tensor, "rows steps"]]
Shared: TypeAlias = tuple[
    Float[Tensor, "distinct dim"], Int[Tensor, "rows steps"], Bool[Tensor, "rows steps"]
]


@dataclass
class ChainMemory:
    """Encoded slots of a batch of chains, with the attention bias that hides missing steps."""

    slots: Float[Tensor, "rows slots dim"]
    bias: Float[Tensor, "rows 1 1 slots"]
    keys_values: dict[int, tuple[Tensor, Tensor]]  # of each layer, kept for the next read
    named: Int[Tensor, "rows steps"] | None = None  # items named, -1 for none; where steps vote
    certainty: Float[Tensor, "rows steps"] | None = None  # shares stated for them, 0 for none

    def of(self, chosen: Int[Tensor, " chosen"]) -> "ChainMemory":
        """The memory of some rows."""
        votes = (None if x is None else x[chosen] for x in (self.named, self.certainty))
        return ChainMemory(self.slots[chosen], self.bias[chosen], {}, *votes)


def read_chains(
    fusion: Fusion | None, steps: StepSource | None, users: Rows, prefix_lengths: Rows
) -> ChainMemory | None:
    """The encoded chains of these users' prefixes; None without a fusion."""
    if fusion is None:
        return None
    if steps is None:
        raise ConfigError("steps is None, but this model has a fusion; pass steps=StepReader(...)")
    return fusion.read(steps, users, prefix_lengths)


class Unshared(ABC):
    """A source that reads each step by itself, as is best where few users are read at once."""

    @abstractmethod
    def read(self, users: Rows, prefix_lengths: Rows) -> Dense: ...

    def read_shared(self, users: Rows, prefix_lengths: Rows) -> Shared:
        """What `read` gives, in the shared form."""
        values, mask = self.read(users, prefix_lengths)
        place = torch.arange(mask.numel(), device=mask.device).view(mask.shape)
        return values.flatten(0, 1), place, mask


class StepReader:
    """The chains of any (user, prefix length) of a table, on a device."""

    def __init__(self, steps: StepEmbeddings, device: torch.device | str = "cpu") -> None:
        whole = (steps.indices, steps.offsets, steps.starts)
        self.vectors = torch.from_numpy(steps.vectors.astype(np.float32)).to(device)
        self.indices, self.offsets, self.starts = (_on(device, array) for array in whole)
        self.step_count = steps.step_count
        self.items = None if steps.named is None else _on(device, steps.named)
        self.stated: Tensor | None = None  # how sure each entry is
        if steps.certainty is not None:
            self.stated = torch.from_numpy(steps.certainty.astype(np.float32)).to(device)

    @cached_property
    def distinct(self) -> tuple[Int[Tensor, " bags"], Int[Tensor, " distinct"]]:
        """A number for what each step of each chain says, and a step that says it."""
        found = distinct_bags(self.indices.cpu().numpy(), self.offsets.cpu().numpy())
        numbers, example = (torch.from_numpy(part).to(self.indices.device) for part in found)
        return numbers, example

    def named(self, users: Rows, prefix_lengths: Rows) -> Int[Tensor, "rows steps"]:
        """The item that each step names, -1 where it names none or says several sentences."""
        if self.items is None:
            raise ConfigError(NOT_GROUNDED)
        low, counts = self._bags(users, prefix_lengths)
        items = torch.full_like(low, -1)
        if len(self.indices):
            first = self.items[self.indices[low.clamp(max=len(self.indices) - 1)]]
            items = torch.where(counts == 1, first, -1)
        return items.view(len(users), self.step_count)

    def certainty(self, users: Rows, prefix_lengths: Rows) -> Float[Tensor, "rows steps"]:
        """The share that each step states for what it names, 0 where it states none."""
        low, counts = self._bags(users, prefix_lengths)
        shares = torch.zeros(len(low))
        if self.stated is not None and len(self.stated):
            first = self.stated[low.clamp(max=len(self.stated) - 1)]
            shares = torch.where(counts == 1, first, 0.0)
        return shares.view(len(users), self.step_count)

    def read(self, users: Rows, prefix_lengths: Rows) -> Dense:
        """Mean sentence vector of each step, zeros where the step or the whole chain is missing."""
        low, counts = self._bags(users, prefix_lengths)
        shape = (len(users), self.step_count)
        return self._means(low, counts).view(*shape, -1), (counts > 0).view(shape)

    def read_shared(self, users: Rows, prefix_lengths: Rows) -> Shared:
        """The distinct vectors, which of them each step is (any, where it is missing), the mask."""
        rows, known = self._rows(users, prefix_lengths)
        bags = rows[:, None] * self.step_count + torch.arange(self.step_count)
        mask = (self.offsets[bags + 1] > self.offsets[bags]) & known[:, None]
        numbers, example = self.distinct
        used, place = numbers[bags].unique(return_inverse=True)
        low = self.offsets[example[used]]
        return self._means(low, self.offsets[example[used] + 1] - low), place, mask

    def _means(
        self, low: Int[Tensor, " bags"], counts: Int[Tensor, " bags"]
    ) -> Float[Tensor, "bags dim"]:
        ends = counts.cumsum(0)
        total = int(ends[-1]) if len(ends) else 0
        flat = torch.repeat_interleave(low - (ends - counts), counts) + torch.arange(total)
        bags, start = self.indices[flat], ends - counts
        return torch.nn.functional.embedding_bag(bags, self.vectors, start, mode="mean")

    def _rows(self, users: Rows, prefix_lengths: Rows) -> tuple[Tensor, Tensor]:
        """Each chain's row among all, 0 where there is no such chain, and whether there is."""
        rows = self.starts[users] + prefix_lengths - 1
        known = (prefix_lengths >= 1) & (rows < self.starts[users + 1])
        return torch.where(known, rows, 0), known

    def _bags(self, users: Rows, prefix_lengths: Rows) -> tuple[Tensor, Tensor]:
        rows, known = self._rows(users, prefix_lengths)
        bags = (rows[:, None] * self.step_count + torch.arange(self.step_count)).flatten()
        low = self.offsets[bags]
        return low, (self.offsets[bags + 1] - low) * known.repeat_interleave(self.step_count)


def _on(device: torch.device | str, array: Int[np.ndarray, " n"]) -> Int[Tensor, " n"]:
    return torch.from_numpy(array.astype(np.int64)).to(device)


class Redirected:
    """A source that looks up other users or prefix lengths in another than it is asked for."""

    def __init__(
        self, source: StepSource, where: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> None:
        self.source, self.where = source, where

    def read(self, users: Rows, prefix_lengths: Rows) -> Dense:
        return self.source.read(*self.where(users, prefix_lengths))

    def read_shared(self, users: Rows, prefix_lengths: Rows) -> Shared:
        return self.source.read_shared(*self.where(users, prefix_lengths))

    def named(self, users: Rows, prefix_lengths: Rows) -> Int[Tensor, "rows steps"]:
        return self.source.named(*self.where(users, prefix_lengths))

    def certainty(self, users: Rows, prefix_lengths: Rows) -> Float[Tensor, "rows steps"]:
        return self.source.certainty(*self.where(users, prefix_lengths))


def newest_reader(source: StepSource) -> StepSource:
    """A source over a table with one chain a user, found whatever the prefix length."""
    return Redirected(source, lambda users, lengths: (users, torch.ones_like(lengths)))


class FixedStepReader(Unshared, StepReader):
    """A reader whose shapes depend on the number of rows alone, so that nothing waits for a GPU.

    Each step takes as many sentences as the longest one has; a GPU reads what is too much faster
    than it can say how much that is.
    """

    def __init__(self, steps: StepEmbeddings, device: torch.device | str = "cpu") -> None:
        StepReader.__init__(self, steps, device)
        self.most = int(np.diff(steps.offsets).max(initial=0))

    def read(self, users: Rows, prefix_lengths: Rows) -> Dense:
        return StepReader.read(self, users, prefix_lengths)

    def _means(
        self, low: Int[Tensor, " bags"], counts: Int[Tensor, " bags"]
    ) -> Float[Tensor, "bags dim"]:
        place = torch.arange(self.most)
        there = place < counts[:, None]
        values = self.vectors[self.indices[torch.where(there, low[:, None] + place, 0)]]
        return (values * there[..., None]).sum(1) / counts.clamp(min=1)[:, None]


def open_reader(steps: StepEmbeddings, device: torch.device) -> StepReader:
    """The reader of a table that suits a device."""
    return (StepReader if device.type == "cpu" else FixedStepReader)(steps, device)


def distinct_bags(
    indices: Int[np.ndarray, " entries"], offsets: Int[np.ndarray, " bags_and_one"]
) -> tuple[Int[np.ndarray, " bags"], Int[np.ndarray, " distinct"]]:
    """A number for what each bag holds, equal for equal bags, and for each number such a bag.

    >>> numbers, example = distinct_bags(np.array([7, 4, 7, 7]), np.array([0, 1, 3, 3, 4]))
    >>> bool(numbers[0] == numbers[3]), len(example), example[numbers[0]].item()
    (True, 3, 0)
    """
    lengths = np.diff(offsets)
    contents, example, count = np.zeros(len(lengths), np.int64), [], 0
    for length in np.unique(lengths).tolist():
        bags = np.flatnonzero(lengths == length)
        held = indices[offsets[bags][:, None] + np.arange(length)]
        order = np.lexsort(held.T) if length else np.arange(len(bags))
        ordered = held[order]
        new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
        contents[bags[order]] = count + np.cumsum(new) - 1
        example.append(bags[order][new])
        count += int(new.sum())
    return contents, np.concatenate(example) if example else np.zeros(0, np.int64)
