"""A large simulated shop in the official raw format of Amazon 2014, streamed to disk as gzip.

Not the shop of `scoter.data.simulated`, whose plans have known answers: here only the counts, the
skews and the format matter. Three users in ten are regular (five reviews or more, lengths of a
gamma-Poisson mixture), the others have one to three. A user has three favourite categories of about
a thousand items, from which nine reviews in ten come; within a category popularity falls with rank.
As in the official files, reviews stand item by item and metadata are Python dicts.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from scoter.data.sources import Counts, Source
from scoter.seeding import derive_seed

SOURCE = Source(
    name="large",
    release="amazon-2014",
    files=("reviews_Large.json.gz", "meta_Large.json.gz"),
    addresses=(),
    page="tests/faults/large_shop.py",
    citation="simulated",
    terms="none",
    counts=Counts(0, 0, 0),
)
# Users, items and times of all reviews, item by item.
Events = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]
REGULAR, FEWEST, ITEMS_PER_CATEGORY, FAVOURITES = 0.3, 5, 1000, 3
_CHUNK = 200_000
_WORDS = (
    *("soft", "light", "works", "smells", "the", "skin", "price", "again", "bottle", "would"),
    *("buy", "gift", "hair", "daily"),
)


@dataclass(frozen=True)
class Size:
    """How many there are in the raw files, before the five-core."""

    interactions: int
    users: int
    items: int

    def times(self, share: float) -> "Size":
        counts = (self.interactions, self.users, self.items)
        return Size(*(max(1, round(count * share)) for count in counts))


FULL = Size(interactions=20_000_000, users=5_000_000, items=1_000_000)


def write_raw(folder: Path, size: Size, seed: int) -> int:
    """Write both files into `folder` and return their uncompressed bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(derive_seed(seed, "large shop"))
    reviews, metadata = (folder / name for name in SOURCE.files)
    written = _write(reviews, _review_lines(_events(size, rng), rng))
    return written + _write(metadata, _metadata_lines(size.items, rng))


def lengths_of(size: Size, rng: np.random.Generator) -> Int[np.ndarray, " users"]:
    """How many reviews each user wrote; they sum to `size.interactions`.

    >>> lengths = lengths_of(Size(4000, 1000, 200), np.random.default_rng(0))
    >>> int(lengths.sum()), int(lengths.min()), int((lengths >= 5).sum())
    (4000, 1, 300)
    """
    regular = round(REGULAR * size.users)
    few = rng.choice([1, 2, 3], size.users - regular, p=[0.6, 0.25, 0.15])
    weights = rng.gamma(1.0, size=regular)
    left = size.interactions - few.sum() - FEWEST * regular
    more = rng.multinomial(left, weights / weights.sum())
    return rng.permutation(np.concatenate([few, FEWEST + more]))


def _events(size: Size, rng: np.random.Generator) -> Events:
    users = np.repeat(np.arange(size.users, dtype=np.int32), lengths_of(size, rng))
    count = len(users)
    categories = max(1, size.items // ITEMS_PER_CATEGORY)
    favourites = rng.integers(0, categories, (size.users, FAVOURITES), dtype=np.int32)
    category = favourites[users, rng.integers(0, FAVOURITES, count, dtype=np.int8)]
    strays = rng.random(count, dtype=np.float32) < 0.1
    category[strays] = rng.integers(0, categories, int(strays.sum()), dtype=np.int32)
    popularity = (np.arange(ITEMS_PER_CATEGORY) + 20.0) ** -0.7
    ends = np.cumsum(popularity / popularity.sum())
    rank = np.searchsorted(ends, rng.random(count, dtype=np.float32)).astype(np.int32)
    items = np.minimum(category + categories * rank, size.items - 1)
    times = 1_100_000_000 + rng.integers(0, 300_000_000, count, dtype=np.int32)
    order = np.argsort(items, kind="stable")
    return users[order], items[order], times[order]


def _review_lines(events: Events, rng: np.random.Generator) -> Iterator[str]:
    texts = [json.dumps(" ".join(rng.choice(_WORDS, 24))) for _ in range(997)]
    for start in range(0, len(events[0]), _CHUNK):
        columns = (column[start : start + _CHUNK].tolist() for column in events)
        for number, (user, item, time) in enumerate(zip(*columns, strict=True)):
            yield (
                f'{{"reviewerID": "{user_key(user)}", "asin": "{item_key(item)}", "reviewerName": '
                f'"Shopper {user % 9973}", "helpful": [0, 0], "reviewText": '
                f'{texts[number % 997]}, "overall": {1 + number % 5}.0, "summary": "as said", '
                f'"unixReviewTime": {time}, "reviewTime": "01 1, 2010"}}\n'
            )


def _metadata_lines(items: int, rng: np.random.Generator) -> Iterator[str]:
    categories = max(1, items // ITEMS_PER_CATEGORY)
    prices = np.round(np.exp(rng.normal(3.0, 0.7, items)), 2).tolist()
    for item in range(items):
        category, rank = item % categories, item // categories
        path = ["Shop", f"Aisle {category % 37}", f"Category {category}"]
        first, second = _WORDS[rank % len(_WORDS)], _WORDS[rank // len(_WORDS) % len(_WORDS)]
        title = f"{first} {second} no. {rank} of category {category}"
        about = {"asin": item_key(item), "categories": [path], "title": title}
        yield f"{about | {'price': prices[item], 'brand': f'Maker {item % 5003}'}!r}\n"


def user_key(user: int) -> str:
    """Fourteen characters, as an official reviewer's."""
    return f"A{user:013X}"


def item_key(item: int) -> str:
    """Ten characters, as an official item's."""
    return f"B{item:09X}"


def _write(path: Path, lines: Iterator[str]) -> int:
    """Compress lines into a file that appears whole or not at all; return their bytes."""
    partial, written = path.with_suffix(".partial"), 0
    with gzip.open(partial, "wt", compresslevel=1, encoding="ascii", newline="\n") as file:
        for line in lines:
            written += file.write(line)
    partial.replace(path)
    return written
