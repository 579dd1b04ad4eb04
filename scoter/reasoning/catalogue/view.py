"""What a chain may use: the last few items of a prefix, and nothing after it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from scoter.types import Split, entries_of

MAX_ITEMS = 20
Rows = Int[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class View:
    """One row per (user, prefix length)."""

    users: Rows  # -1: nobody of the log
    prefix_lengths: Rows
    recent: Int[np.ndarray, "rows max_items"]  # the newest item first; -1 where there is none

    def __len__(self) -> int:
        return len(self.users)


def look(split: Split, users: Rows, prefix_lengths: Rows, max_items: int = MAX_ITEMS) -> View:
    """The last `max_items` of each prefix: training items and, one longer, the validation item.

    >>> from scoter.types import InteractionLog, Targets
    >>> log = InteractionLog(np.array([7, 8, 9]), np.array([0, 3]), ("ann",))
    >>> ann = np.array([0])
    >>> split = Split(log, Targets(ann, np.array([5])), Targets(ann, np.array([6])))
    >>> look(split, ann, np.array([2]), 4).recent.tolist()
    [[8, 7, -1, -1]]
    >>> look(split, ann, np.array([4]), 4).recent.tolist()
    [[5, 9, 8, 7]]
    """
    seen, positions = split.visible, prefix_lengths[:, None] - 1 - np.arange(max_items)
    there = (positions >= 0) & (positions < seen.lengths[users][:, None])
    places = np.where(there, seen.offsets[users][:, None] + positions, 0)
    return View(users, prefix_lengths, np.where(there, seen.items[places], -1))


def every_prefix(split: Split) -> tuple[Rows, Rows, Int[np.ndarray, " users_plus_1"]]:
    """Users, prefix lengths and starts of all chains of a split, as `StepEmbeddings` has them."""
    counts = split.visible.lengths
    prefix_lengths, starts = entries_of(np.ones_like(counts), counts)
    return np.repeat(np.arange(len(counts)), counts), prefix_lengths, starts
