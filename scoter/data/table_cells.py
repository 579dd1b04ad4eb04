"""The values of a user's own table: times as seconds, and catalogue cells as text, lists or numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from scoter.errors import DataError
from scoter.types import Cell

Column = Any  # a pandas Series; pandas ships no usable types
TEXT_COLUMNS = ("title", "brand", "phrase", "description")
LIST_COLUMN = "categories"

_LATEST_SECOND = 100_000_000_000  # the year 5138; above it a number is surely not in seconds


def seconds_of(values: Column, path: Path) -> Int[np.ndarray, " rows"]:
    """Seconds since 1970 from numbers or ISO 8601 dates (without a zone: UTC); fractions of a second are cut off.

    Raises:
        DataError: a value is no time, is negative, or is plainly in milliseconds.
    """
    if not pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_datetime64_any_dtype(values):
        numbers: Column = _numbers(values)
        values = numbers if numbers.notna().all() else pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    bad = np.flatnonzero(values.isna())
    if len(bad):
        raise DataError(
            f"row {bad[0] + 1} of {path} has a timestamp that is neither seconds nor an ISO 8601 date ({len(bad)} such rows); "
            f"write 1546300800 or 2019-01-01T00:00:00"
        )
    if pd.api.types.is_datetime64_any_dtype(values):
        zoned = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
        return zoned.to_numpy().astype("datetime64[s]").astype(np.int64)
    seconds = values.to_numpy(dtype=float)
    outside = np.flatnonzero(~np.isfinite(seconds) | (seconds < 0) | (seconds > _LATEST_SECOND))
    if len(outside):
        raise DataError(
            f"row {outside[0] + 1} of {path} has timestamp {seconds[outside[0]]:.0f}, which is no time in seconds since 1970 "
            f"({len(outside)} such rows); divide milliseconds by 1000"
        )
    return seconds.astype(np.int64)


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


def cells_of(values: Column, name: str, path: Path) -> tuple[Cell, ...]:
    """One catalogue column; what is empty becomes `''`, `()` or NaN.

    Raises:
        DataError: a column of lists holds something that is no list.
    """
    lists = values.map(lambda value: isinstance(value, (list, tuple, np.ndarray)))
    if name == LIST_COLUMN or lists.any():
        return tuple(_list_cell(value, name, path) for value in values)
    if name not in TEXT_COLUMNS and pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return tuple(float(value) for value in values.astype(float))
    return tuple("" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True))


def _list_cell(value: Any, name: str, path: Path) -> tuple[str, ...]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(str(part) for part in value)
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split("|") if part.strip())
    if pd.isna(value):
        return ()
    raise DataError(f"column {name!r} of {path} holds {value!r}, which is no list; use lists, or text separated by '|'")
