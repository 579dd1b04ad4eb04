"""From one row per event to one sequence per user, and item numbers that carry no order."""

import numpy as np
from jaxtyping import Int

from scoter.seeding import derive_seed
from scoter.types import Catalog, InteractionLog

UNKNOWN_TIME = -1
"""The time of an event whose source gives none, in a log where others have one. Seconds are never
negative here."""


def assemble_log(
    users: Int[np.ndarray, " events"],
    items: Int[np.ndarray, " events"],
    times: Int[np.ndarray, " events"] | None,
    user_keys: tuple[str, ...],
) -> InteractionLog:
    """Group events by user number, each user's events in the order given (never re-sorted).

    Example:
        >>> log = assemble_log(np.array([1, 0, 1]), np.array([7, 8, 9]), None, ("a", "b"))
        >>> log.sequence(1).tolist()
        [7, 9]
    """
    order = np.argsort(users, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_keys)))])
    return InteractionLog(
        items[order].astype(np.int64), offsets, user_keys, None if times is None else times[order]
    )


def time_order(
    users: Int[np.ndarray, " events"], times: Int[np.ndarray, " events"]
) -> Int[np.ndarray, " events"]:
    """The stable order of events by (user, time): events of one user at one time stay in file
    order."""
    return np.lexsort((times, users))


def random_numbers(count: int, seed: int, name: str) -> Int[np.ndarray, " items"]:
    """A reproducible random number in 0..count-1 for each item, so that item numbers carry no
    order.

    Public copies number items by first appearance, which tells a model who bought what next to
    what.
    """
    return np.random.default_rng(derive_seed(seed, "item numbers", name)).permutation(count)


def select_items(catalog: Catalog, items: Int[np.ndarray, " kept"]) -> Catalog:
    """The catalogue rows `items`, in that order."""
    rows = items.tolist()
    columns = {name: tuple(cells[row] for row in rows) for name, cells in catalog.columns.items()}
    return Catalog(tuple(catalog.keys[row] for row in rows), columns)
