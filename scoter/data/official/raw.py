"""Readers of the official raw files: one line at a time, packed or plain, never whole in memory.

Lines are JSON, in Amazon 2014's metadata also Python dicts. Page source in place of text, as in
Amazon 2018, counts as absent. Yelp's reviews of 2019 are kept, as in the published benchmark.
"""

import gzip
import html
import math
import re
import zlib
from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

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
_UNREADABLE = (ValueError, SyntaxError, TypeError, AttributeError, OverflowError, MemoryError,
    RecursionError)  # fmt: skip

Record = dict[str, object]
Result = TypeVar("Result")
Cells = Mapping[str, Cell]
Load = Callable[[str], object]
Read = Callable[[Record], Result]


@dataclass(frozen=True, eq=False)
class RawReviews:
    """Reviews in file order."""

    users: Int[np.ndarray, " events"]  # places in `user_keys`
    items: Int[np.ndarray, " events"]  # places in `item_keys`
    times: Int[np.ndarray, " events"]  # seconds since 1970
    user_keys: tuple[str, ...]
    item_keys: tuple[str, ...]


def raw_file(folder: Path, name: str) -> Path:
    """The path of a raw file, which may lie packed (`.gz`) or unpacked."""
    plain = name.removesuffix(".gz")
    paths = [folder / name, folder / plain, folder / f"{plain}.gz"]
    return next((path for path in paths if path.is_file()), paths[0])


def read_reviews(path: Path, release: Release) -> RawReviews:
    """Who reviewed what, and when; a missing or malformed file is a `DataError`."""
    is_yelp = release == "yelp"
    read = _yelp_review if is_yelp else _amazon_review
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    columns = array("i"), array("i"), array("q")  # numbers below 2 ** 31 take half the memory

    def is_outside(line: bytes) -> bool:  # cheap and exact: the line holds no date of the window
        return is_yelp and YELP_WINDOW[0][:4].encode() not in line

    for review in _records(path, parse_json, read, is_outside):
        if review is not None:
            user, item, time = review
            columns[0].append(users.setdefault(user, len(users)))
            columns[1].append(items.setdefault(item, len(items)))
            columns[2].append(time)
    if not users:
        raise DataError(f"{path} holds no review of the wanted time window; check the file")
    arrays = [np.frombuffer(column, f"i{column.itemsize}") for column in columns]
    if not is_yelp:  # its times are dates of the window, and its events are not its lines
        check_seconds(arrays[2], lambda event: f"line {event + 1} of {path}")
    return RawReviews(*arrays, user_keys=tuple(users), item_keys=tuple(items))


def read_metadata(path: Path, release: Release, wanted: Container[str]) -> dict[str, Cells]:
    """Title, brand, categories and price (Yelp: title and categories) of each wanted item.

    An item that comes twice keeps its first description. What is not known is `''`, `()` or NaN.
    """
    is_2014 = release == "amazon-2014"
    layout = ("categories", None, "") if is_2014 else ("category", "</span>", "by\n")
    key_name = "business_id" if release == "yelp" else "asin"

    def is_unwanted(line: bytes) -> bool:  # most lines are, and a Python dict is slow to read
        first = _ASIN_FIRST.match(line) if is_2014 else None
        return first is not None and first[1].decode(errors="replace") not in wanted

    def read(record: Record) -> tuple[str, dict[str, Cell]]:
        key = _key(record[key_name])
        return key, _yelp_item(record) if release == "yelp" else _amazon_item(record, *layout)

    result: dict[str, Cells] = {}
    load = _python_or_json if is_2014 else parse_json
    for key, cells in _records(path, load, read, is_unwanted):
        if key in wanted:
            result.setdefault(key, cells)
    return result


def _records(
    path: Path, load: Load, read: Read[Result], skip: Callable[[bytes], bool]
) -> Iterator[Result]:
    """What `read` makes of each line that is not skipped."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; download it with `scoter data prepare`")
    number = 0
    try:
        check_text(path)
        for line in lines(path):
            number += 1
            if not skip(line):
                yield _parsed(line, f"line {number} of {path}", load, read)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        damage = f"{path} is truncated or damaged after line {number} ({error})"
        raise DataError(f"{damage}; delete it and download it again") from None
    if number == 0:
        raise DataError(f"{path} is empty; delete it and download it again")


def _parsed(line: bytes, place: str, load: Load, read: Read[Result]) -> Result:
    try:
        record = load(decoded(line, place))
        if not isinstance(record, dict):
            raise TypeError("it is no object")
        return read(record)
    except LookupError as error:
        raise DataError(f"{place} has no field {error}; check that it is the right file") from None
    except _UNREADABLE as error:
        start = f"{place} cannot be read ({error}): {line[:80]!r}"
        raise DataError(f"{start}; delete the file and download it again") from None


def _python_or_json(line: str) -> object:
    """A Python dict, whose keys are in single quotes, or a JSON object, whose keys never are."""
    return parse_json(line) if line.startswith('{"') else parse_literal(line)


def _amazon_review(record: Record) -> tuple[str, str, int]:
    time = record["unixReviewTime"]
    if not isinstance(time, (int, float, str)):
        raise TypeError(f"a time is a number, and {str(time)[:40]!r} is not")
    second = max(-_LONGEST_SECOND, min(int(time), _LONGEST_SECOND))
    return _key(record["reviewerID"]), _key(record["asin"]), second


def _yelp_review(record: Record) -> tuple[str, str, int] | None:
    date = _key(record["date"], "a date")
    if not YELP_WINDOW[0] <= date[:10] <= YELP_WINDOW[1]:
        return None
    if not _DATE.fullmatch(date):
        raise ValueError(f"{date[:40]!r} is no date")
    second = int(np.datetime64(date.replace(" ", "T"), "s").astype(np.int64))
    return _key(record["user_id"]), _key(record["business_id"]), second


def _key(value: object, what: str = "a key") -> str:
    """A user's or item's key: text that can be written down again."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is text, and {str(value)[:40]!r} is not")
    value.encode()  # half of a character pair is a UnicodeError, which is a ValueError
    return value


def _amazon_item(record: Record, levels: str, end: str | None, by: str) -> dict[str, Cell]:
    categories = _path(record.get(levels), end)
    title, price = _clean(record.get("title")), _price(record.get("price"))
    brand = _clean(str(record.get("brand") or "").removeprefix(by))
    return {"title": title, "brand": brand, "categories": categories, "price": price}


def _yelp_item(record: Record) -> dict[str, Cell]:
    levels = record.get("categories")
    categories = _path(levels.split(",") if isinstance(levels, str) else levels)
    return {"title": _clean(record.get("name")), "categories": categories}


def _path(levels: object, end: str | None = None) -> tuple[str, ...]:
    """Categories from coarse to fine, of a flat list or the first of several; `end` ends them."""
    if not levels:
        return ()
    if isinstance(levels, str):
        levels = [levels]
    if not isinstance(levels, Iterable):
        raise TypeError(f"categories are a list, and {str(levels)[:40]!r} is not")
    known = [level for level in levels if level is not None]
    if known and isinstance(known[0], (list, tuple)):
        return _path(known[0], end)
    if end is not None:
        known = list(takewhile(lambda level: end not in str(level), known))
    return tuple(filter(None, map(_clean, known)))


def _clean(text: object) -> str:
    """Plain text on one line: entities decoded, tags removed; page source counts as nothing."""
    decoded_text = html.unescape(str(text or ""))
    end = decoded_text.rfind(">") + 1  # no tag ends later; so the search is not quadratic
    plain = " ".join((_TAG.sub(" ", decoded_text[:end]) + decoded_text[end:]).split())
    return "" if "getTime" in plain else plain.encode(errors="replace").decode()


def _price(value: object) -> float:
    """A number, or dollars as text; anything else (a range, page source) is unknown."""
    if isinstance(value, str):
        dollars = _DOLLARS.fullmatch(value.strip())
        value = dollars[1].replace(",", "") if dollars else None
    if value is None:
        return math.nan
    if not isinstance(value, (int, float, str)):
        raise TypeError(f"a price is a number or text, and {str(value)[:40]!r} is neither")
    price = float(value)
    return price if math.isfinite(price) else math.nan
