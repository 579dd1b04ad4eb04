"""A user's own tables of interactions and items; each doubt has a policy, which refuses by default.

Interactions need `user` and `item`, and `timestamp` unless `order='file'`: seconds since 1970, or
dates in ISO 8601 (UTC where they name no zone). Items need `item`; every other column is kept:
`title`, `brand`, `phrase` and `description` as text, `categories` as lists (in text separated by
`|`, coarse to fine), any other as numbers where all are numbers, else as text. Rows are sorted by
time within each user, fractions of a second included; events of one time keep their order.
"""

from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
from annotated_types import Ge
from jaxtyping import Int

from scoter.arguments import Seed, checked
from scoter.data.split import assemble_log, random_numbers, select_items
from scoter.data.table_cells import SECOND, cells_of, keys_of, nanoseconds_of, plain_key
from scoter.data.table_files import Table
from scoter.errors import DataError
from scoter.types import Catalog, InteractionLog

Duplicates = Literal["error", "first", "keep"]
ShortUsers = Literal["error", "drop", "keep"]
Order = Literal["timestamp", "file"]


class Policies(TypedDict, total=False):
    """What is done where a table leaves a choice."""

    order: Order  # sort each user's rows by time (the default), or take them as they stand
    duplicates: Duplicates  # refuse, drop or keep a row with user, item and time of an earlier one
    short_users: ShortUsers  # refuse, drop or keep (for training) users with too few events
    min_events: int  # fewer than so many events are too few; 3 by default
    seed: int  # decides the random numbers of the items, which carry no order


def load_table(
    interactions_path: Path, items_path: Path | None = None, **policies: Unpack[Policies]
) -> tuple[InteractionLog, Catalog]:
    """The log and catalogue of `.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or `.parquet` files.

    Items without interactions stay in the catalogue. Without `items_path` it holds keys only. A
    `DataError` names the line or row (counted without the header) and the remedy.
    """
    items = None if items_path is None else Table.from_file(items_path)
    return from_tables(Table.from_file(interactions_path), items, **policies)


@checked
def from_tables(
    interactions: Table,
    items: Table | None,
    *,
    order: Order = "timestamp",
    duplicates: Duplicates = "error",
    short_users: ShortUsers = "error",
    min_events: Annotated[int, Ge(1)] = 3,
    seed: Seed = 0,
) -> tuple[InteractionLog, Catalog]:
    """The log and catalogue of two tables; policies and errors as in `load_table`."""
    cells, place = interactions.cells, interactions.place
    timed = order == "timestamp" or "timestamp" in cells.columns
    for name in ("user", "item", *(["timestamp"] if timed else [])):
        interactions.require(name)
    stamps = interactions.column("timestamp") if timed else None
    times = np.zeros(len(cells), np.int64) if stamps is None else nanoseconds_of(stamps, place)
    item_keys, buyers = (keys_of(interactions.column(name), place) for name in ("item", "user"))
    catalog = Catalog(tuple(item_keys.unique().tolist())) if items is None else _catalog(items)
    numbers = _numbers_of(item_keys, catalog.keys, place, "" if items is None else items.place)
    users, sorted_keys = pd.factorize(buyers, sort=True)
    user_keys = np.asarray(sorted_keys, object)
    events = pd.DataFrame({"user": users, "item": numbers, "time": times})
    if duplicates != "keep":
        events = _distinct(events, duplicates, place, timed)
    if short_users != "keep":
        events = _of_long_users(events, user_keys, short_users, min_events, place)
    if order == "timestamp":
        events = events.sort_values(["user", "time"], kind="stable")
    kept, codes = np.unique(events["user"], return_inverse=True)
    names = tuple(user_keys[kept].tolist())
    relabel = random_numbers(catalog.item_count, seed, "table")
    seconds = events["time"].to_numpy() // SECOND if timed else None
    log = assemble_log(codes, relabel[events["item"]], seconds, names)
    return log, select_items(catalog, np.argsort(relabel))


def _catalog(items: Table) -> Catalog:
    place = items.place
    items.require("item")
    if "key" in items.cells.columns:
        reserved = "has a reserved name: prepared folders keep the items' keys under it"
        raise DataError(f"column 'key' of {place} {reserved}; rename it ('item' if it holds them)")
    keys = keys_of(items.column("item"), place)
    repeated = np.flatnonzero(keys.duplicated())
    if len(repeated):
        again = f"describes item {keys.iloc[repeated[0]]!r} again ({len(repeated)} such rows)"
        raise DataError(f"row {repeated[0] + 1} of {place} {again}; keep one row per item")
    described = items.cells.columns.drop("item")
    columns = {name: cells_of(items.column(name), name, place) for name in described}
    return Catalog(tuple(keys), columns)


def _numbers_of(
    values: pd.Series, keys: tuple[str, ...], place: str, items_place: str
) -> Int[np.ndarray, " rows"]:
    numbers = pd.Index(keys).get_indexer(pd.Index(values))
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        key = str(values.iloc[unknown[0]])
        near = next((known for known in keys if plain_key(known) == plain_key(key)), None)
        spelling = f"it has {near!r}; write each key in one way"
        remedy = "add the item there or remove the rows" if near is None else spelling
        row = f"row {unknown[0] + 1} of {place} names item {key!r}, which {items_place}"
        raise DataError(f"{row} does not have ({len(unknown)} such rows); {remedy}")
    return numbers.astype(np.int64)


def _distinct(events: pd.DataFrame, policy: Duplicates, place: str, timed: bool) -> pd.DataFrame:
    repeated = events.duplicated()
    if repeated.any() and policy == "error":
        same = "user, item and timestamp" if timed else "user and item"
        row = f"row {repeated.argmax() + 1} of {place} has the {same} of an earlier row"
        remedy = "say duplicates='first' (--duplicates first) to drop these or 'keep' to count each"
        raise DataError(f"{row} ({repeated.sum()} such rows); {remedy}")
    return events.drop_duplicates()


def _of_long_users(
    events: pd.DataFrame, user_keys: np.ndarray, policy: ShortUsers, min_events: int, place: str
) -> pd.DataFrame:
    counts = np.bincount(events["user"], minlength=len(user_keys))
    short = np.flatnonzero(counts < min_events)
    if len(short) and policy == "error":
        first = f"first: {str(user_keys[short[0]])!r} has {counts[short[0]]}"
        few = f"{len(short)} users of {place} have fewer than {min_events} events ({first})"
        choice = "short_users='drop' (--short-users drop) to leave them out or 'keep' to only train"
        raise DataError(f"{few}; say {choice} on them")
    kept = events.take(np.flatnonzero(counts[events["user"]] >= min_events))
    if kept.empty:
        raise DataError(f"no user of {place} has {min_events} events; lower min_events")
    return kept
