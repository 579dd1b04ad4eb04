"""From ragged logs to padded batches: windows of users' items, bucketed by length.

A window is a run of one user's items. Its items from `first_target` on are targets, each predicted
from the items of the window before it. Every interaction but a user's first is a target of exactly
one window. A user with at most `max_items + 1` items is one window. Longer users get overlapping
windows, so that each target sees between half of `max_items` and all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoter.types import Histories, InteractionLog


@dataclass(frozen=True, eq=False)
class Windows:
    """Window w holds the items `begin[w]:end[w]` of the flat log."""

    users: Int[np.ndarray, " windows"]
    begin: Int[np.ndarray, " windows"]
    end: Int[np.ndarray, " windows"]
    first_target: Int[np.ndarray, " windows"]  # in the flat log too


def cut_windows(log: InteractionLog, max_items: int) -> Windows:
    """Windows of at most `max_items + 1` items that cover every target once.

    >>> log = InteractionLog(np.arange(7), np.array([0, 2, 7]), ("a", "b"))
    >>> windows = cut_windows(log, max_items=2)
    >>> list(zip(windows.begin.tolist(), windows.end.tolist(), windows.first_target.tolist()))
    [(0, 2, 1), (2, 5, 3), (3, 6, 5), (4, 7, 6)]
    """
    stride = max(1, max_items // 2)
    rows = []
    for user, (low, high) in enumerate(pairwise(log.offsets.tolist())):
        if high - low < 2:
            continue
        end = min(low + max_items + 1, high)
        rows.append((user, low, end, low + 1))
        while end < high:
            covered, end = end, min(end + stride, high)
            rows.append((user, end - max_items - 1, end, covered))
    return Windows(*np.array(rows, np.int64).reshape(-1, 4).T)


class ItemBatch(NamedTuple):
    """Left-aligned windows; item t of a row is the target at column t - 1 of `is_target`."""

    items: Int[Tensor, "rows length"]  # -1 beyond a window's end
    is_target: Bool[Tensor, "rows targets"]
    users: Int[Tensor, " rows"]
    prefix_lengths: Int[Tensor, "rows targets"]  # the user's items before each target

    def to(self, device: torch.device) -> "ItemBatch":
        return self._make(part.to(device) for part in self)

    def share(self, rank: int, world: int) -> "ItemBatch":
        """Every `world`-th row from row `rank` on, with the padding of the whole; perhaps none."""
        return ItemBatch(*(part[rank::world] for part in self))

    @property
    def target_count(self) -> int:
        return int(self.is_target.sum())

    @property
    def first_target(self) -> int:
        """The first column of `is_target` that holds any target: before it, all is context."""
        return int(self.is_target.any(dim=0).to(torch.uint8).argmax())

    @property
    def places(self) -> tuple[Int[Tensor, " targets"], Int[Tensor, " targets"]]:
        """The row, and the column of `is_target`, of each target."""
        row, column = self.is_target.nonzero(as_tuple=True)
        return row, column

    @property
    def targets(self) -> Int[Tensor, " targets"]:
        """The items to predict."""
        row, column = self.places
        return self.items[row, column + 1]

    @property
    def histories(self) -> Int[Tensor, "targets length"]:
        """The items of the row before each target, -1 beyond."""
        row, column = self.places
        before = torch.arange(self.items.shape[1]) <= column[:, None]
        return torch.where(before, self.items[row], -1)

    def mean(self, values: Float[Tensor, " targets"]) -> Float[Tensor, ""]:
        """The mean over the targets of a value of each."""
        return values.mean()


class PaddedBatch(ItemBatch):
    """A batch in a shape of its own, whatever it holds: rows and columns may have no target.

    Every column is the place of a target, of item 0 beyond a window's end; where `is_target` is
    false it has no weight in `mean`. No shape depends on what a tensor holds, so that nothing has
    to wait for a GPU.
    """

    @property
    def first_target(self) -> int:
        return 0

    @property
    def places(self) -> tuple[Int[Tensor, " columns"], Int[Tensor, " columns"]]:
        rows, columns = self.is_target.shape
        return torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)

    @property
    def targets(self) -> Int[Tensor, " columns"]:
        return super().targets.clamp(min=0)

    def mean(self, values: Float[Tensor, " columns"]) -> Float[Tensor, ""]:
        weights = self.is_target.flatten().to(values.dtype)
        return (values * weights).sum() / weights.sum()


def training_batches(
    log: InteractionLog, windows: Windows, target_budget: int, seed: int
) -> list[ItemBatch]:
    """All windows in random batches of alike length and context, of at most `target_budget`
    targets each, padding included."""
    rng = np.random.default_rng(seed)
    lengths = windows.end - windows.begin
    order = np.lexsort((rng.random(len(lengths)), windows.first_target - windows.begin, lengths))
    batches, start = [], 0
    for stop in range(1, len(order) + 1):
        full = stop == len(order) or (lengths[order[stop]] - 1) * (stop + 1 - start) > target_budget
        if full:
            batches.append(order[start:stop])
            start = stop
    return [_pad(log, windows, batches[index]) for index in rng.permutation(len(batches))]


def _pad(log: InteractionLog, windows: Windows, chosen: Int[np.ndarray, " rows"]) -> ItemBatch:
    begin, end, users = windows.begin[chosen], windows.end[chosen], windows.users[chosen]
    flat = begin[:, None] + np.arange(int((end - begin).max()))
    inside = flat < end[:, None]
    items = np.where(inside, log.items[np.minimum(flat, len(log.items) - 1)], -1)
    is_target = (inside & (flat >= windows.first_target[chosen][:, None]))[:, 1:]
    prefix_lengths = (flat - log.offsets[users][:, None])[:, 1:]
    items, users, lengths = _tensors(items, users, prefix_lengths)
    return ItemBatch(items, torch.from_numpy(is_target), users, lengths)


class HistoryBatch(NamedTuple):
    """Histories that are ranked together, about equally long."""

    rows: Int[np.ndarray, " batch"]  # their row numbers among all histories
    items: Int[Tensor, "batch length"]  # the newest items, left-aligned, -1 beyond
    lengths: Int[Tensor, " batch"]  # how many of them
    users: Int[Tensor, " batch"]
    prefix_lengths: Int[Tensor, " batch"]  # items of the whole history

    def to(self, device: torch.device) -> "HistoryBatch":
        return HistoryBatch(self.rows, *(part.to(device) for part in self[1:]))


def history_batches(histories: Histories, max_items: int, rows: int) -> Iterator[HistoryBatch]:
    """Batches of `rows` histories, cut to their last `max_items` items, in order of length."""
    lengths = np.minimum(histories.lengths, max_items)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        count, end = lengths[chosen], histories.offsets[chosen + 1][:, None]
        flat = end - count[:, None] + np.arange(max(1, int(count.max())))
        last = max(0, len(histories.items) - 1)
        items = np.where(flat < end, histories.items[np.minimum(flat, last)], -1)
        users, whole = histories.users[chosen], histories.lengths[chosen]
        yield HistoryBatch(chosen, *_tensors(items, count, users, whole))


def _tensors(*arrays: Int[np.ndarray, "..."]) -> list[Tensor]:
    return [torch.from_numpy(array.astype(np.int64)) for array in arrays]
