"""Prepared folders, the one format of datasets: `interactions.parquet` and `items.parquet`.

`interactions.parquet` has `user`, `item` (whole numbers) and optionally `timestamp` (seconds; null
where unknown) and `user_key`. The row order within a user is the sequence: nothing is sorted here,
because many times are days and a sort would decide ties anew. `items.parquet` has `item` (0 to n-1,
any row order), optionally `key`, and any other columns of text, lists of text or numbers.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from scoter.data.sources import PREPARED_FILES
from scoter.data.split import UNKNOWN_TIME, assemble_log
from scoter.data.times import check_seconds
from scoter.errors import DataError
from scoter.storage.store import hash_file
from scoter.storage.untrusted import read_parquet
from scoter.storage.writing import write_parquet, writing
from scoter.types import Catalog, Cell, InteractionLog

Kind = Callable[[pa.DataType], bool]
_IS_TEXT: tuple[Kind, ...] = (pa.types.is_string, pa.types.is_large_string)
_is_integer: Kind = pa.types.is_integer


def load_prepared(folder: Path) -> tuple[InteractionLog, Catalog]:
    """The log and catalogue of a prepared folder. A user's rows need not be adjacent.

    A null timestamp becomes `UNKNOWN_TIME` (-1); where all are null, the log has none. Unreadable
    files, unknown items, null values, implausible times and shared keys are a `DataError`.
    """
    interactions, items = (_read(folder / name) for name in PREPARED_FILES)
    path = folder / PREPARED_FILES[1]
    numbers = _numbers(items, "item", path)
    if not np.array_equal(np.sort(numbers), np.arange(len(numbers))):
        wanted = f"each of 0..{len(numbers) - 1} once"
        raise DataError(f"column 'item' of {path} must hold {wanted}; number the items afresh")
    items = items.take(np.argsort(numbers))
    keys = _keys(items, "key", [f"item {number}" for number in range(len(items))], path)
    described = [name for name in items.column_names if name not in ("item", "key")]
    catalog = Catalog(keys, {name: _cells(items[name], name, path) for name in described})
    return _log(interactions, folder / PREPARED_FILES[0], catalog.item_count), catalog


def save_prepared(log: InteractionLog, catalog: Catalog, folder: Path) -> None:
    """Write a prepared folder that `load_prepared` reads back to the same values.

    A folder that cannot be written keeps what it held. The columns `item` and `key` are reserved.
    """
    taken = {"item", "key"} & set(catalog.columns)
    if taken:
        reserved = "has a reserved name: prepared folders keep the items' numbers and keys there"
        raise DataError(f"catalogue column {min(taken)!r} {reserved}; rename it")
    numbers = pa.array(np.arange(catalog.item_count, dtype=np.int32))
    items = {"item": numbers, "key": pa.array(catalog.keys, pa.string())}
    items |= {name: _to_arrow(cells) for name, cells in catalog.columns.items()}
    tables = dict(zip(PREPARED_FILES, (_interactions(log), pa.table(items)), strict=True))
    partial = {name: folder / f"{name}.partial" for name in tables}
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, table in tables.items():
                write_parquet(table, partial[name])
            for name in tables:  # one old file beside one new file would be read as a dataset
                (folder / name).unlink(missing_ok=True)
            for name in tables:
                partial[name].replace(folder / name)
        finally:
            for path in partial.values():
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _interactions(log: InteractionLog) -> pa.Table:
    users = np.repeat(np.arange(log.user_count, dtype=np.int32), log.lengths)
    columns = {"user": pa.array(users), "item": pa.array(log.items.astype(np.int32))}
    if log.user_keys != tuple(str(user) for user in range(log.user_count)):
        keys = pa.array(log.user_keys, pa.string())
        columns["user_key"] = pa.DictionaryArray.from_arrays(pa.array(users), keys)
    times = np.full(len(users), UNKNOWN_TIME) if log.times is None else log.times
    columns["timestamp"] = pa.array(times, pa.int64(), mask=times == UNKNOWN_TIME)
    return pa.table(columns)


def fingerprint(folder: Path) -> str:
    """sha256 of both files' bytes: the identity of a prepared dataset, wherever it lies."""
    missing = [name for name in PREPARED_FILES if not (folder / name).is_file()]
    if missing:
        remedy = "make one with `scoter data prepare`"
        raise DataError(f"{folder} is not a prepared dataset: {missing[0]} is missing; {remedy}")
    digests = "".join(hash_file(folder / name) for name in PREPARED_FILES)
    return hashlib.sha256(digests.encode()).hexdigest()


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        needed = " and ".join(PREPARED_FILES)
        raise DataError(f"{path} does not exist; a prepared dataset needs {needed}")
    try:
        table = read_parquet(path)
    except (ValueError, OSError) as error:
        damage = f"{path} is not a readable parquet file ({error})"
        raise DataError(f"{damage}; prepare the dataset again") from None
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows; prepare the dataset again")
    return table


def _column(table: pa.Table, name: str, path: Path, wanted: str, *kinds: Kind) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    values = table[name]
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not any(is_kind(kind) for is_kind in kinds):
        remedy = "use `scoter data prepare` for keys, or convert it"
        raise DataError(f"column {name!r} of {path} holds {kind}, not {wanted}; {remedy}")
    if values.null_count:
        row = np.flatnonzero(values.is_null().to_numpy())[0]
        empty = f"is empty in {values.null_count} rows (first: row {row})"
        raise DataError(f"column {name!r} of {path} {empty}; every row needs one")
    return values


def _numbers(table: pa.Table, name: str, path: Path) -> Int[np.ndarray, " rows"]:
    return _column(table, name, path, "whole numbers", _is_integer).to_numpy().astype(np.int64)


def _log(table: pa.Table, path: Path, item_count: int) -> InteractionLog:
    users, items = _numbers(table, "user", path), _numbers(table, "item", path)
    outside = np.flatnonzero((items < 0) | (items >= item_count))
    if len(outside):
        known = f"items.parquet does not have (it has 0..{item_count - 1})"
        row = f"row {outside[0]} of {path} names item {items[outside[0]]}, which {known}"
        raise DataError(f"{row}; {len(outside)} such rows. Add the item")
    times = _times(table, path) if _holds(table, "timestamp") else None
    numbers, first, codes = np.unique(users, return_index=True, return_inverse=True)
    keys = _keys(table.take(first), "user_key", [f"user {number}" for number in numbers], path)
    if _holds(table, "user_key"):
        text = table["user_key"].cast(pa.string()).combine_chunks()
        written = text.dictionary_encode(null_encoding="encode").indices.to_numpy()
        differs = np.flatnonzero(written != written[first][codes])
        if len(differs):
            before = f"another user_key than user {users[differs[0]]} has before"
            row = f"row {differs[0]} of {path} has {before} ({len(differs)} such rows)"
            raise DataError(f"{row}; give each user one key")
    return assemble_log(codes, items, times, keys)


def _holds(table: pa.Table, column: str) -> bool:
    return column in table.column_names and table[column].null_count < len(table)


def _times(table: pa.Table, path: Path) -> Int[np.ndarray, " rows"]:
    known = table["timestamp"].is_valid().to_numpy()
    seconds = _numbers(table.filter(pa.array(known)), "timestamp", path)
    rows = np.flatnonzero(known)
    check_seconds(seconds, lambda row: f"row {rows[row]} of {path}")
    times = np.full(len(known), UNKNOWN_TIME)
    times[rows] = seconds
    return times


def _keys(table: pa.Table, column: str, owners: list[str], path: Path) -> tuple[str, ...]:
    """The key of each owner, one a row of the table; the owner's number where no key is given."""
    if not _holds(table, column):
        return tuple(owner.rpartition(" ")[2] for owner in owners)
    if table[column].null_count:
        empty = f"is empty in {table[column].null_count} rows"
        raise DataError(f"column {column!r} of {path} {empty}; fill all of them or none")
    values = _column(table, column, path, "text or whole numbers", *_IS_TEXT, _is_integer)
    keys = tuple(str(key) for key in values.to_pylist())
    owner_of: dict[str, str] = {}
    for key, owner in zip(keys, owners, strict=True):
        if not key.strip():
            raise DataError(f"column {column!r} of {path} is blank for {owner}; fill it in")
        if owner_of.setdefault(key, owner) != owner:
            both = f"{owner_of[key]} and {owner}"
            raise DataError(f"column {column!r} of {path} has {key!r} for {both}; give each a key")
    return keys


def _cells(values: pa.ChunkedArray, name: str, path: Path) -> tuple[Cell, ...]:
    kind, cells = values.type, values.to_pylist()
    if any(is_kind(kind) for is_kind in (*_IS_TEXT, pa.types.is_null)):
        return tuple(cell or "" for cell in cells)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return tuple(tuple(str(part) for part in cell or ()) for cell in cells)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return tuple(float("nan") if cell is None else float(cell) for cell in cells)
    wanted = "text, lists of text or numbers"
    raise DataError(f"column {name!r} of {path} holds {kind}; convert it to {wanted}, or drop it")


def _to_arrow(cells: tuple[Cell, ...]) -> pa.Array:
    if any(isinstance(cell, tuple) for cell in cells):
        return pa.array(cells, pa.list_(pa.string()))
    if any(isinstance(cell, float) for cell in cells):
        return pa.array(cells, pa.float64())
    return pa.array(cells, pa.string())
