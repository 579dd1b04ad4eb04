"""Small shops for the reasoning room: one written by hand, one drawn at random, one with an ordered
plan."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from scoter.types import Catalog, InteractionLog, Split, Targets

BRANDS = ("Alba", "Brio", "Cosa", "Dune", "Echo", "Faro")


def split_of(sequences: Sequence[Sequence[int]], keys: Sequence[str] | None = None) -> Split:
    """Leave-one-out by hand: a sequence of three or more gives its last item to test and the one
    before to validation."""
    users = np.array([user for user, items in enumerate(sequences) if len(items) >= 3], np.int64)
    trains = [list(items[:-2]) if len(items) >= 3 else list(items) for items in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in trains])])
    log = InteractionLog(
        np.array([item for items in trains for item in items], np.int64),
        offsets,
        tuple(keys or [f"user {user}" for user in range(len(sequences))]),
    )
    held_out = [np.array([sequences[user][-back] for user in users], np.int64) for back in (2, 1)]
    return Split(log, Targets(users, held_out[0]), Targets(users, held_out[1]))


def shop_of(item_count: int) -> Catalog:
    """Items with a title, a brand (not all), a category path (not all) and a price (not all)."""
    items = range(item_count)
    return Catalog(
        tuple(f"key{item}" for item in items),
        {
            "title": tuple(f"Thing number {item}" for item in items),
            "brand": tuple("" if item % 4 == 3 else BRANDS[item % 3] for item in items),
            "categories": tuple(
                () if item % 5 == 4 else (f"Hall {item % 2}", f"Shelf {item % 2}{item % 3}")
                for item in items
            ),
            "price": tuple(float("nan") if item % 6 == 5 else 1.0 + item for item in items),
        },
    )


def hashed(texts: Sequence[str], dim: int = 32) -> np.ndarray:
    """A bag of words: each word is a fixed random direction. Deterministic, and blind to the order
    of words."""
    vectors = np.zeros((len(texts), dim), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(".", " ").split():
            vectors[row] += direction(word, dim)
    return vectors


@cache
def direction(word: str, dim: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=dim)


def ordered_plan(users: int, seed: int) -> tuple[Split, Catalog]:
    """The next item's category is given by the brand bought three purchases ago; its brand is
    free."""
    rng = np.random.default_rng(seed)
    count = len(BRANDS)
    brand = np.tile(np.arange(count), count)
    category = np.repeat(np.arange(count), count)
    sequences = []
    for _ in range(users):
        items = list(rng.integers(count * count, size=3))
        while len(items) < 9:
            items.append(int(brand[items[-3]] * count + rng.integers(count)))
        sequences.append(items)
    catalog = Catalog(
        tuple(f"key{item}" for item in range(count * count)),
        {
            "title": tuple(
                f"model {item} of {BRANDS[brand[item]]} kind{category[item]}"
                for item in range(count * count)
            ),
            "brand": tuple(BRANDS[value] for value in brand),
            "categories": tuple((f"kind{value}",) for value in category),
        },
    )
    return split_of(sequences), catalog


@pytest.fixture(scope="session")
def make_split() -> Callable[..., Split]:
    return split_of


@pytest.fixture(scope="session")
def make_shop() -> Callable[[int], Catalog]:
    return shop_of


@pytest.fixture(scope="session")
def encode() -> Callable[[Sequence[str]], np.ndarray]:
    return hashed


@pytest.fixture(scope="session")
def random_shop() -> tuple[Split, Catalog]:
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 30, size=60)
    return split_of([rng.integers(40, size=length).tolist() for length in lengths]), shop_of(40)


@pytest.fixture(scope="session")
def plan_shop() -> tuple[Split, Catalog]:
    return ordered_plan(users=500, seed=1)
