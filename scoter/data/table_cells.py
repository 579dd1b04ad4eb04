"""The values of a user's own table: times, keys, and catalogue cells as text, lists or numbers."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pandas as pd
from jaxtyping import Int

from scoter.data.times import check_seconds
from scoter.errors import DataError
from scoter.storage.untrusted import parse_json, parse_literal
from scoter.types import Cell

Nanoseconds = Int[np.ndarray, " rows"]  # since 1970
RowName = Callable[[int], str]

TEXT_COLUMNS = ("title", "brand", "phrase", "description")
LIST_COLUMN = "categories"
SECOND = 10**9  # nanoseconds

_EXACT_FLOAT = 2**53  # whole numbers above it were rounded when they became floats
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_LISTS = (list, tuple, np.ndarray)
_NUMPY_LIST = re.compile(r"""['"]\s+['"]""")


def nanoseconds_of(values: pd.Series, place: str) -> Nanoseconds:
    """Nanoseconds since 1970 of seconds or ISO 8601 dates (UTC where they name no zone).

    They are exact, so that events within one second keep their order. What is no time, or no
    plausible one (see `check_seconds`), is a `DataError`.
    """

    def row_name(row: int) -> str:
        return f"row {row + 1} of {place}"

    if pd.api.types.is_datetime64_any_dtype(values):
        return _of_dates(values, values, row_name)
    if _is_numeric(values):
        return _of_numbers(values.to_numpy(), row_name)
    text = values.astype(str).str.strip()
    numbers = _numbers(text)
    is_date = numbers.isna().to_numpy()
    dates = pd.to_datetime(text[is_date], format="ISO8601", utc=True, errors="coerce")
    bad = np.flatnonzero(is_date)[dates.isna().to_numpy()]
    if len(bad):
        row = f"{row_name(int(bad[0]))} has timestamp {text.iloc[bad[0]][:40]!r}"
        wanted = f"neither seconds nor an ISO 8601 date ({len(bad)} such rows)"
        raise DataError(f"{row}, which is {wanted}; write 1546300800 or 2019-01-01")
    if is_date.all():
        return _of_dates(dates, text, row_name)
    if is_date.any():
        date, number = int(is_date.argmax()), int(is_date.argmin())
        row = f"{row_name(date)} has timestamp {text.iloc[date]!r}, a date, but row {number + 1}"
        remedy = "write all as seconds since 1970 or all as dates"
        raise DataError(f"{row} has {text.iloc[number]!r}, a number; {remedy}")
    _of_numbers(numbers.to_numpy(), row_name)
    if text.str.isdecimal().all():
        return text.astype(np.int64).to_numpy() * SECOND
    exact = (int(Decimal(number) * SECOND) for number in text)
    return np.fromiter(exact, np.int64, len(text))


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _of_dates(dates: pd.Series, written: pd.Series, row_name: RowName) -> Nanoseconds:
    zoned = dates.dt.tz_convert("UTC").dt.tz_localize(None) if dates.dt.tz is not None else dates
    moments = zoned.to_numpy()
    seconds = moments.astype("datetime64[s]").astype(np.int64)
    check_seconds(seconds, row_name, lambda row: str(written.iloc[row]))
    return moments.astype("datetime64[ns]").astype(np.int64)


def _of_numbers(seconds: np.ndarray, row_name: RowName) -> Nanoseconds:
    check_seconds(seconds, row_name)
    whole = np.floor(seconds).astype(np.int64)
    fraction = np.rint((seconds - whole) * SECOND).astype(np.int64)
    return whole * SECOND + np.minimum(fraction, SECOND - 1)


def _numbers(text: pd.Series) -> pd.Series:
    try:
        return pd.Series(pd.to_numeric(text, errors="coerce"), dtype=float)
    except OverflowError:  # pandas does not survive hundreds of digits; to Python they are infinite
        return text.map(_number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def keys_of(values: pd.Series, place: str) -> pd.Series:
    """The keys of a column as text; whole numbers that became floats are whole again.

    A key that is blank, an inexact number, or written in two ways is a `DataError`.
    """
    if pd.api.types.is_float_dtype(values):
        unsafe = np.flatnonzero((values % 1 != 0) | (values.abs() > _EXACT_FLOAT))
        if len(unsafe):
            value = f"{values.name} {float(values.iloc[unsafe[0]])!r}"
            row = f"row {unsafe[0] + 1} of {place} has {value}, which is no exact whole number"
            remedy = "write keys as text or whole numbers"
            raise DataError(f"{row} ({len(unsafe)} such rows); {remedy}")
        values = values.astype(np.int64)
    held = np.flatnonzero(values.map(type).isin([list, tuple, dict, np.ndarray]))
    if len(held):
        row = f"row {held[0] + 1} of {place} has {values.name} {values.iloc[held[0]]!r}"
        raise DataError(f"{row} ({len(held)} such rows); write each key as text or a number")
    keys = values.astype(str)
    blank = np.flatnonzero(keys.str.strip() == "")
    if len(blank):
        rows = f"{len(blank)} rows (first: row {blank[0] + 1})"
        raise DataError(f"column {values.name!r} of {place} is blank in {rows}; fill them in")
    first: dict[str, str] = {}
    for key in pd.unique(keys).tolist():
        known = first.setdefault(plain_key(key), key)
        if known != key:
            rows = [np.flatnonzero(keys == spelling)[0] + 1 for spelling in (key, known)]
            row = f"row {rows[0]} of {place} has {values.name} {key!r}, but row {rows[1]} has"
            forms = f"{known!r}: other blanks, '.0' or Unicode form"
            raise DataError(f"{row} {forms}; write each key in one way")
    return keys


def plain_key(key: str) -> str:
    """A key without blanks around it and '.0' after a number, in one Unicode form."""
    stripped = unicodedata.normalize("NFC", key.strip())
    whole = _WHOLE.fullmatch(stripped)
    return whole[1] if whole else stripped


def cells_of(values: pd.Series, name: str, place: str) -> tuple[Cell, ...]:
    """One catalogue column; empty cells become `''`, `()` or NaN, and lists are not mixed."""
    empty = values.isna().tolist()
    cells = [None if is_empty else cell for cell, is_empty in zip(values, empty, strict=True)]
    if name == LIST_COLUMN or any(isinstance(cell, _LISTS) for cell in cells):
        return tuple(_list_cell(cell, name, place) for cell in cells)
    if name not in TEXT_COLUMNS and _is_numeric(values):
        return tuple(values.astype(float).tolist())
    if name == "price":
        return tuple(_price(cell, place) for cell in cells)
    return tuple("" if cell is None else str(cell) for cell in cells)


def _price(value: object, place: str) -> float:
    try:
        return float("nan") if value in (None, "") else float(str(value))
    except ValueError:
        wrong = f"column 'price' of {place} holds {value!r}, which is no number"
        raise DataError(f"{wrong}; write numbers, or rename the column") from None


def _list_cell(value: object, name: str, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = _written_list(value, name, place)
    if isinstance(value, _LISTS) and len(value) and isinstance(value[0], _LISTS):
        value = value[0]  # of several paths the first, as in text
    if isinstance(value, _LISTS):
        return tuple(str(part) for part in value if part is not None)
    raise DataError(f"column {name!r} of {place} holds {value!r}, which is no list; use '|'")


def _written_list(text: str, name: str, place: str) -> object:
    """The list that a cell writes out, as in JSON or Python; other text is separated by '|'."""
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]"):
        if _NUMPY_LIST.search(text):
            start = f"column {name!r} of {place} holds {text[:80]!r}"
            raise DataError(f"{start}, a list without commas; separate its parts by ',' or '|'")
        for read in (parse_json, parse_literal):
            try:
                parts = read(stripped)
            except ValueError:
                continue
            return parts[0] if parts and isinstance(parts[0], list) else parts
    return [part.strip() for part in text.split("|") if part.strip()]
