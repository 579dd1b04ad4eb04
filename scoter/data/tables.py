"""A user's own CSV or parquet tables: every doubt has a policy with a name, and the default is to refuse.

The interactions need `user` and `item` (any keys, text or numbers), and `timestamp` unless `order='file'`: seconds since
1970, or dates in ISO 8601 (without a zone: UTC). The items need `item`; every other column is kept: `title`, `brand`,
`phrase` and `description` as text, `categories` as a list (in CSV separated by `|`, coarse to fine), any other as
numbers where all of it are numbers, else as text.

Unsorted rows are sorted by time within each user; events of one time keep their file order.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from scoter.data.sequences import assemble_log, random_numbers, time_order
from scoter.data.table_cells import Column, cells_of, seconds_of
from scoter.errors import DataError
from scoter.types import Catalog, Cell, InteractionLog
from scoter.untrusted import open_unpacked, read_parquet

Duplicates = Literal["error", "first", "keep"]
ShortUsers = Literal["error", "drop", "keep"]
Order = Literal["timestamp", "file"]

Frame = Any  # a pandas DataFrame; pandas ships no usable types

_NOTHING = ["", "NaN", "nan"]
_RESERVED = "key"


def load_table(
    interactions_path: Path,
    items_path: Path | None = None,
    *,
    order: Order = "timestamp",
    duplicates: Duplicates = "error",
    short_users: ShortUsers = "error",
    min_events: int = 3,
    seed: int = 0,
) -> tuple[InteractionLog, Catalog]:
    """The log and catalogue of a user's own tables (`.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or `.parquet`).

    Policies:
        order: `timestamp` sorts each user's rows by time, stably; `file` takes them as they stand, oldest first, and
            uses timestamps where there are any only as information.
        duplicates: a row with the user, item and time of an earlier one is refused (`error`), dropped (`first`) or kept
            (`keep`). A purchase repeated at another time is no duplicate and always stays.
        short_users: users with fewer than `min_events` events are refused (`error`), left out (`drop`), or kept for
            training only (`keep`).

    Items are numbered at random from `seed`, so that their numbers carry no order. Items that nobody bought stay in the
    catalogue. Without `items_path` the catalogue knows the items' keys only.

    Raises:
        DataError: a file is missing, empty, truncated or unreadable, a column is missing, a value is empty or no time, an
            interaction names an item that the items lack, or a policy says `error`. The message names row and remedy.
    """
    table = _read(interactions_path)
    timed = order == "timestamp" or "timestamp" in table.columns
    _require(table, interactions_path, ["user", "item", *(["timestamp"] if timed else [])])
    times = seconds_of(table["timestamp"], interactions_path) if timed else None
    keys, columns = _items(items_path) if items_path is not None else (_unique(table["item"]), {})
    relabel = random_numbers(len(keys), seed, "table")
    items = _numbers_of(table["item"], keys, interactions_path, items_path)
    users, user_keys = pd.factorize(table["user"].astype(str), sort=True)
    keep = _without_duplicates(table, users, items, times, duplicates, interactions_path)
    keep = keep[_long_enough(users[keep], user_keys, short_users, min_events, interactions_path)]
    if order == "timestamp" and times is not None:
        keep = keep[time_order(users[keep], times[keep])]
    kept, codes = np.unique(users[keep], return_inverse=True)
    names = tuple(str(user_keys[user]) for user in kept)
    log = assemble_log(codes, relabel[items[keep]], None if times is None else times[keep], names)
    place = np.argsort(relabel).tolist()
    shuffled = {name: tuple(cells[old] for old in place) for name, cells in columns.items()}
    return log, Catalog(tuple(keys[old] for old in place), shuffled)


def _read(path: Path) -> Frame:
    if not path.is_file():
        raise DataError(f"{path} does not exist; check the path")
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind not in ("csv", "tsv", "parquet"):
        raise DataError(f"{path} is neither .csv, .tsv (or either with .gz) nor .parquet; convert it to one of them")
    text: Any = dict.fromkeys(("user", "item", "title", "brand", "phrase", "description", "categories"), str)
    try:
        if kind == "parquet":
            table = _decoded(read_parquet(path)).to_pandas()
        else:
            with open_unpacked(path) as file:
                separator = "," if kind == "csv" else "\t"
                table = pd.read_csv(file, sep=separator, dtype=text, keep_default_na=False, na_values=_NOTHING)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); copy or download it again") from None
    except (ValueError, OSError, OverflowError, MemoryError) as error:  # pandas and pyarrow say by these that it is malformed
        raise DataError(f"{path} cannot be read ({error}); check that it is a whole .{kind} file with a header") from None
    if table.empty:
        raise DataError(f"{path} has no rows; a header alone is not enough")
    return table


def _decoded(table: Any) -> Any:
    """The arrow table with bytes as text, as which other tools often keep it; bytes that are no UTF-8 are a ValueError."""
    import pyarrow as pa

    def text(kind: Any) -> Any:
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            return pa.string()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pa.list_(text(kind.value_type))
        return kind

    return table.cast(pa.schema([field.with_type(text(field.type)) for field in table.schema]))


def _require(table: Frame, path: Path, columns: list[str]) -> None:
    for name in columns:
        if name not in table.columns:
            hint = "; if rows stand oldest first and have no times, say order='file'" if name == "timestamp" else ""
            raise DataError(
                f"{path} has no column {name!r} (it has {', '.join(map(str, table.columns))}); rename or add it{hint}"
            )
        empty = np.flatnonzero(table[name].isna())
        if len(empty):
            raise DataError(
                f"column {name!r} of {path} is empty or NaN in {len(empty)} rows (first: row {empty[0] + 1}); "
                f"fill them in or remove the rows"
            )


def _unique(values: Column) -> tuple[str, ...]:
    return tuple(str(key) for key in pd.unique(values.astype(str)))


def _items(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[Cell, ...]]]:
    table = _read(path)
    _require(table, path, ["item"])
    if _RESERVED in table.columns:
        raise DataError(
            f"column {_RESERVED!r} of {path} has a reserved name; rename it, or name it 'item' if it is the item's key"
        )
    keys = table["item"].astype(str)
    repeated = np.flatnonzero(keys.duplicated())
    if len(repeated):
        raise DataError(
            f"row {repeated[0] + 1} of {path} describes item {keys.iloc[repeated[0]]!r} again ({len(repeated)} such rows); "
            f"keep one row per item"
        )
    columns = {str(name): cells_of(table[name], str(name), path) for name in table.columns if name != "item"}
    return tuple(keys), columns


def _numbers_of(values: Column, keys: tuple[str, ...], path: Path, items_path: Path | None) -> Int[np.ndarray, " rows"]:
    numbers = pd.Index(keys).get_indexer(pd.Index(values.astype(str)))
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        raise DataError(
            f"row {unknown[0] + 1} of {path} names item {str(values.iloc[unknown[0]])!r}, which {items_path} does not have "
            f"({len(unknown)} such rows); add the item there or remove the rows"
        )
    return numbers.astype(np.int64)


def _without_duplicates(
    table: Frame,
    users: Int[np.ndarray, " rows"],
    items: Int[np.ndarray, " rows"],
    times: Int[np.ndarray, " rows"] | None,
    policy: Duplicates,
    path: Path,
) -> Int[np.ndarray, " kept"]:
    rows = np.arange(len(table))
    if policy == "keep":
        return rows
    events = pd.DataFrame({"user": users, "item": items, "time": 0 if times is None else times})
    repeated = events.duplicated().to_numpy()
    if repeated.any() and policy == "error":
        row = int(np.flatnonzero(repeated)[0])
        same = "user and item" if times is None else "user, item and timestamp"
        raise DataError(
            f"row {row + 1} of {path} has the {same} of an earlier row ({repeated.sum()} such rows); "
            f"say duplicates='first' (--duplicates first) to drop such rows or 'keep' to count each"
        )
    return rows[~repeated]


def _long_enough(
    users: Int[np.ndarray, " rows"], user_keys: Column, policy: ShortUsers, min_events: int, path: Path
) -> Int[np.ndarray, " kept"]:
    counts = np.bincount(users, minlength=len(user_keys))
    short = np.flatnonzero(counts < min_events)
    if policy == "keep" or not len(short):
        return np.arange(len(users))
    if policy == "error":
        raise DataError(
            f"{len(short)} users of {path} have fewer than {min_events} events (first: {str(user_keys[short[0]])!r} has "
            f"{counts[short[0]]}); say short_users='drop' (--short-users drop) to leave them out or 'keep' to train on them "
            "without testing"
        )
    kept = np.flatnonzero(counts[users] >= min_events)
    if not len(kept):
        raise DataError(f"no user of {path} has {min_events} events; lower min_events or bring longer histories")
    return kept
