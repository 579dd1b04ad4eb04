"""How often each step names the very thing that is to be predicted, in training, validation and
test.

Where these disagree, a model learns in training to trust a step that tells it less afterwards. They
may disagree without a leak: later events end at other items, and a rarer target is named less often
by any honest step. So each share also comes standardised to one mix of how often others bought the
history's last item and the target.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scoter.errors import DataError
from scoter.reasoning.catalogue.facets import Facet, read_facets
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.table import ChainTable
from scoter.seeding import derive_seed
from scoter.types import Catalog, Split

PARTS = ("train", "last-train", "valid", "test")
EDGES = (1, 2, 3, 5, 8, 13, 21, 34, 55)


def mention_table(
    table: ChainTable,
    split: Split,
    catalog: Catalog,
    seed: int,
    sample: int = 5000,
    parts: Sequence[str] = PARTS,
) -> pd.DataFrame:
    """One row per step and part: the share of chains that name the target item, and the share that
    name its category.

    Parts: `train`, a random training target of each sampled user; `last-train`, the user's last
    training target, whose history is most like the next two; `valid`; `test`. In each, at most
    `sample` users, the same ones as far as they have such a target. A target is named where its
    name (or its finest category) stands in one of the step's sentences; `category` is NaN where the
    catalogue has none. `item_error` and `category_error` are standard errors.

    `item_alike` is `item` reweighted to the mix of training targets over cells of two counts
    (`EDGES` bounds them): how many other users' training logs hold the history's last item, and how
    many the target. Cells that a part lacks are left out. Where parts agree in `item_alike` but not
    in `item`, what differs is which items they ask for.

    Columns: step, part, item, item_error, item_alike, item_alike_error, category, category_error,
    chains.
    """
    _check(table, split, catalog)
    facets = read_facets(catalog)
    rows, mix = [], {}
    order = np.random.default_rng(derive_seed(seed, "mentions")).permutation(split.train.user_count)
    for part in parts:
        users, lengths, targets = _targets(split, part, order, sample, seed)
        chains = table.starts[users] + lengths - 1
        cells = _cells(split, users, lengths, targets)
        mix = mix or dict(
            zip(*(found.tolist() for found in np.unique(cells, return_counts=True)), strict=True)
        )
        for place, step in enumerate(table.pattern.steps):
            texts = _texts(table, chains * len(table.pattern) + place)
            row: dict[str, str | float | int] = {"step": step.label(), "part": part}
            for column, facet in (("item", facets["item"]), ("category", facets.get("category"))):
                named = np.zeros(0) if facet is None else _named(texts, facet, targets)
                row[column] = float(named.mean()) if len(named) else float("nan")
                row[f"{column}_error"] = (
                    float(named.std() / len(named) ** 0.5) if len(named) else float("nan")
                )
                if column == "item":
                    row["item_alike"], row["item_alike_error"] = _standardised(named, cells, mix)
            rows.append({**row, "chains": len(chains)})
    return pd.DataFrame(rows)


def _check(table: ChainTable, split: Split, catalog: Catalog) -> None:
    counts = split.train.lengths + np.isin(np.arange(split.train.user_count), split.valid.users)
    if not np.array_equal(np.diff(table.starts), counts):
        raise DataError(
            f"the chains cover {len(table.starts) - 1} users and {table.starts[-1]} prefixes, the "
            f"split has {split.train.user_count} users and {counts.sum()} prefixes; write the "
            "chains with this split"
        )


def _targets(
    split: Split, part: str, order: Int[np.ndarray, " users"], sample: int, seed: int
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Users, prefix lengths and the items that follow those prefixes."""
    lengths = split.train.lengths
    if part in ("train", "last-train"):
        users = order[lengths[order] >= 2][:sample]
        prefixes = lengths[users] - 1
        if part == "train":
            prefixes = np.random.default_rng(derive_seed(seed, "mentions", part)).integers(
                1, prefixes + 1
            )
        return users, prefixes, split.train.items[split.train.offsets[users] + prefixes]
    held_out = split.valid if part == "valid" else split.test
    items = np.full(len(lengths), -1, np.int64)
    items[held_out.users] = held_out.items
    prefixes = lengths + (
        np.isin(np.arange(len(lengths)), split.valid.users) if part == "test" else 0
    )
    users = order[(items[order] >= 0) & (prefixes[order] >= 1)][:sample]
    return users, prefixes[users], items[users]


def _cells(
    split: Split,
    users: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
    targets: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, " rows"]:
    """The cell of each (user, prefix): bounds of how many *other* users' training logs hold its
    last item, and its target."""
    last = look(split, users, lengths, 1).recent[:, 0]
    width = max(int(items.max(initial=0)) for items in (split.train.items, last, targets)) + 1
    owners = np.repeat(np.arange(split.train.user_count), split.train.lengths)
    held = np.unique(owners * width + split.train.items)
    buyers = np.bincount(held % width, minlength=width)
    counts = [buyers[items] - np.isin(users * width + items, held) for items in (last, targets)]
    return np.digitize(counts[0], EDGES) * (len(EDGES) + 1) + np.digitize(counts[1], EDGES)


def _standardised(
    named: Float[np.ndarray, " rows"], cells: Int[np.ndarray, " rows"], mix: dict[int, int]
) -> tuple[float, float]:
    """The mean share over cells in the proportions of `mix`, as far as there are rows, and its
    standard error."""
    inside = {cell: named[cells == cell] for cell in mix}
    total = sum(mix[cell] for cell, found in inside.items() if len(found))
    if not total:
        return float("nan"), float("nan")
    parts = [(mix[cell] / total, found) for cell, found in inside.items() if len(found)]
    error = sum(weight**2 * found.var() / len(found) for weight, found in parts) ** 0.5
    return float(sum(weight * found.mean() for weight, found in parts)), float(error)


def _texts(table: ChainTable, bags: Int[np.ndarray, " rows"]) -> list[str]:
    return [
        "\n".join(
            table.sentences[number]
            for number in table.indices[table.offsets[bag] : table.offsets[bag + 1]]
        )
        for bag in bags
    ]


def _named(texts: list[str], facet: Facet, targets: Int[np.ndarray, " rows"]) -> np.ndarray:
    codes = facet.codes[targets]
    return np.array(
        [facet.labels[code] in text for text, code in zip(texts, codes, strict=True) if code >= 0],
        np.float64,
    )
