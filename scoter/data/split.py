"""Interaction logs: assembled from rows, split by leave-one-out, sampled and re-ordered.

Limit: leave-one-out mixes calendar times across users (see `scoter.types.Split`).
"""

import numpy as np
from jaxtyping import Int

from scoter.errors import DataError
from scoter.seeding import derive_seed
from scoter.types import Catalog, EvaluationProtocol, InteractionLog, Split, Targets

Events = Int[np.ndarray, " events"]

MIN_EVENTS = 3
UNKNOWN_TIME = -1  # of an event without a time in a log with times; seconds are never negative


def leave_one_out(log: InteractionLog, protocol: EvaluationProtocol = "A") -> Split:
    """Each user's last item is the test target, the one before it the validation target.

    A user with fewer than three events keeps all of them in training and has no target. In protocol
    B the others keep all but the last, so that nobody has a validation target.

    >>> log = InteractionLog(np.array([5, 6, 7, 8, 9]), np.array([0, 4, 5]), ("ann", "bob"))
    >>> split = leave_one_out(log)
    >>> split.train.sequence(0).tolist(), split.valid.items.tolist(), split.test.items.tolist()
    ([5, 6], [7], [8])
    >>> split.train.sequence(1).tolist()
    [9]
    >>> leave_one_out(log, "B").train.sequence(0).tolist()
    [5, 6, 7]
    """
    users = np.flatnonzero(log.lengths >= MIN_EVENTS)
    if not len(users):
        short = f"none of the {log.user_count} users has {MIN_EVENTS} events"
        raise DataError(f"{short}; leave-one-out needs one who has")
    return hold_out(log, users if protocol == "A" else users[:0], users)


def hold_out(
    log: InteractionLog, valid: Int[np.ndarray, " some"], test: Int[np.ndarray, " others"]
) -> Split:
    """The split in which the last item of each user of `test` is a test target, and the last that
    is left to each user of `valid` a validation target."""
    ends, keep = log.offsets[1:].copy(), np.ones(len(log.items), bool)
    targets = []
    for users in (test, valid):
        ends[users] -= 1
        keep[ends[users]] = False
        targets.append(Targets(users, log.items[ends[users]]))
    return Split(log.where(keep), targets[1], targets[0])


def check_trainable(split: Split) -> None:
    """Refuse data where no user has two training events, as no model can be trained on it."""
    if split.train.lengths.max(initial=0) < 2:
        left = f"validation and test leave none of the {split.train.user_count:,} users two events"
        remedy = "give a user four, or run popularity, which needs no training"
        raise DataError(f"there is nothing to train on: {left}; {remedy}")


def sample_users(
    log: InteractionLog, catalog: Catalog, count: int, seed: int
) -> tuple[InteractionLog, Catalog]:
    """At most `count` random users, and the items that they have, renumbered in their old order."""
    if count < 1:
        raise DataError(f"count is {count}; a sample needs at least one user")
    if count >= log.user_count:
        return log, catalog
    rng = np.random.default_rng(derive_seed(seed, "sample users"))
    users = np.sort(rng.choice(log.user_count, count, replace=False))
    kept = log.where(np.isin(np.repeat(np.arange(log.user_count), log.lengths), users))
    items, numbers = np.unique(kept.items, return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(log.lengths[users])])
    keys = tuple(log.user_keys[user] for user in users)
    return InteractionLog(numbers, offsets, keys, kept.times), select_items(catalog, items)


def shuffle_ties(log: InteractionLog, seed: int) -> InteractionLog:
    """The same log with each user's events of equal time in random order."""
    if log.times is None:
        raise DataError("the log has no times, so it has no ties to shuffle; give it timestamps")
    rng = np.random.default_rng(derive_seed(seed, "shuffle ties"))
    users = np.repeat(np.arange(log.user_count), log.lengths)
    starts = np.concatenate([[True], (np.diff(users) != 0) | (np.diff(log.times) != 0)])
    order = np.lexsort((rng.random(len(users)), np.cumsum(starts)))
    return InteractionLog(log.items[order], log.offsets, log.user_keys, log.times)


def assemble_log(
    users: Events, items: Events, times: Events | None, user_keys: tuple[str, ...]
) -> InteractionLog:
    """Group events by user number, each user's events in the order given (never re-sorted)."""
    order = np.argsort(users, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_keys)))])
    sorted_times = None if times is None else times[order]
    return InteractionLog(items[order].astype(np.int64), offsets, user_keys, sorted_times)


def random_numbers(count: int, seed: int, name: str) -> Int[np.ndarray, " items"]:
    """A random number in 0..count-1 for each item; numbers by first appearance tell the order."""
    return np.random.default_rng(derive_seed(seed, "item numbers", name)).permutation(count)


def select_items(catalog: Catalog, items: Int[np.ndarray, " kept"]) -> Catalog:
    """The catalogue rows `items`, in that order."""
    rows = items.tolist()
    columns = {name: tuple(cells[row] for row in rows) for name, cells in catalog.columns.items()}
    return Catalog(tuple(catalog.keys[row] for row in rows), columns)
