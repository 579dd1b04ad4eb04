"""The values of a user's own table: times, keys, and catalogue cells as text, lists or numbers."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from scoter.data.times import check_seconds
from scoter.errors import DataError
from scoter.storage.untrusted import parse_json, parse_literal
from scoter.types import Cell

Column = Any  # a pandas Series; pandas ships no usable types
TEXT_COLUMNS = ("title", "brand", "phrase", "description")
LIST_COLUMN = "categories"
SECOND = 10**9
"""In nanoseconds."""

_EXACT_FLOAT = 2**53  # whole numbers above it were rounded when they became floats
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_NUMPY_LIST = re.compile(r"""['"]\s+['"]""")


def nanoseconds_of(values: Column, path: Path) -> Int[np.ndarray, " rows"]:
    """Nanoseconds since 1970 from seconds (numbers, with or without a fraction) or ISO 8601 dates
    (without a zone: UTC).

    They are exact, so that events within one second keep their order; only numbers that the file
    holds as floats are as exact as those are, about a microsecond.

    Raises:
        DataError: a value is no time, or no plausible one (see `check_seconds`).
    """

    def place(row: int) -> str:
        return f"row {row + 1} of {path}"

    if pd.api.types.is_datetime64_any_dtype(values):
        return _of_dates(values, values, place)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return _of_numbers(values.to_numpy(), place)
    text = values.astype(str).str.strip()
    numbers = _numbers(text)
    is_date = numbers.isna().to_numpy()
    dates = pd.to_datetime(text[is_date], format="ISO8601", utc=True, errors="coerce")
    bad = np.flatnonzero(is_date)[dates.isna().to_numpy()]
    if len(bad):
        raise DataError(
            f"{place(int(bad[0]))} has timestamp {text.iloc[bad[0]][:40]!r}, which is neither "
            f"seconds nor an ISO 8601 date "
            f"({len(bad)} such rows); write 1546300800 or 2019-01-01T00:00:00"
        )
    if is_date.all():
        return _of_dates(dates, text, place)
    if is_date.any():
        first = [int(np.flatnonzero(rows)[0]) for rows in (is_date, ~is_date)]
        raise DataError(
            f"{place(first[0])} has timestamp {text.iloc[first[0]]!r}, a date, but row "
            f"{first[1] + 1} has {text.iloc[first[1]]!r}, a number; write all of them as seconds "
            "since 1970 or all as dates"
        )
    whole = _of_numbers(numbers.to_numpy(), place)
    if text.str.isdecimal().all():
        return text.astype(np.int64).to_numpy() * SECOND
    exact = (int(Decimal(number) * SECOND) for number in text)
    return np.fromiter(exact, np.int64, len(whole))


def _of_dates(
    dates: Column, written: Column, place: Callable[[int], str]
) -> Int[np.ndarray, " rows"]:
    zoned = dates.dt.tz_convert("UTC").dt.tz_localize(None) if dates.dt.tz is not None else dates
    moments = zoned.to_numpy()
    check_seconds(
        moments.astype("datetime64[s]").astype(np.int64), place, lambda row: str(written.iloc[row])
    )
    return moments.astype("datetime64[ns]").astype(np.int64)


def _of_numbers(seconds: np.ndarray, place: Callable[[int], str]) -> Int[np.ndarray, " rows"]:
    check_seconds(seconds, place)
    whole = np.floor(seconds).astype(np.int64)
    fraction = np.rint((seconds - whole) * SECOND).astype(np.int64)
    return whole * SECOND + np.minimum(fraction, SECOND - 1)


def _numbers(values: Column) -> Column:
    """Cells as floats, NaN where they are no numbers."""
    try:
        numbers: Column = pd.to_numeric(values, errors="coerce")
        return numbers.astype(float)
    except OverflowError:  # digits by the hundred, which pandas does not survive
        return values.map(_number)


def _number(value: Any) -> float:
    """A cell as Python reads it: too many digits are infinite."""
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def keys_of(values: Column, path: Path) -> Column:
    """The keys of a column as text. Whole numbers that became floats, as beside an empty cell, are
    whole again.

    Raises:
        DataError: a key is blank, a number with a fraction or too long for a float, or the column
            writes one key in two ways.
    """
    if pd.api.types.is_float_dtype(values):
        unsafe = np.flatnonzero((values % 1 != 0) | (values.abs() > _EXACT_FLOAT))
        if len(unsafe):
            raise DataError(
                f"row {unsafe[0] + 1} of {path} has {values.name} "
                f"{float(values.iloc[unsafe[0]])!r}, a float that is no "
                f"exact whole number ({len(unsafe)} such rows); write keys as text or whole numbers"
            )
        values = values.astype(np.int64)
    keys = values.astype(str)
    blank = np.flatnonzero(keys.str.strip() == "")
    if len(blank):
        raise DataError(
            f"column {values.name!r} of {path} is blank in {len(blank)} rows (first: row "
            f"{blank[0] + 1}); fill them in or remove the rows"
        )
    written: dict[str, str] = {}
    for key in pd.unique(keys).tolist():
        other = written.setdefault(plain_key(key), key)
        if other != key:
            raise DataError(
                f"row {np.flatnonzero(keys == key)[0] + 1} of {path} has {values.name} {key!r}, "
                f"but row {np.flatnonzero(keys == other)[0] + 1} has {other!r}: the two differ in "
                "nothing but blanks around them, '.0' after a number, or the Unicode form; write "
                "each key in one way"
            )
    return keys


def plain_key(key: str) -> str:
    """What a key is, however it is written: without blanks around it and '.0' after a number, in
    one Unicode form."""
    stripped = unicodedata.normalize("NFC", key.strip())
    whole = _WHOLE.fullmatch(stripped)
    return whole[1] if whole else stripped


def cells_of(values: Column, name: str, path: Path) -> tuple[Cell, ...]:
    """One catalogue column; what is empty becomes `''`, `()` or NaN.

    Raises:
        DataError: a column of lists holds something that is no list.
    """
    lists = values.map(lambda value: isinstance(value, (list, tuple, np.ndarray)))
    if name == LIST_COLUMN or lists.any():
        return tuple(_list_cell(value, name, path) for value in values)
    if (
        name not in TEXT_COLUMNS
        and pd.api.types.is_numeric_dtype(values)
        and not pd.api.types.is_bool_dtype(values)
    ):
        return tuple(float(value) for value in values.astype(float))
    return tuple(
        "" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)
    )


def _list_cell(value: Any, name: str, path: Path) -> tuple[str, ...]:
    if isinstance(value, str):
        value = _written_list(value, name, path)
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(str(part) for part in value if part is not None)
    if pd.isna(value):
        return ()
    raise DataError(
        f"column {name!r} of {path} holds {value!r}, which is no list; use lists, or text "
        f"separated by '|'"
    )


def _written_list(text: str, name: str, path: Path) -> list[Any] | tuple[Any, ...]:
    """The list that a cell writes out, as pandas writes lists to CSV; other text is separated by
    '|'."""
    if text.strip().startswith("[") and text.strip().endswith("]"):
        if _NUMPY_LIST.search(text):
            raise DataError(
                f"column {name!r} of {path} holds {text[:80]!r}, a list without commas; separate "
                f"its parts by ',' or '|'"
            )
        for read in (parse_json, parse_literal):
            try:
                parts = read(text.strip())
            except ValueError:
                continue
            return parts[0] if parts and isinstance(parts[0], list) else parts
    return [part.strip() for part in text.split("|") if part.strip()]
