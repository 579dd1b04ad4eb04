"""How often each step names the item to be predicted, in training, validation and test.

Where these shares disagree, a model learns in training to trust a step that tells it less later.
They may disagree without a leak, since any honest step names a rarer target less often. So each
share is also standardised to one mix of how often other users bought the last item and the target.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scoter.errors import DataError
from scoter.progress import silent
from scoter.reasoning.catalogue.facets import Facet, read_facets
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.table import ChainTable
from scoter.seeding import derive_seed
from scoter.types import Catalog, Split

PARTS = ("train", "last-train", "valid", "test")
COLUMNS = ["step", "part", "item", "item_error", "item_alike", "item_alike_error"]
COLUMNS += ["category", "category_error", "chains"]
EDGES = (1, 2, 3, 5, 8, 13, 21, 34, 55)
Rows = Int[np.ndarray, " rows"]
Shares = Float[np.ndarray, " rows"]
_UNKNOWN = (float("nan"), float("nan"))


def mention_table(
    table: ChainTable,
    split: Split,
    catalog: Catalog,
    seed: int,
    sample: int = 5000,
    parts: Sequence[str] = PARTS,
    begin: Callable[[str], None] = silent,
) -> pd.DataFrame:
    """One row per step and part: the share of chains that name the target item, or its category.

    Parts: `train`, a random training target of each sampled user; `last-train`, the user's last
    training target, whose history is most like the next two; `valid`; `test`. Each has at most
    `sample` users, the same ones as far as they have such a target. A target is named where its
    name (or its finest category) stands in one of the step's sentences. `begin` is called with the
    name of each part.

    Returns:
        step, part; item, category: shares and their standard errors (NaN without categories);
        chains: their number; item_alike: `item` reweighted to the first part's mix over cells of
        two counts (`EDGES` bounds them), how many other users' training logs hold the history's
        last item, and how many the target. Cells that a part lacks are left out.
    """
    _check(table, split)
    facets = read_facets(catalog)
    rows, mix = [], {}
    order = np.random.default_rng(derive_seed(seed, "mentions")).permutation(split.train.user_count)
    for part in parts:
        begin(part)
        users, lengths, targets = _targets(split, part, order, sample, seed)
        chains = table.starts[users] + lengths - 1
        cells = _cells(split, users, lengths, targets)
        if not mix:
            numbers, counts = np.unique(cells, return_counts=True)
            mix = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        for place, step in enumerate(table.pattern.steps):
            bags = (chains * len(table.pattern) + place).tolist()
            texts = ["\n".join(table.bag(bag)) for bag in bags]
            item = _named(texts, facets["item"], targets)
            category = _named(texts, facets.get("category"), targets)
            shares = (*_mean(item), *_standardised(item, cells, mix), *_mean(category))
            rows.append((step.label(), part, *shares, len(chains)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _check(table: ChainTable, split: Split) -> None:
    counts = split.visible.lengths
    if not np.array_equal(np.diff(table.starts), counts):
        covered = f"the chains cover {len(table.starts) - 1} users and {table.starts[-1]} prefixes"
        known = f"the split has {split.train.user_count} users and {counts.sum()} prefixes"
        raise DataError(f"{covered}, {known}; write the chains with this split")


def _targets(
    split: Split, part: str, order: Int[np.ndarray, " users"], sample: int, seed: int
) -> tuple[Rows, Rows, Rows]:
    lengths = split.train.lengths
    if part in ("train", "last-train"):
        users = order[lengths[order] >= 2][:sample]
        prefixes = lengths[users] - 1
        if part == "train":
            rng = np.random.default_rng(derive_seed(seed, "mentions", part))
            prefixes = rng.integers(1, prefixes + 1)
        return users, prefixes, split.train.items[split.train.offsets[users] + prefixes]
    held_out = split.valid if part == "valid" else split.test
    items = np.full(len(lengths), -1, np.int64)
    items[held_out.users] = held_out.items
    prefixes = split.visible.lengths if part == "test" else lengths
    users = order[(items[order] >= 0) & (prefixes[order] >= 1)][:sample]
    return users, prefixes[users], items[users]


def _cells(split: Split, users: Rows, lengths: Rows, targets: Rows) -> Rows:
    """The cell of each prefix: how many *other* users bought its last item, and its target."""
    last = look(split, users, lengths, 1).recent[:, 0]
    width = max(int(items.max(initial=0)) for items in (split.train.items, last, targets)) + 1
    owners = np.repeat(np.arange(split.train.user_count), split.train.lengths)
    held = np.unique(owners * width + split.train.items)
    buyers = np.bincount(held % width, minlength=width)
    counts = [buyers[items] - np.isin(users * width + items, held) for items in (last, targets)]
    return np.digitize(counts[0], EDGES) * (len(EDGES) + 1) + np.digitize(counts[1], EDGES)


def _mean(named: Shares) -> tuple[float, float]:
    if not len(named):
        return _UNKNOWN
    return float(named.mean()), float(named.std() / len(named) ** 0.5)


def _standardised(named: Shares, cells: Rows, mix: dict[int, int]) -> tuple[float, float]:
    """The mean share over cells in the proportions of `mix`, and its standard error."""
    inside = [(count, named[cells == cell]) for cell, count in mix.items()]
    inside = [(count, values) for count, values in inside if len(values)]
    total = sum(count for count, _ in inside)
    if not total:
        return _UNKNOWN
    parts = [(count / total, values) for count, values in inside]
    error = sum(weight**2 * values.var() / len(values) for weight, values in parts) ** 0.5
    return float(sum(weight * values.mean() for weight, values in parts)), float(error)


def _named(texts: list[str], facet: Facet | None, targets: Rows) -> Float[np.ndarray, " known"]:
    if facet is None:
        return np.zeros(0)
    known = zip(facet.codes[targets], texts, strict=True)
    return np.array([facet.labels[code] in text for code, text in known if code >= 0], np.float64)
