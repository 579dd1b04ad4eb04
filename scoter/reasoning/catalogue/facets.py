"""What a catalogue says about each item, as codes with labels that fit into a sentence."""

import html
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scoter.types import Catalog

NAME_COLUMNS = ("title", "phrase")
NAME_LENGTH = 80
PRICE_BANDS = 5
_ENDINGS = " \t,;:.!?-\u2013\u2014&/|(["


@dataclass(frozen=True, eq=False)
class Facet:
    """`labels[codes[i]]` describes item i."""

    codes: Int[np.ndarray, " items"]  # -1 where the catalogue says nothing of the item
    labels: tuple[str, ...]

    def known(self, items: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """The codes of some items; an item of -1 (none) has the code -1."""
        return np.where(items >= 0, self.codes[items], -1)


def read_facets(catalog: Catalog) -> dict[str, Facet]:
    """`item`, and those of `brand`, `category`, `department` and `price` that hold something.

    `category` is an item's rarest tag (in a tree, the leaf), `department` its most common tag among
    those that at most half of the catalogue shares. Tags may be unordered, as in Yelp.

    >>> columns = {"title": ("Red lipstick, matte.", ""), "brand": ("Lumi", "")}
    >>> facets = read_facets(Catalog(("a", "b"), columns))
    >>> {name: facet.labels for name, facet in facets.items()}
    {'item': ('Red lipstick, matte', 'b'), 'brand': ('Lumi',)}
    """
    facets = {"item": Facet(np.arange(catalog.item_count), tuple(item_names(catalog)))}
    if catalog.has("brand"):
        facets["brand"] = _coded([shorten(str(brand)) for brand in catalog.columns["brand"]])
    if catalog.has("categories"):
        facets["category"], facets["department"] = _category_levels(catalog)
    numbers = pd.to_numeric(pd.Series([*catalog.columns.get("price", ())]), errors="coerce")
    prices = np.asarray(numbers, np.float64)  # NaN for text, which a prepared folder may hold
    if np.isfinite(prices).any():
        facets["price"] = _price_bands(prices)
    return facets


def item_names(catalog: Catalog, length: int = NAME_LENGTH) -> list[str]:
    """Each item's title, or else its phrase, or else its key, at most `length` characters long.

    Where several items would have one name, as the branches of a chain do, all but the first are
    numbered, so that each can be named.

    >>> item_names(Catalog(("k1", "k2", "k3"), {"phrase": ("wooden train", "", "wooden train")}))
    ['wooden train', 'k2', 'wooden train (2)']
    """
    names = [""] * catalog.item_count
    for column in NAME_COLUMNS:
        cells = catalog.columns[column] if catalog.has(column) else names
        names = [name or str(cell) for name, cell in zip(names, cells, strict=True)]
    keyed = enumerate(zip(names, catalog.keys, strict=True))
    return _told_apart(
        [shorten(name, length) or key or f"item {item}" for item, (name, key) in keyed]
    )


def _told_apart(names: list[str]) -> list[str]:
    taken, bearers = set(names), Counter[str]()
    for item, name in enumerate(names):
        bearers[name] += 1
        while bearers[name] > 1 and f"{name} ({bearers[name]})" in taken:
            bearers[name] += 1
        if bearers[name] > 1:
            names[item] = f"{name} ({bearers[name]})"
            taken.add(names[item])
    return names


def shorten(text: str, length: int = NAME_LENGTH) -> str:
    """One line of at most `length` characters that ends with a whole word and no punctuation.

    >>> shorten("Body   Wash &amp; Scrub, 18-Ounce Bottles", 20)
    'Body Wash & Scrub'
    """
    line = " ".join(html.unescape(text).split())
    if len(line) > length:
        cut = line.rfind(" ", 0, length + 1)
        line = line[: cut if cut > 0 else length]
    return line.strip(_ENDINGS)


def _coded(labels: list[str]) -> Facet:
    values = sorted({label for label in labels if label})
    numbers = {value: number for number, value in enumerate(values)}
    return Facet(np.array([numbers.get(label, -1) for label in labels], np.int64), tuple(values))


def _category_levels(catalog: Catalog) -> tuple[Facet, Facet]:
    cells = catalog.columns["categories"]
    rows = [[shorten(tag) for tag in cell] if isinstance(cell, tuple) else [] for cell in cells]
    rows = [[tag for tag in tags if tag] for tags in rows]
    counts = Counter(tag for tags in rows for tag in set(tags))
    half = catalog.item_count / 2
    informative = [[tag for tag in tags if counts[tag] <= half] or tags for tags in rows]
    rarest = [min(reversed(tags), key=counts.__getitem__, default="") for tags in rows]
    commonest = [max(tags, key=counts.__getitem__, default="") for tags in informative]
    return _coded(rarest), _coded(commonest)


def _price_bands(prices: Float[np.ndarray, " items"]) -> Facet:
    known = np.isfinite(prices)
    edges = np.unique(np.quantile(prices[known], np.linspace(0, 1, PRICE_BANDS + 1)))
    if len(edges) == 1:
        return Facet(np.where(known, 0, -1), (f"about {edges[0]:.2f}",))
    bands = np.searchsorted(edges, np.where(known, prices, edges[0]), side="right") - 1
    labels = tuple(f"between {low:.2f} and {high:.2f}" for low, high in pairwise(edges))
    return Facet(np.where(known, np.minimum(bands, len(labels) - 1), -1), labels)
