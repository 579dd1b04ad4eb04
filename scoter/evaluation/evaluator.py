"""Rankings and targets to the rank of each user's target, and those ranks to and from a file."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from scoter.errors import DataError
from scoter.storage.untrusted import read_parquet
from scoter.storage.writing import write_parquet
from scoter.types import Rankings, Targets, UserMetrics

_DEPTH = b"scoter.depth"


class Evaluator:
    """Full ranking over the whole catalogue: no sampled negatives, and items seen before are not
    filtered.

    A repeat is a legitimate recommendation (6.7 % of Yelp's test targets are repeats), so a ranking
    may hold items of the user's own history and they take up places. The order of a row is the
    ranking; scores are not looked at, so whoever made the ranking has settled its ties.

    Example:
        >>> items = np.array([[4, 2, 9], [1, -1, -1]])
        >>> rankings = Rankings(np.array([0, 1]), items, np.zeros((2, 3)))
        >>> Evaluator().evaluate(
        ...     rankings, Targets(np.array([0, 1]), np.array([2, 7]))
        ... ).ranks.tolist()
        [2, 0]
    """

    def evaluate(self, rankings: Rankings, targets: Targets) -> UserMetrics:
        """The 1-based rank of each target in its row, 0 for a miss; -1 in a row is no item and
        never counts.

        Raises:
            DataError: rows of another user, a negative target, an item listed twice in a row or
                after a -1.
        """
        _check_users(rankings, targets)
        _check_rows(rankings)
        if (targets.items < 0).any():
            row = int(np.argmax(targets.items < 0))
            raise DataError(
                f"the target of user {targets.users[row]} is {targets.items[row]}; pass an item "
                f"number of 0 or more"
            )
        hits = rankings.items == targets.items[:, None]
        ranks = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
        return UserMetrics(users=targets.users, ranks=ranks, depth=rankings.items.shape[1])


def save_user_metrics(metrics: UserMetrics, path: Path | str) -> None:
    """Write users and ranks as small integers to a parquet file (about a byte a user); its header
    holds the depth."""
    users = metrics.users.astype(np.int32 if metrics.users.max(initial=0) < 2**31 else np.int64)
    table = pa.table(
        {"user": users, "rank": metrics.ranks.astype(np.min_scalar_type(metrics.depth))}
    )
    table = table.replace_schema_metadata({_DEPTH: str(metrics.depth)})
    write_parquet(
        table,
        Path(path),
        compression="zstd",
        compression_level=19,
        use_dictionary=False,
        column_encoding={"user": "DELTA_BINARY_PACKED"},
    )


def load_user_metrics(path: Path | str) -> UserMetrics:
    """The inverse of `save_user_metrics`; a file that is something else is a `DataError`."""
    try:
        table = read_parquet(Path(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the ranks in {path} cannot be read ({error}); evaluate that run again"
        ) from None
    depth = (table.schema.metadata or {}).get(_DEPTH, b"")
    counted = all(pa.types.is_integer(kind) for kind in table.schema.types) and not any(
        one.null_count for one in table.columns
    )
    if table.column_names != ["user", "rank"] or not depth.isdigit() or not counted:
        raise DataError(
            f"{path} has columns {table.column_names} and is not a file of ranks; write it with "
            f"save_user_metrics"
        )
    ranks = table["rank"].to_numpy().astype(np.int64)
    if ranks.max(initial=0) > int(depth):
        raise DataError(
            f"{path} holds rank {ranks.max()} although only {int(depth)} items were ranked; "
            f"evaluate that run again"
        )
    return UserMetrics(
        users=table["user"].to_numpy().astype(np.int64), ranks=ranks, depth=int(depth)
    )


def _check_users(rankings: Rankings, targets: Targets) -> None:
    if len(rankings.users) != len(targets) or len(rankings.items) != len(targets):
        raise DataError(
            f"{len(rankings.items)} ranked rows for {len(rankings.users)} users, but "
            f"{len(targets)} targets; "
            f"rank the histories of exactly the part that the targets belong to"
        )
    other = rankings.users != targets.users
    if other.any():
        row = int(np.argmax(other))
        raise DataError(
            f"row {row} ranks for user {rankings.users[row]}, but its target belongs to user "
            f"{targets.users[row]}; pass rankings and targets in one order of users"
        )


def _check_rows(rankings: Rankings) -> None:
    ordered = np.sort(rankings.items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, place = np.argwhere(twice)[0]
        raise DataError(
            f"the ranking of user {rankings.users[row]} lists item {ordered[row, place]} twice; "
            f"return distinct items and fill up with -1"
        )
    gap = (rankings.items[:, 1:] >= 0) & (rankings.items[:, :-1] < 0)
    if gap.any():
        row, place = np.argwhere(gap)[0]
        raise DataError(
            f"the ranking of user {rankings.users[row]} lists item "
            f"{rankings.items[row, place + 1]} after a -1; "
            f"-1 means that no further item exists, so move it to the end"
        )
