"""Parsers of the official raw files: one line at a time, gzip or plain, never a whole file in
memory.

- Amazon 2014: reviews are JSON lines; metadata lines are Python dicts, read by `ast.literal_eval`,
  or JSON.
- Amazon 2018: both are JSON lines; some metadata holds page source instead of text, which counts as
  absent.
- Yelp: JSON lines; reviews of 2019-01-01 to 2019-12-31 are kept, the window of the published
  benchmark.
"""

import gzip
import html
import math
import re
import zlib
from array import array
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.data.sources import Release
from scoter.data.times import check_seconds
from scoter.errors import DataError
from scoter.storage.untrusted import check_text, decoded, lines, parse_json, parse_literal
from scoter.types import Cell

YELP_WINDOW = ("2019-01-01", "2019-12-31")

_ASIN_FIRST = re.compile(rb"\{'asin': '([^'\\]+)'")
_TAG = re.compile(r"</?\w[^>]*>")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?")
_DOLLARS = re.compile(r"\$?(\d[\d,]*\.?\d*|\.\d+)")
_LONGEST_SECOND = 2**62  # what is beyond it is no time, and does not fit into 64 bits


@dataclass(frozen=True, eq=False)
class RawReviews:
    """Reviews in file order, as numbers into `user_keys` and `item_keys`; `times` are seconds since
    1970."""

    users: Int[np.ndarray, " events"]
    items: Int[np.ndarray, " events"]
    times: Int[np.ndarray, " events"]
    user_keys: tuple[str, ...]
    item_keys: tuple[str, ...]


def read_reviews(path: Path, release: Release) -> RawReviews:
    """Who reviewed what, and when.

    Raises:
        DataError: the file is missing, empty, truncated or malformed; the message names the line.
    """
    read = _yelp_review if release == "yelp" else _amazon_review
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    events = (
        array("i"),
        array("i"),
        array("q"),
    )  # half the memory for numbers, which stay below 2 ** 31
    for number, line in enumerate(_lines(path), 1):
        if release == "yelp" and YELP_WINDOW[0][:4].encode() not in line:
            continue  # a cheap, exact filter: such a line cannot hold a date of the window
        found = _parsed(read, parse_json, line, path, number)
        if found is not None:
            user, item, time = found
            for column, value in zip(
                events,
                (users.setdefault(user, len(users)), items.setdefault(item, len(items)), time),
                strict=True,
            ):
                column.append(value)
    if not users:
        raise DataError(
            f"{path} holds no review of the wanted time window; check that it is the right file"
        )
    columns = [np.frombuffer(column, f"i{column.itemsize}") for column in events]
    if (
        release != "yelp"
    ):  # whose times are dates of the window, and whose other lines give no event
        check_seconds(columns[2], lambda event: f"line {event + 1} of {path}")
    return RawReviews(*columns, user_keys=tuple(users), item_keys=tuple(items))


def read_metadata(
    path: Path, release: Release, wanted: Container[str]
) -> dict[str, Mapping[str, Cell]]:
    """Title, brand, categories and price (Yelp: title and categories) of each wanted item that the
    file describes.

    An item that comes twice keeps its first description. What is not known is `''`, `()` or NaN.

    Raises:
        DataError: the file is missing, empty, truncated or malformed; the message names the line.
    """
    describe, load = {
        "amazon-2014": (_amazon_2014_item, _python_or_json),
        "amazon-2018": (_amazon_2018_item, parse_json),
        "yelp": (_yelp_item, parse_json),
    }[release]
    key_name = "business_id" if release == "yelp" else "asin"
    result: dict[str, Mapping[str, Cell]] = {}
    for number, line in enumerate(_lines(path), 1):
        first = _ASIN_FIRST.match(line) if release == "amazon-2014" else None
        if first is not None and first[1].decode(errors="replace") not in wanted:
            continue  # most lines describe items that nobody wants; literal_eval is slow
        key, cells = _parsed(
            lambda record: (_key(record[key_name]), describe(record)), load, line, path, number
        )
        if key in wanted:
            result.setdefault(key, cells)
    return result


def _lines(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; download it with `scoter data prepare`, or put it there by "
            f"hand"
        )
    number = 0
    try:
        check_text(path)
        for line in lines(path):
            number += 1
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is truncated or damaged after line {number} ({error}); delete it and "
            f"download it again"
        ) from None
    if number == 0:
        raise DataError(f"{path} is empty; delete it and download it again")


def _parsed(
    read: Callable[[Any], Any], load: Callable[[str], Any], line: bytes, path: Path, number: int
) -> Any:
    try:
        return read(load(decoded(line, f"line {number} of {path}")))
    except LookupError as error:
        raise DataError(
            f"line {number} of {path} has no field {error}; check that it is the right file"
        ) from None
    except (
        ValueError,
        SyntaxError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise DataError(
            f"line {number} of {path} cannot be read ({error}): {line[:80]!r}; delete the file "
            f"and download it again"
        ) from None


def _amazon_review(record: dict[str, Any]) -> tuple[str, str, int]:
    return _key(record["reviewerID"]), _key(record["asin"]), _second(record["unixReviewTime"])


def _yelp_review(record: dict[str, Any]) -> tuple[str, str, int] | None:
    date = record["date"]
    if not YELP_WINDOW[0] <= date[:10] <= YELP_WINDOW[1]:
        return None
    if not _DATE.fullmatch(date):
        raise ValueError(f"{date[:40]!r} is no date")
    second = np.datetime64(date.replace(" ", "T"), "s").astype(np.int64)
    return _key(record["user_id"]), _key(record["business_id"]), _second(second)


def _python_or_json(line: str) -> Any:
    """A Python dict, whose keys are in single quotes, or a JSON object, whose keys never are."""
    return parse_json(line) if line.startswith('{"') else parse_literal(line)


def _key(value: Any) -> str:
    """A user's or item's key: text that can be written down again."""
    if not isinstance(value, str):
        raise TypeError(f"a key is text, and {str(value)[:40]!r} is not")
    value.encode()  # half of a character pair is a UnicodeError, which is a ValueError
    return value


def _second(value: Any) -> int:
    return max(-_LONGEST_SECOND, min(int(value), _LONGEST_SECOND))


def _amazon_2014_item(record: dict[str, Any]) -> dict[str, Cell]:
    return {
        "title": _clean(record.get("title")),
        "brand": _clean(record.get("brand")),
        "categories": _path(record.get("categories")),
        "price": _price(record.get("price")),
    }


def _amazon_2018_item(record: dict[str, Any]) -> dict[str, Cell]:
    return {
        "title": _clean(record.get("title")),
        "brand": _clean(str(record.get("brand") or "").removeprefix("by\n")),
        "categories": _path(record.get("category"), end="</span>"),
        "price": _price(record.get("price")),
    }


def _yelp_item(record: dict[str, Any]) -> dict[str, Cell]:
    levels = record.get("categories")
    return {
        "title": _clean(record.get("name")),
        "categories": _path(levels.split(",") if isinstance(levels, str) else levels),
    }


def _path(levels: Any, end: str | None = None) -> tuple[str, ...]:
    """Categories from coarse to fine: those of a flat list, or the first of several paths. A level
    that holds `end` ends them."""
    known = [
        level
        for level in ([levels] if isinstance(levels, str) else levels or ())
        if level is not None
    ]
    if known and isinstance(known[0], (list, tuple)):
        return _path(known[0], end)
    if end is not None:
        known = list(takewhile(lambda level: end not in str(level), known))
    return tuple(filter(None, map(_clean, known)))


def _clean(text: Any) -> str:
    """Plain text on one line: entities decoded, tags removed; page source (which names getTime)
    counts as nothing."""
    decoded = html.unescape(str(text or ""))
    tagged = (
        decoded.rfind(">") + 1
    )  # no tag ends later; so the search takes no square of the length
    plain = " ".join((_TAG.sub(" ", decoded[:tagged]) + decoded[tagged:]).split())
    return "" if "getTime" in plain else plain.encode(errors="replace").decode()


def _price(value: Any) -> float:
    """A number, or dollars as text; anything else (a range, page source) is unknown."""
    if isinstance(value, str):
        dollars = _DOLLARS.fullmatch(value.strip())
        value = dollars[1].replace(",", "") if dollars else None
    price = float(value) if value not in (None, "") else math.nan
    return price if math.isfinite(price) else math.nan
