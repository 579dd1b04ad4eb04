"""A user's own CSV or parquet tables: every doubt has a policy with a name, and the default is to
refuse.

The interactions need `user` and `item` (any keys, text or numbers), and `timestamp` unless
`order='file'`: seconds since 1970, or dates in ISO 8601 (without a zone: UTC). The items need
`item`; every other column is kept: `title`, `brand`, `phrase` and `description` as text,
`categories` as a list (in CSV separated by `|`, coarse to fine), any other as numbers where all of
it are numbers, else as text.

Unsorted rows are sorted by time within each user, fractions of a second included; events of one
time keep their file order. Whole seconds are stored.

Text is UTF-8, and each line has as many fields as the header. In CSV a cell may stand in quotes,
and then hold commas, line breaks and doubled quotes (RFC 4180). TSV has no quoting: a quote is a
letter like any other, and a cell holds neither a tab nor a line break. A quoted cell in CSV whose
every line has the fields of a row is refused, because that is what a quote looks like that was
never closed.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from scoter.data.sequences import assemble_log, random_numbers, time_order
from scoter.data.table_cells import SECOND, Column, cells_of, keys_of, nanoseconds_of, plain_key
from scoter.errors import DataError
from scoter.storage.untrusted import MAX_LINE, check_text, decoded, open_unpacked, read_parquet
from scoter.types import Catalog, Cell, InteractionLog

Duplicates = Literal["error", "first", "keep"]
ShortUsers = Literal["error", "drop", "keep"]
Order = Literal["timestamp", "file"]

Frame = Any  # a pandas DataFrame; pandas ships no usable types

_NOTHING = ["", "NaN", "nan"]
_TEXT: Any = dict.fromkeys(
    ("user", "item", "timestamp", "title", "brand", "phrase", "description", "categories"), str
)
_SEPARATORS = {"csv": ",", "tsv": "\t"}
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
    """The log and catalogue of a user's own tables (`.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or
    `.parquet`).

    Policies:
        order: `timestamp` sorts each user's rows by time, stably; `file` takes them as they stand,
            oldest first, and uses timestamps where there are any only as information.
        duplicates: a row with the user, item and time of an earlier one is refused (`error`),
            dropped (`first`) or kept (`keep`). A purchase repeated at another time is no duplicate
            and always stays.
        short_users: users with fewer than `min_events` events are refused (`error`), left out
            (`drop`), or kept for training only (`keep`).

    Items are numbered at random from `seed`, so that their numbers carry no order. Items that
    nobody bought stay in the catalogue. Without `items_path` the catalogue knows the items' keys
    only.

    Raises:
        DataError: a file is missing, empty, truncated or unreadable, a line has more or fewer
            fields than the header, a column is missing or comes twice, a value is empty or no
            plausible time, an interaction names an item that the items lack, or a policy says
            `error`. The message names the line or row (counted without the header) and the remedy.
    """
    table = _read(interactions_path)
    timed = order == "timestamp" or "timestamp" in table.columns
    _require(table, interactions_path, ["user", "item", *(["timestamp"] if timed else [])])
    times = nanoseconds_of(table["timestamp"], interactions_path) if timed else None
    bought, buyers = (keys_of(table[name], interactions_path) for name in ("item", "user"))
    keys, columns = _items(items_path) if items_path is not None else (_unique(bought), {})
    relabel = random_numbers(len(keys), seed, "table")
    items = _numbers_of(bought, keys, interactions_path, items_path)
    users, user_keys = pd.factorize(buyers, sort=True)
    keep = _without_duplicates(table, users, items, times, duplicates, interactions_path)
    keep = keep[_long_enough(users[keep], user_keys, short_users, min_events, interactions_path)]
    if order == "timestamp" and times is not None:
        keep = keep[time_order(users[keep], times[keep])]
    kept, codes = np.unique(users[keep], return_inverse=True)
    names = tuple(np.asarray(user_keys, object)[kept].tolist())
    log = assemble_log(
        codes, relabel[items[keep]], None if times is None else times[keep] // SECOND, names
    )
    place = np.argsort(relabel).tolist()
    shuffled = {name: tuple(cells[old] for old in place) for name, cells in columns.items()}
    return log, Catalog(tuple(keys[old] for old in place), shuffled)


def _read(path: Path) -> Frame:
    if not path.is_file():
        raise DataError(f"{path} does not exist; check the path")
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind not in (*_SEPARATORS, "parquet"):
        raise DataError(
            f"{path} is neither .csv, .tsv (or either with .gz) nor .parquet; convert it to one "
            f"of them"
        )
    try:
        if kind == "parquet":
            table = _decoded(read_parquet(path)).to_pandas()
            _check_names(list(map(str, table.columns)), path)
        else:
            table = _read_text(path, kind)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is truncated or damaged ({error}); copy or download it again"
        ) from None
    except (
        ValueError,
        OSError,
        OverflowError,
        MemoryError,
    ) as error:  # pandas and pyarrow say by these that it is malformed
        raise DataError(
            f"{path} cannot be read ({error}); check that it is a whole .{kind} file with a header"
        ) from None
    if table.empty:
        raise DataError(f"{path} has no rows; a header alone is not enough")
    return table


def _read_text(path: Path, kind: str) -> Frame:
    check_text(path)
    if path.suffix == ".gz":
        with open_unpacked(
            path
        ) as file:  # what unpacks to too much is refused before anybody counts its fields
            while file.read(1 << 20):
                pass
    form: Any = {
        "delimiter": _SEPARATORS[kind],
        "quoting": csv.QUOTE_MINIMAL if kind == "csv" else csv.QUOTE_NONE,
    }
    _check_rows(path, **form)
    with open_unpacked(path) as file:
        return pd.read_csv(
            file, dtype=_TEXT, keep_default_na=False, na_values=_NOTHING, index_col=False, **form
        )


def _check_rows(path: Path, delimiter: str, quoting: Any) -> None:
    """Each row has as many fields as the header: pandas shifts columns, fills up or drops what it
    finds otherwise.

    Raises:
        DataError: the first row with more or fewer fields, or a quote that is not closed.
    """
    taken: list[str] = []
    lines = _text_lines(path, taken)
    header: list[str] = []
    number = 1
    for line in lines:
        if (
            header
            and line.count(delimiter) == len(header) - 1
            and ('"' not in line or quoting == csv.QUOTE_NONE)
        ):
            number += 1
            taken.clear()
            continue
        if '"' in line and quoting != csv.QUOTE_NONE:
            try:  # the reader takes further lines where a quoted cell has line breaks
                row = next(
                    csv.reader(
                        chain([line], lines), delimiter=delimiter, quoting=quoting, strict=True
                    )
                )
            except csv.Error as error:
                reason = (
                    "a quote is opened and never closed" if "end of data" in str(error) else error
                )
                raise DataError(
                    f"{path} cannot be read (line {number}: {reason}); close every quote, "
                    "and double those that belong to a cell's text"
                ) from None
        else:
            row = line.rstrip("\r\n").split(delimiter)
        if len(row) == len(header) and len(taken) == 1:
            pass
        elif not header and line.strip():
            header = row
            _check_header(header, path, delimiter, quoting)
        elif len(row) == 1 and not row[0].strip():
            pass  # a blank line
        elif len(row) != len(header):
            hint = _hint(row, len(header), delimiter, quoting)
            raise DataError(
                f"line {number} of {path} has {len(row)} fields, but the header has "
                f"{len(header)}; {hint}"
            )
        elif all(len(part.split(delimiter)) == len(header) for part in taken):
            raise DataError(
                f"lines {number} to {number + len(taken) - 1} of {path} are one quoted cell, "
                "though each of them looks like a row; close the quote (or double it, if it "
                "belongs to the text), or write the cell on one line"
            )
        number += len(taken)
        taken.clear()


def _hint(row: list[str], wanted: int, delimiter: str, quoting: Any) -> str:
    if len(row) < wanted:
        return "write every field, the empty ones too"
    if len(row) == wanted + 1 and row[-1] == "":
        return f"remove the {delimiter!r} at its end"
    if quoting == csv.QUOTE_NONE:
        return "a cell of TSV holds no tab; name the column in the header, or save it as .csv"
    return f"put a cell that holds {delimiter!r} in quotes, or name the column in the header"


def _text_lines(path: Path, taken: list[str]) -> Iterator[str]:
    """The lines of a text file, each of which is put into `taken` too."""
    with (
        open_unpacked(path) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        number = 0
        while line := text.readline(MAX_LINE):
            number += 1
            if not line.isascii() or "\0" in line:
                decoded(line.encode(errors="surrogateescape"), f"line {number} of {path}")
            if len(line) == MAX_LINE:
                raise DataError(
                    f"line {number} of {path} is longer than {MAX_LINE:,} characters; check that "
                    f"it is the right file"
                )
            taken.append(line)
            yield line


def _check_header(names: list[str], path: Path, delimiter: str, quoting: Any) -> None:
    others = [
        separator for separator in ",;\t|" if separator != delimiter and separator in names[0]
    ]
    if len(names) == 1 and others:
        raise DataError(
            f"the columns of {path} are separated by {others[0]!r}, not by {delimiter!r} (its "
            f"header is {names[0][:80]!r}); save it with commas as .csv or with tabs as .tsv"
        )
    if quoting == csv.QUOTE_NONE and any(name.startswith('"') for name in names):
        raise DataError(
            f"the header of {path} has quotes, which TSV does not have; save it without quotes, "
            f"or as .csv"
        )
    _check_names(names, path)


def _check_names(names: list[str], path: Path) -> None:
    """Columns have names of their own, whatever their case; those without a name are nobody's."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_plain_name(name), name)
        if name and name == other and names.count(name) > 1:
            raise DataError(f"{path} has two columns {name!r}; rename or remove one")
        if name != other:
            raise DataError(
                f"{path} has a column {other!r} and a column {name!r}; rename or remove one"
            )


def _plain_name(name: str) -> str:
    return name.strip().casefold()


def _decoded(table: Any) -> Any:
    """The arrow table with bytes as text, as which other tools often keep it; bytes that are no
    UTF-8 are a ValueError."""
    import pyarrow as pa

    def text(kind: Any) -> Any:
        if (
            pa.types.is_binary(kind)
            or pa.types.is_large_binary(kind)
            or pa.types.is_fixed_size_binary(kind)
        ):
            return pa.string()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pa.list_(text(kind.value_type))
        return kind

    return table.cast(pa.schema([field.with_type(text(field.type)) for field in table.schema]))


def _require(table: Frame, path: Path, columns: list[str]) -> None:
    for name in columns:
        if name not in table.columns:
            hint = (
                "; if rows stand oldest first and have no times, say order='file'"
                if name == "timestamp"
                else ""
            )
            near = [repr(other) for other in map(str, table.columns) if _plain_name(other) == name]
            hint = f"; write {near[0]} as {name!r}" if near else hint
            raise DataError(
                f"{path} has no column {name!r} (it has {', '.join(map(str, table.columns))}); "
                f"rename or add it{hint}"
            )
        empty = np.flatnonzero(table[name].isna())
        if len(empty):
            raise DataError(
                f"column {name!r} of {path} is empty or NaN in {len(empty)} rows (first: row "
                f"{empty[0] + 1}); fill them in or remove the rows"
            )


def _unique(values: Column) -> tuple[str, ...]:
    return tuple(pd.unique(values).tolist())


def _items(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[Cell, ...]]]:
    table = _read(path)
    _require(table, path, ["item"])
    if _RESERVED in table.columns:
        raise DataError(
            f"column {_RESERVED!r} of {path} has a reserved name; rename it, or name it 'item' "
            f"if it is the item's key"
        )
    keys = keys_of(table["item"], path)
    repeated = np.flatnonzero(keys.duplicated())
    if len(repeated):
        raise DataError(
            f"row {repeated[0] + 1} of {path} describes item {keys.iloc[repeated[0]]!r} again "
            f"({len(repeated)} such rows); keep one row per item"
        )
    columns = {
        str(name): cells_of(table[name], str(name), path)
        for name in table.columns
        if name != "item"
    }
    return tuple(keys), columns


def _numbers_of(
    values: Column, keys: tuple[str, ...], path: Path, items_path: Path | None
) -> Int[np.ndarray, " rows"]:
    numbers = pd.Index(keys).get_indexer(pd.Index(values))
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        key = str(values.iloc[unknown[0]])
        near = next((other for other in keys if plain_key(other) == plain_key(key)), None)
        remedy = (
            "add the item there or remove the rows"
            if near is None
            else f"it has {near!r}; write each key in one way"
        )
        raise DataError(
            f"row {unknown[0] + 1} of {path} names item {key!r}, which {items_path} does not have "
            f"({len(unknown)} such rows); {remedy}"
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
            f"row {row + 1} of {path} has the {same} of an earlier row ({repeated.sum()} such "
            f"rows); "
            f"say duplicates='first' (--duplicates first) to drop such rows or 'keep' to count each"
        )
    return rows[~repeated]


def _long_enough(
    users: Int[np.ndarray, " rows"],
    user_keys: Column,
    policy: ShortUsers,
    min_events: int,
    path: Path,
) -> Int[np.ndarray, " kept"]:
    counts = np.bincount(users, minlength=len(user_keys))
    short = np.flatnonzero(counts < min_events)
    if policy == "keep" or not len(short):
        return np.arange(len(users))
    if policy == "error":
        raise DataError(
            f"{len(short)} users of {path} have fewer than {min_events} events (first: "
            f"{str(user_keys[short[0]])!r} has {counts[short[0]]}); say short_users='drop' "
            "(--short-users drop) to leave them out or 'keep' to train on them without testing"
        )
    kept = np.flatnonzero(counts[users] >= min_events)
    if not len(kept):
        raise DataError(
            f"no user of {path} has {min_events} events; lower min_events or bring longer histories"
        )
    return kept
