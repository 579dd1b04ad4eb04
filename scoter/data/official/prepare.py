"""From official raw files to a log and a catalogue: five-core, sequences, random item numbers."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from tqdm import tqdm

from scoter.data.official.download import fetch
from scoter.data.official.raw import Cells, RawReviews, raw_file, read_metadata, read_reviews
from scoter.data.sources import CACHE, Source, check_counts, source_named
from scoter.data.split import assemble_log, random_numbers
from scoter.errors import DataError
from scoter.types import Catalog, Cell, InteractionLog

Events = Int[np.ndarray, " events"]

CORE = 5  # least interactions of each user and item


def obtain(
    name: str, raw: Path | None = None, published: bool = True
) -> tuple[InteractionLog, Catalog]:
    """Log and catalogue of a registered dataset from the files in `raw` (data-cache/raw/NAME).

    Missing files are downloaded, after the citation and the terms are printed. Where `published`,
    other counts are refused.
    """
    source = source_named(name)
    raw = raw or CACHE / "raw" / name
    tqdm.write(f"{name}: {source.citation}\nterms: {source.terms}", file=sys.stderr)
    fetch(source, raw)
    log, catalog = prepare(source, raw)
    if published:
        check_counts(name, log, catalog)
    return log, catalog


def prepare(source: Source, raw_folder: Path) -> tuple[InteractionLog, Catalog]:
    """The log and catalogue of a registered dataset from its raw files in `raw_folder`.

    Reviews of equal time keep their file order, as in the published sequences. For Amazon 2018, as
    in its published counts, a review given twice (same user, item and time) counts once and items
    without metadata are left out.
    """
    reviews_path, metadata_path = (raw_file(raw_folder, name) for name in source.files)
    reviews = read_reviews(reviews_path, source.release)
    if source.release == "amazon-2018":
        metadata = read_metadata(metadata_path, source.release, frozenset(reviews.item_keys))
        described = np.asarray([key in metadata for key in reviews.item_keys])
        columns = (reviews.times, reviews.items, reviews.users)
        order = np.lexsort(columns)
        is_new = np.any([np.diff(column[order], prepend=-1) != 0 for column in columns], axis=0)
        once = order[is_new]  # where each distinct review comes first
        keep = np.sort(once[described[reviews.items[once]]])
        keep = keep[k_core(reviews.users[keep], reviews.items[keep], CORE)]
    else:
        metadata = None
        keep = np.flatnonzero(k_core(reviews.users, reviews.items, CORE))
    if not len(keep):
        raise DataError(f"nothing of {reviews_path} survives the {CORE}-core; check the file")
    log, keys = _log(reviews, keep, source.name)
    del reviews  # most of it may be outside the core, and the metadata takes as much memory again
    if metadata is None:
        metadata = read_metadata(metadata_path, source.release, frozenset(keys))
    return log, Catalog(keys, _columns(keys, metadata))


def k_core(users: Events, items: Events, k: int) -> Bool[np.ndarray, " events"]:
    """The events that remain once users and items with fewer than `k` are removed, again and again.

    >>> k_core(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1]), 2).tolist()
    [True, True, True, True, False]
    """
    alive = np.ones(len(users), bool)
    while True:
        user_counts = np.bincount(users[alive], minlength=users.max(initial=0) + 1)
        item_counts = np.bincount(items[alive], minlength=items.max(initial=0) + 1)
        survives = alive & (user_counts[users] >= k) & (item_counts[items] >= k)
        if survives.sum() == alive.sum():
            return alive
        alive = survives


def _log(
    reviews: RawReviews, keep: Int[np.ndarray, " kept"], name: str
) -> tuple[InteractionLog, tuple[str, ...]]:
    users, user_numbers = np.unique(reviews.users[keep], return_inverse=True)
    items, item_numbers = np.unique(reviews.items[keep], return_inverse=True)
    times = reviews.times[keep]
    relabel = random_numbers(len(items), 0, name)
    keys = tuple(reviews.item_keys[items[old]] for old in np.argsort(relabel))
    user_keys = tuple(reviews.user_keys[user] for user in users)
    order = np.lexsort((times, user_numbers))
    numbers = relabel[item_numbers[order]]
    return assemble_log(user_numbers[order], numbers, times[order], user_keys), keys


def _columns(keys: tuple[str, ...], metadata: Mapping[str, Cells]) -> dict[str, tuple[Cell, ...]]:
    if not metadata:
        return {}
    absent: dict[str, Cell] = {"title": "", "brand": "", "categories": (), "price": float("nan")}
    names = next(iter(metadata.values())).keys()
    columns = {name: tuple(metadata.get(key, absent)[name] for key in keys) for name in names}
    paths = [path for path in columns["categories"] if isinstance(path, tuple)]
    start = 1 if len({path[0] for path in paths if path}) == 1 else 0  # not where all share a root
    return {**columns, "categories": tuple(path[start:] for path in paths)}
