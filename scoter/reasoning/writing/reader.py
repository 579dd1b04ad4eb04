"""Chains that were written, as the rest of scoter reads them: one for every (user, prefix).

They come from a folder of `scoter reason` or from a table that others wrote (`exchange.py`). Chains
by user: a prefix reads the latest chain that is not later. Chains by item: a prefix reads the steps
of its last items, the newest item's first, each step with its role and its lag.

Every chain of a user is checked against the data at hand: its user must be there, and its digest
must be that of the user's own first items. So a chain of other data, or of a longer prefix, is
refused. A chain of an item was written from that item alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, Field, ValidationError

from scoter.errors import ConfigError, DataError
from scoter.reasoning.catalogue.view import every_prefix, look
from scoter.reasoning.chains.prefixes import AnchorTable
from scoter.reasoning.chains.requests import RECOMMENDATION
from scoter.reasoning.chains.table import ChainTable
from scoter.reasoning.writing import exchange
from scoter.reasoning.writing.folder import JOB, ChainFolder
from scoter.reasoning.writing.job import VisibleItems, recommending
from scoter.storage.store import hash_file
from scoter.types import Catalog, ReasoningPattern, Split, Step, entries_of


class Written(BaseModel):
    """What chains have in common, as `job.json` or a table has it."""

    pattern: tuple[Step, ...] = Field(min_length=1)
    model: str
    prompt_version: str
    by: Literal["user", "item"] = "user"


def source_key(source: Path) -> str:
    """The hash of all that a folder or a table of chains holds."""
    return hash_file(source) if source.is_file() else ChainFolder(source).content_key()


def describe(source: Path) -> Written:
    """How the chains of a folder or a table were written."""
    if source.is_file():
        return Written.model_validate(exchange.about(source))
    try:
        return Written.model_validate(ChainFolder(source).job())
    except ValidationError as error:
        problem = f"{source / JOB} is not that of a job ({error})"
        raise DataError(f"{problem}; write the chains with `scoter reason`") from None


def read_pattern(source: Path, items: int) -> ReasoningPattern:
    """The pattern of the chains that a prefix reads; by item, that of its last `items` items."""
    written = describe(source)
    if written.by == "user":
        return ReasoningPattern(written.pattern)
    if items < 1:
        raise ConfigError(f"chains.items = {items}; it must be 1 or more")
    lags = range(1, items + 1)
    steps = [Step(s.role, {**s.parameters, "lag": lag}) for lag in lags for s in written.pattern]
    return ReasoningPattern(tuple(steps))


def read_chains(source: Path, split: Split, catalog: Catalog, items: int = 3) -> ChainTable:
    """The chain of every training, validation and test prefix, laid out as `StepEmbeddings` is.

    A prefix without a chain, or the place of an item without one, has empty steps, which a fusion
    reads as its learned null. Users and items of the source that are not in the data are left out,
    so the chains of a dataset serve a sample of it.

    Args:
        items: of chains by item, how many of a prefix's last items are read.
    """
    written, pattern = describe(source), read_pattern(source, items)
    if source.is_file():
        rows = exchange.read(source, split, catalog).rows
    else:
        rows = list(_checked_rows(ChainFolder(source), written, split, catalog))
    if not rows:
        problem = f"holds no chain of any {written.by} of these data"
        raise DataError(f"{source} {problem}; write some for them")
    known: dict[str, int] = {}
    bags = [
        np.array([known.setdefault(text, len(known)) for text in texts], np.int32)
        for _, _, steps in rows
        for texts in steps
    ]
    users, lengths, starts = every_prefix(split)
    owners, prefixes = np.array([row[:2] for row in rows], np.int64).T
    if written.by == "item":
        place = np.full(catalog.item_count + 1, -1)  # the last one stands for no item
        place[owners] = np.arange(len(owners))
        taken = place[look(split, users, lengths, items).recent].ravel()
    else:
        order = np.lexsort((prefixes, owners))
        latest = AnchorTable(owners[order], prefixes[order]).latest(users, lengths)
        taken = np.where(latest >= 0, order[np.maximum(latest, 0)], -1)
    indices, offsets = _expand(bags, taken, len(written.pattern))
    about = (pattern, written.model, written.prompt_version)
    return ChainTable(list(known), indices, offsets, starts, *about)


def _checked_rows(
    folder: ChainFolder, written: Written, split: Split, catalog: Catalog
) -> Iterator[tuple[int, int, list[list[str]]]]:
    """The valid chains of users or items here: which, prefix length, sentences of each step."""
    by, pattern = written.by, written.pattern
    keys = catalog.keys if by == "item" else split.train.user_keys
    numbers = {key: number for number, key in enumerate(keys)}
    visible = VisibleItems(split, catalog)
    recommends = pattern[-1].role == RECOMMENDATION
    for table in folder.tables():
        for row in table.to_pylist():
            owner = numbers.get(row["user_key"])
            if owner is None or row["outcome"] not in ("valid", "mended"):
                continue
            length = row["prefix_length"] or 0
            chain = f"the chain of {by} {row['user_key']!r} at prefix length {length}"
            place = f"{folder.path}: {chain}"
            if by == "user" and not visible.fits(owner, length, row["history"]):
                problem = "was not written from that user's first items here"
                raise DataError(f"{place} {problem}; write the chains with this dataset")
            steps = [(step or {}).get("texts") or [] for step in row["steps"] or ()]
            if recommends:
                names = [name for name in row["recommendations"] or () if name is not None]
                steps.append(list(recommending(names)))
            if len(steps) != len(pattern) or any(text is None for texts in steps for text in texts):
                problem = f"has not the {len(pattern)} steps of the pattern, or a step without text"
                raise DataError(f"{place} {problem}; write the chains again")
            yield owner, length, steps


def _expand(
    bags: list[Int[np.ndarray, " _"]], source: Int[np.ndarray, " chains"], steps: int
) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " bags_plus_1"]]:
    """Indices and offsets where chain c is the stored chain `source[c]`, or empty for -1."""
    sizes = np.array([len(bag) for bag in bags], np.int64)
    flat = np.concatenate([*bags, np.zeros(0, np.int32)]).astype(np.int32)
    begins = np.cumsum(sizes) - sizes
    taken = (np.maximum(source, 0)[:, None] * steps + np.arange(steps)).ravel()
    counts = sizes[taken] * np.repeat(source >= 0, steps)
    take, offsets = entries_of(begins[taken], counts)
    return flat[take], offsets
