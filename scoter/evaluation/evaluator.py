"""From rankings and targets to the rank of each user's target; ranks to and from a file."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from scoter.errors import DataError
from scoter.storage.untrusted import read_parquet
from scoter.storage.writing import write_parquet
from scoter.types import Histories, Rankings, Targets, UserMetrics

_DEPTH = b"scoter.depth"
_UNSEEN = "unseen_before"


class Evaluator:
    """Full ranking over the whole catalogue, without sampled negatives or a filter of seen items.

    Repeats are legitimate (6.7 % of Yelp's test targets are), so items of the user's history take
    up places. The order of a row is the ranking; scores are ignored, so ties are already settled.

    >>> items = np.array([[4, 2, 9], [1, -1, -1]])
    >>> rankings = Rankings(np.array([0, 1]), items, np.zeros((2, 3)))
    >>> targets = Targets(np.array([0, 1]), np.array([2, 7]))
    >>> Evaluator().evaluate(rankings, targets).ranks.tolist()
    [2, 0]
    """

    def evaluate(
        self, rankings: Rankings, targets: Targets, histories: Histories | None = None
    ) -> UserMetrics:
        """The rank (from 1) of each target in its row, 0 for a miss; -1 in a row is no item.

        With the `histories` that were ranked for, also what the metrics among unseen items need.
        """
        _check_users(rankings, targets)
        _check_rows(rankings)
        if (targets.items < 0).any():
            row = int(np.argmax(targets.items < 0))
            target = f"the target of user {targets.users[row]} is {targets.items[row]}"
            raise DataError(f"{target}; pass an item number of 0 or more")
        hits = rankings.items == targets.items[:, None]
        ranks, depth = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0), hits.shape[1]
        before = None if histories is None else _unseen_before(rankings, targets, histories, ranks)
        return UserMetrics(targets.users, ranks, depth, before)


def save_user_metrics(metrics: UserMetrics, path: Path | str) -> None:
    """Write users and ranks to a parquet file, about a byte a user; its header holds the depth."""
    users = metrics.users.astype(np.int32 if metrics.users.max(initial=0) < 2**31 else np.int64)
    ranks = metrics.ranks.astype(np.min_scalar_type(metrics.depth))
    columns = {"user": users, "rank": ranks}
    if metrics.unseen_before is not None:
        columns[_UNSEEN] = metrics.unseen_before.astype(np.min_scalar_type(-1 - metrics.depth))
    table = pa.table(columns)
    table = table.replace_schema_metadata({_DEPTH: str(metrics.depth)})
    packing = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    write_parquet(table, Path(path), **packing, column_encoding={"user": "DELTA_BINARY_PACKED"})


def load_user_metrics(path: Path | str) -> UserMetrics:
    """The inverse of `save_user_metrics`; a file that is something else is a `DataError`."""
    try:
        table = read_parquet(Path(path))
    except (OSError, ValueError) as error:
        message = f"the ranks in {path} cannot be read ({error}); evaluate that run again"
        raise DataError(message) from None
    depth = (table.schema.metadata or {}).get(_DEPTH, b"")
    whole = all(pa.types.is_integer(kind) for kind in table.schema.types)
    whole = whole and not any(column.null_count for column in table.columns)
    names = ["user", "rank"] + [_UNSEEN] * (_UNSEEN in table.column_names)
    if table.column_names != names or not depth.isdigit() or not whole:
        columns = f"{path} has columns {table.column_names}"
        raise DataError(f"{columns} and is not a file of ranks; write it with save_user_metrics")
    users, ranks, *rest = (table[name].to_numpy().astype(np.int64) for name in names)
    if ranks.max(initial=0) > int(depth):
        deeper = f"{path} holds rank {ranks.max()} although only {int(depth)} items were ranked"
        raise DataError(f"{deeper}; evaluate that run again")
    if rest and ((rest[0] < -1) | (rest[0] >= np.where(ranks > 0, ranks, int(depth) + 1))).any():
        more = f"{path} counts more unseen items before a target than items, or fewer than -1"
        raise DataError(f"{more}; evaluate that run again")
    return UserMetrics(users, ranks, int(depth), *rest)


def _unseen_before(
    rankings: Rankings, targets: Targets, histories: Histories, ranks: np.ndarray
) -> np.ndarray:
    """`UserMetrics.unseen_before` of each row."""
    if not np.array_equal(histories.users, targets.users):
        counts = f"{len(histories)} histories and {len(targets)} targets are not of the same users"
        raise DataError(f"{counts} in the same order; pass those of one part of a split")
    rows, depth = np.arange(len(targets)), rankings.items.shape[1]
    width = 1 + max(int(part.items.max(initial=0)) for part in (rankings, targets, histories))
    had = np.sort(np.repeat(rows, histories.lengths) * width + histories.items)

    def unseen(keys: np.ndarray) -> np.ndarray:  # several times faster than `np.isin`
        return np.searchsorted(had, keys) == np.searchsorted(had, keys, side="right")

    listed = unseen(rows[:, None] * width + rankings.items) & (rankings.items >= 0)
    earlier = np.arange(depth) < np.where(ranks > 0, ranks - 1, depth)[:, None]
    before = (listed & earlier).sum(axis=1)
    return np.where(unseen(rows * width + targets.items), before, -1)


def _check_users(rankings: Rankings, targets: Targets) -> None:
    users, rows = rankings.users, len(rankings.items)
    if len(users) != len(targets) or rows != len(targets):
        counts = f"{rows} ranked rows for {len(users)} users, but {len(targets)} targets"
        raise DataError(f"{counts}; rank the histories of the part that the targets belong to")
    differs = users != targets.users
    if differs.any():
        row = int(np.argmax(differs))
        owners = f"user {users[row]}, but its target belongs to user {targets.users[row]}"
        raise DataError(f"row {row} ranks for {owners}; give both the same order of users")


def _check_rows(rankings: Rankings) -> None:
    items, ordered = rankings.items, np.sort(rankings.items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, place = np.argwhere(twice)[0]
        lists = f"the ranking of user {rankings.users[row]} lists item {ordered[row, place]} twice"
        raise DataError(f"{lists}; return distinct items and fill up with -1")
    gap = (items[:, 1:] >= 0) & (items[:, :-1] < 0)
    if gap.any():
        row, place = np.argwhere(gap)[0]
        lists = f"the ranking of user {rankings.users[row]} lists item {items[row, place + 1]}"
        raise DataError(f"{lists} after a -1, which means that no item follows; move -1 to the end")
