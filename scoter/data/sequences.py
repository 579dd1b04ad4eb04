"""From one row per event to one sequence per user, and item numbers that carry no order."""

import numpy as np
from jaxtyping import Int

from scoter.seeding import derive_seed
from scoter.types import Catalog, InteractionLog

Events = Int[np.ndarray, " events"]

UNKNOWN_TIME = -1  # of an event without a time in a log with times; seconds are never negative


def assemble_log(
    users: Events, items: Events, times: Events | None, user_keys: tuple[str, ...]
) -> InteractionLog:
    """Group events by user number, each user's events in the order given (never re-sorted).

    Example:
        >>> log = assemble_log(np.array([1, 0, 1]), np.array([7, 8, 9]), None, ("a", "b"))
        >>> log.sequence(1).tolist()
        [7, 9]
    """
    order = np.argsort(users, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_keys)))])
    sorted_times = None if times is None else times[order]
    return InteractionLog(items[order].astype(np.int64), offsets, user_keys, sorted_times)


def random_numbers(count: int, seed: int, name: str) -> Int[np.ndarray, " items"]:
    """A random number in 0..count-1 for each item; first appearance would tell the order."""
    return np.random.default_rng(derive_seed(seed, "item numbers", name)).permutation(count)


def select_items(catalog: Catalog, items: Int[np.ndarray, " kept"]) -> Catalog:
    """The catalogue rows `items`, in that order."""
    rows = items.tolist()
    columns = {name: tuple(cells[row] for row in rows) for name, cells in catalog.columns.items()}
    return Catalog(tuple(catalog.keys[row] for row in rows), columns)
