"""One check of times for every way in: seconds since 1970 that were numbers, dates or text."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float, Int

from scoter.errors import DataError

LATEST = 4_102_444_800  # 2100-01-01; a later second is no time of an interaction

_DIVISORS = (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_LEAST_GUESS = 100_000_000  # in 1973; a unit that leads to an earlier day is a bad guess
_WRITTEN_DATES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}

Seconds = Int[np.ndarray, " rows"] | Float[np.ndarray, " rows"]


def check_seconds(
    seconds: Seconds, place: Callable[[int], str], written: Callable[[int], str] | None = None
) -> None:
    """Refuse times outside 1970 to 2099; small numbers pass, as they may count from another start.

    A number such as 20190101 is a second in August 1970 as well as a date, so dates written as
    numbers are refused where most of the values look like one. `place` names a row, and `written`
    the value of one that was a date.
    """
    bad = np.flatnonzero(~((seconds >= 0) & (seconds < LATEST)))
    if not len(bad):
        bad = _written_dates(seconds) if written is None else bad
        if 2 * len(bad) <= len(seconds):
            return
    row = int(bad[0])
    value = seconds[row].item()
    is_whole = np.isfinite(value) and value % 1 == 0
    shown = written(row) if written else str(int(value) if is_whole else value)
    reason = f"{place(row)} has timestamp {shown}, which is no time in seconds since 1970"
    raise DataError(f"{reason} ({len(bad)} such rows); {_remedy(value, written is None)}")


def _remedy(value: int | float, was_a_number: bool) -> str:
    if not np.isfinite(value):
        return "write seconds as digits, such as 1546300800"
    if value < 0:
        return "it lies before 1970: correct it, leave out the row, or use --order file"
    if was_a_number:
        if date := _as_date(int(value)):
            return f"it looks like a date written as a number: write {date} instead, or seconds"
        for unit, divisor in _DIVISORS:
            if _LEAST_GUESS <= value / divisor < LATEST:
                day = datetime.fromtimestamp(value / divisor, UTC).date()
                return f"divide {unit} by {divisor} (it would mean {day})"
    return "it lies after 2099: correct it or leave out the row"


def _as_date(value: int) -> str | None:
    """The ISO date that was written as one number, such as 20190101; None where it is none."""
    digits = str(value)
    try:
        when = datetime.strptime(digits, _WRITTEN_DATES[len(digits)])
    except (KeyError, ValueError):
        return None
    if not 1900 <= when.year < 2100:
        return None
    return when.date().isoformat() if len(digits) == 8 else when.isoformat()


def _written_dates(seconds: Seconds) -> Int[np.ndarray, " dates"]:
    near = np.flatnonzero((seconds >= 19000101) & (seconds <= 20991231))
    values, value_of = np.unique(seconds[near], return_inverse=True)
    is_date = [value == int(value) and bool(_as_date(int(value))) for value in values.tolist()]
    return near[np.asarray(is_date, bool)[value_of]]
