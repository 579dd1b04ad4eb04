"""Leave-one-out, and smaller or re-ordered versions of a log.

Limit: leave-one-out mixes calendar times across users (see `scoter.types.Split`); it is kept
because the published tables on these benchmarks use it.
"""

from typing import Literal

import numpy as np

from scoter.data.sequences import select_items
from scoter.errors import DataError
from scoter.seeding import derive_seed
from scoter.types import Catalog, InteractionLog, Split, Targets

MIN_EVENTS = 3


def leave_one_out(log: InteractionLog, short_users: Literal["train", "error"] = "train") -> Split:
    """Each user's last item is the test target, the one before it the validation target, the rest
    is training.

    A user with fewer than three events would have an empty training history. Under the policy
    `train` such a user keeps all events in training and has no target; under `error` one is
    refused.

    Raises:
        DataError: the log is empty, no user has three events, or `short_users='error'` meets a
            short one.

    Example:
        >>> log = InteractionLog(np.array([5, 6, 7, 8, 9]), np.array([0, 4, 5]), ("ann", "bob"))
        >>> split = leave_one_out(log)
        >>> split.train.sequence(0).tolist(), split.valid.items.tolist(), split.test.items.tolist()
        ([5, 6], [7], [8])
        >>> split.train.sequence(1).tolist()
        [9]
    """
    users = np.flatnonzero(log.lengths >= MIN_EVENTS)
    if not len(users):
        raise DataError(
            f"none of the {log.user_count} users has {MIN_EVENTS} events; leave-one-out needs at "
            f"least one who has"
        )
    short = log.user_count - len(users)
    if short and short_users == "error":
        key = log.user_keys[int(np.flatnonzero(log.lengths < MIN_EVENTS)[0])]
        raise DataError(
            f"{short} users have fewer than {MIN_EVENTS} events (first: {key!r}) and so no "
            f"validation target; "
            f"remove them, or pass short_users='train' to keep them in training only"
        )
    ends = log.offsets[1:][users]
    keep = np.ones(len(log.items), bool)
    keep[ends - 1] = keep[ends - 2] = False
    lengths = log.lengths.copy()
    lengths[users] -= 2
    train = InteractionLog(
        log.items[keep],
        np.concatenate([[0], np.cumsum(lengths)]),
        log.user_keys,
        None if log.times is None else log.times[keep],
    )
    return Split(train, Targets(users, log.items[ends - 2]), Targets(users, log.items[ends - 1]))


def check_trainable(split: Split) -> None:
    """Refuse data that no model can be trained on, as no purchase there follows another one.

    Raises:
        DataError: no user has two training events.
    """
    if split.train.lengths.max(initial=0) < 2:
        raise DataError(
            "there is nothing to train on: leave-one-out keeps each user's last two events for "
            "validation and test, which leaves none of the "
            f"{split.train.user_count:,} users two events to train with. Give at least one user "
            "four events, or run popularity, which needs no training"
        )


def sample_users(
    log: InteractionLog, catalog: Catalog, count: int, seed: int
) -> tuple[InteractionLog, Catalog]:
    """At most `count` users drawn at random, and the items that they bought, renumbered in their
    old order.

    The numbers of the whole catalogue carry no order, so neither do these.

    Raises:
        DataError: `count` is below one.
    """
    if count < 1:
        raise DataError(f"count is {count}; a sample needs at least one user")
    if count >= log.user_count:
        return log, catalog
    rng = np.random.default_rng(derive_seed(seed, "sample users"))
    users = np.sort(rng.choice(log.user_count, count, replace=False))
    take = np.isin(np.repeat(np.arange(log.user_count), log.lengths), users)
    items, numbers = np.unique(log.items[take], return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(log.lengths[users])])
    keys = tuple(log.user_keys[user] for user in users)
    return InteractionLog(
        numbers, offsets, keys, None if log.times is None else log.times[take]
    ), select_items(catalog, items)


def shuffle_ties(log: InteractionLog, seed: int) -> InteractionLog:
    """The same log with each user's events of equal time in random order, to see what the order of
    ties decides.

    Raises:
        DataError: the log has no times.
    """
    if log.times is None:
        raise DataError(
            "the log has no times, so it has no ties to shuffle; shuffle_ties needs timestamps"
        )
    rng = np.random.default_rng(derive_seed(seed, "shuffle ties"))
    users = np.repeat(np.arange(log.user_count), log.lengths)
    starts = np.concatenate([[True], (np.diff(users) != 0) | (np.diff(log.times) != 0)])
    order = np.lexsort((rng.random(len(users)), np.cumsum(starts)))
    return InteractionLog(log.items[order], log.offsets, log.user_keys, log.times)
