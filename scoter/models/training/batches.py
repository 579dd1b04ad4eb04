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

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from scoter.types import Histories, InteractionLog


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
