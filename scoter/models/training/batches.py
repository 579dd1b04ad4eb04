"""From ragged logs to padded batches: windows of a user's items, bucketed by length, and their
chains.

A window is a run of one user's items. Its first item is only ever input; every later item from
`first_target` on is a target, predicted from the items of the window before it. Each event but a
user's first is a target of exactly one window. A user with at most `max_items + 1` items is one
window. Longer users get overlapping windows, so that each target sees between half of `max_items`
and all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.types import Histories, InteractionLog, StepEmbeddings


@dataclass(frozen=True, eq=False)
class Windows:
    """Window w holds items `begin[w]:end[w]` of the flat log; targets start at `first_target[w]`
    (flat too)."""

    users: Int[np.ndarray, " windows"]
    begin: Int[np.ndarray, " windows"]
    end: Int[np.ndarray, " windows"]
    first_target: Int[np.ndarray, " windows"]


def cut_windows(log: InteractionLog, max_items: int) -> Windows:
    """Windows of at most `max_items + 1` items that cover every target once.

    Example:
        >>> log = InteractionLog(np.arange(7), np.array([0, 2, 7]), ("a", "b"))
        >>> windows = cut_windows(log, max_items=2)
        >>> list(zip(windows.begin.tolist(), windows.end.tolist(), windows.first_target.tolist()))
        [(0, 2, 1), (2, 5, 3), (3, 6, 5), (4, 7, 6)]
    """
    stride = max(1, max_items // 2)
    rows = []
    for user, (low, high) in enumerate(
        zip(log.offsets[:-1].tolist(), log.offsets[1:].tolist(), strict=True)
    ):
        if high - low < 2:
            continue
        end = min(low + max_items + 1, high)
        rows.append((user, low, end, low + 1))
        while end < high:
            covered, end = end, min(end + stride, high)
            rows.append((user, end - max_items - 1, end, covered))
    return Windows(*np.array(rows, np.int64).reshape(-1, 4).T)


@dataclass(frozen=True, eq=False)
class ItemBatch:
    """Left-aligned windows. Position t of `items` is the target at column t - 1 of `is_target` and
    `chains`.

    `items` is -1 beyond a window's end. `prefix_lengths[b, t - 1]` counts the user's items before
    position t.
    """

    items: Int[Tensor, "rows length"]
    is_target: Bool[Tensor, "rows targets"]
    users: Int[Tensor, " rows"]
    prefix_lengths: Int[Tensor, "rows targets"]

    def to(self, device: torch.device) -> "ItemBatch":
        """The same batch on another device."""
        return ItemBatch(
            *(
                part.to(device)
                for part in (self.items, self.is_target, self.users, self.prefix_lengths)
            )
        )

    def share(self, rank: int, world: int) -> "ItemBatch":
        """Every `world`-th row from row `rank` on, with the padding of the whole; no row where
        there are too few.

        Example:
            >>> column = torch.ones(3, 1, dtype=torch.long)
            >>> batch = ItemBatch(
            ...     torch.arange(6).view(3, 2), column.bool(), torch.arange(3), column
            ... )
            >>> (
            ...     batch.share(0, 2).users.tolist(),
            ...     batch.share(1, 2).users.tolist(),
            ...     len(batch.share(3, 4).users),
            ... )
            ([0, 2], [1], 0)
        """
        return ItemBatch(
            *(
                part[rank::world]
                for part in (self.items, self.is_target, self.users, self.prefix_lengths)
            )
        )

    @property
    def target_count(self) -> int:
        return int(self.is_target.sum())

    @property
    def first_target(self) -> int:
        """The first column of `is_target` that holds any target: what comes before is context in
        every row."""
        return int(self.is_target.any(dim=0).to(torch.uint8).argmax())


def training_batches(
    log: InteractionLog, windows: Windows, target_budget: int, seed: int
) -> list[ItemBatch]:
    """All windows in random batches of similar length and context, each padded to at most
    `target_budget` targets."""
    rng = np.random.default_rng(seed)
    lengths = windows.end - windows.begin
    order = np.lexsort((rng.random(len(lengths)), windows.first_target - windows.begin, lengths))
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order) and (lengths[order[stop]] - 1) * (stop + 1 - start) <= target_budget
        ):
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return [_pad(log, windows, batches[index]) for index in rng.permutation(len(batches))]


def _pad(log: InteractionLog, windows: Windows, chosen: Int[np.ndarray, " rows"]) -> ItemBatch:
    begin, end = windows.begin[chosen], windows.end[chosen]
    length = int((end - begin).max())
    flat = begin[:, None] + np.arange(length)
    inside = flat < end[:, None]
    items = np.where(inside, log.items[np.minimum(flat, len(log.items) - 1)], -1)
    is_target = (inside & (flat >= windows.first_target[chosen][:, None]))[:, 1:]
    users = windows.users[chosen]
    prefix_lengths = (flat - log.offsets[users][:, None])[:, 1:]
    return ItemBatch(
        torch.from_numpy(items.astype(np.int64)),
        torch.from_numpy(is_target),
        torch.from_numpy(users.astype(np.int64)),
        torch.from_numpy(prefix_lengths.astype(np.int64)),
    )


def history_batches(
    histories: Histories, max_items: int, rows: int
) -> Iterator[tuple[Int[np.ndarray, " batch"], Int[Tensor, "batch length"], Int[Tensor, " batch"]]]:
    """(row numbers, the last `max_items` items left-aligned with -1 beyond, how many) in order of
    length."""
    lengths = np.minimum(histories.lengths, max_items)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        count = lengths[chosen]
        flat = (histories.offsets[chosen + 1] - count)[:, None] + np.arange(
            max(1, int(count.max()))
        )
        inside = flat < histories.offsets[chosen + 1][:, None]
        items = np.where(
            inside, histories.items[np.minimum(flat, max(0, len(histories.items) - 1))], -1
        )
        yield (
            chosen,
            torch.from_numpy(items.astype(np.int64)),
            torch.from_numpy(count.astype(np.int64)),
        )


NOT_GROUNDED = (
    "these chains do not say which items they name, and steps have votes here; ground them first"
)


@runtime_checkable
class StepSource(Protocol):
    """What a recommender asks for chains."""

    def read(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows steps dim"], Bool[Tensor, "rows steps"]]:
        """Each row's step embeddings in order, and which of them exist."""
        ...

    def named(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> Int[Tensor, "rows steps"]:
        """The item that each step names, -1 where it names none; asked for where steps have
        votes."""
        ...


def encode_chains(
    fusion: Any,
    steps: StepSource | None,
    users: Int[Tensor, " rows"],
    prefix_lengths: Int[Tensor, " rows"],
) -> Any:
    """What `fusion` makes of the chains of these users' prefixes; what several steps say is read
    once where that can be.

    Raises:
        ConfigError: `steps` is None.
    """
    if steps is None:
        raise ConfigError("steps is None, but this model has a fusion; pass steps=StepReader(...)")
    named = () if fusion.votes is None else (steps.named(users, prefix_lengths),)
    if fusion.shares_steps and isinstance(steps, StepReader):
        return fusion.encode_shared(*steps.read_shared(users, prefix_lengths), *named)
    return fusion.encode(*steps.read(users, prefix_lengths), *named)


class StepReader:
    """`StepEmbeddings` as tensors: the chains of any (user, prefix length) as dense steps and a
    mask."""

    def __init__(self, steps: StepEmbeddings, device: torch.device | str = "cpu") -> None:
        self.vectors = torch.from_numpy(steps.vectors.astype(np.float32)).to(device)
        self.indices = torch.from_numpy(steps.indices.astype(np.int64)).to(device)
        self.offsets = torch.from_numpy(steps.offsets.astype(np.int64)).to(device)
        self.starts = torch.from_numpy(steps.starts.astype(np.int64)).to(device)
        self.step_count = steps.step_count
        self.items = (
            None
            if steps.named is None
            else torch.from_numpy(steps.named.astype(np.int64)).to(device)
        )

    @cached_property
    def distinct(self) -> tuple[Int[Tensor, " bags"], Int[Tensor, " distinct"]]:
        """A number for what each step of each chain says, and for each number one that says it;
        made when first asked for."""
        numbers, example = distinct_bags(self.indices.cpu().numpy(), self.offsets.cpu().numpy())
        return torch.from_numpy(numbers).to(self.indices.device), torch.from_numpy(example).to(
            self.indices.device
        )

    def named(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> Int[Tensor, "rows steps"]:
        """The item that each step names, -1 where it names none or says several sentences."""
        low, counts = self._bags(users, prefix_lengths)
        return only_item(self.items, self.indices, low, counts).view(len(users), self.step_count)

    def read(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows steps dim"], Bool[Tensor, "rows steps"]]:
        """Mean sentence vector of each step, zeros where the step or the whole chain is missing."""
        low, counts = self._bags(users, prefix_lengths)
        shape = (len(users), self.step_count)
        return self._means(low, counts).view(*shape, -1), (counts > 0).view(shape)

    def read_shared(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[
        Float[Tensor, "distinct dim"], Int[Tensor, "rows steps"], Bool[Tensor, "rows steps"]
    ]:
        """The same with what several steps say read once: the distinct vectors, which of them each
        step is, and the mask.

        A step that is missing may be any of them.
        """
        rows, known = self._rows(users, prefix_lengths)
        bags = rows[:, None] * self.step_count + torch.arange(self.step_count)
        mask = (self.offsets[bags + 1] > self.offsets[bags]) & known[:, None]
        numbers, example = self.distinct
        said, place = numbers[bags].unique(return_inverse=True)
        low = self.offsets[example[said]]
        return self._means(low, self.offsets[example[said] + 1] - low), place, mask

    def _means(
        self, low: Int[Tensor, " bags"], counts: Int[Tensor, " bags"]
    ) -> Float[Tensor, "bags dim"]:
        ends = counts.cumsum(0)
        flat = torch.repeat_interleave(low - (ends - counts), counts) + torch.arange(
            int(ends[-1]) if len(ends) else 0
        )
        return torch.nn.functional.embedding_bag(
            self.indices[flat], self.vectors, ends - counts, mode="mean"
        )

    def _rows(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[Tensor, Tensor]:
        """Each chain's row among all, 0 where there is no such chain, and whether there is."""
        rows = self.starts[users] + prefix_lengths - 1
        known = (prefix_lengths >= 1) & (rows < self.starts[users + 1])
        return torch.where(known, rows, 0), known

    def _bags(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[Tensor, Tensor]:
        """Where each step's sentences begin in `indices`, and how many there are."""
        rows, known = self._rows(users, prefix_lengths)
        bags = (rows[:, None] * self.step_count + torch.arange(self.step_count)).flatten()
        low = self.offsets[bags]
        return low, (self.offsets[bags + 1] - low) * known.repeat_interleave(self.step_count)


def distinct_bags(
    indices: Int[np.ndarray, " entries"], offsets: Int[np.ndarray, " bags_and_one"]
) -> tuple[Int[np.ndarray, " bags"], Int[np.ndarray, " distinct"]]:
    """A number for what each bag holds, equal for equal bags, and for each number a bag that holds
    it.

    Example:
        >>> numbers, example = distinct_bags(
        ...     np.array([7, 4, 7, 7, 4]), np.array([0, 1, 3, 3, 4, 5])
        ... )
        >>> bool(numbers[0] == numbers[3]), len(example), example[numbers[0]].item()
        (True, 4, 0)
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


def only_item(
    items: Int[Tensor, " sentences"] | None,
    indices: Int[Tensor, " entries"],
    low: Int[Tensor, " bags"],
    counts: Int[Tensor, " bags"],
) -> Int[Tensor, " bags"]:
    """The item that each bag's only sentence names; -1 where it names none, and where there are
    several sentences or none."""
    if items is None:
        raise ConfigError(NOT_GROUNDED)
    if not len(indices):
        return torch.full_like(low, -1)
    return torch.where(counts == 1, items[indices[low.clamp(max=len(indices) - 1)].long()], -1)
