"""Chains of a folder as the rest of scoter reads them: for every (user, prefix) the latest chain
that is not later.

Every row is checked against the data at hand: its user must be there, and its digest must be that
of the user's own first items. So a chain of other data, or of a longer prefix, is refused.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, Field, ValidationError

from scoter.errors import DataError
from scoter.reasoning.catalogue.view import every_prefix
from scoter.reasoning.chains.prefixes import AnchorTable
from scoter.reasoning.chains.requests import RECOMMENDATION
from scoter.reasoning.chains.table import ChainTable
from scoter.reasoning.writing.folder import JOB, ChainFolder
from scoter.reasoning.writing.job import VisibleItems, recommending
from scoter.types import Catalog, ReasoningPattern, Split, Step


def read_folder(folder: ChainFolder, split: Split, catalog: Catalog) -> ChainTable:
    """The chain of every training, validation and test prefix, laid out as `StepEmbeddings` is.

    A prefix without a chain at or before it has empty steps, which a fusion reads as its learned
    null. Users of the folder who are not in `split` are left out, so the chains of a dataset serve
    a sample of it.
    """
    job = _read_job(folder)
    pattern = ReasoningPattern(job.pattern)
    known: dict[str, int] = {}
    anchors, bags = [], []
    for user, prefix_length, steps in _checked_rows(folder, split, catalog, pattern):
        anchors.append((user, prefix_length))
        for texts in steps:
            numbers = [known.setdefault(text, len(known)) for text in texts]
            bags.append(np.array(numbers, np.int32))
    if not anchors:
        problem = f"holds no chain of any of these {split.train.user_count} users"
        raise DataError(f"{folder.path} {problem}; write some for this data")
    order = np.lexsort(np.array(anchors, np.int64).T[::-1])
    users, prefix_lengths = np.array(anchors, np.int64)[order].T
    prefix_users, lengths, starts = every_prefix(split)
    latest = AnchorTable(users, prefix_lengths).latest(prefix_users, lengths)
    source = np.where(latest >= 0, order[np.maximum(latest, 0)], -1)
    indices, offsets = _expand(bags, source, len(pattern))
    texts = list(known)
    return ChainTable(texts, indices, offsets, starts, pattern, job.model, job.prompt_version)


def folder_pattern(folder: ChainFolder) -> ReasoningPattern:
    return ReasoningPattern(_read_job(folder).pattern)


class _Job(BaseModel):
    pattern: tuple[Step, ...] = Field(min_length=1)
    model: str
    prompt_version: str


def _read_job(folder: ChainFolder) -> _Job:
    try:
        return _Job.model_validate(folder.job())
    except ValidationError as error:
        problem = f"{folder.path / JOB} is not that of a job ({error})"
        raise DataError(f"{problem}; write the chains with `scoter reason`") from None


def _checked_rows(
    folder: ChainFolder, split: Split, catalog: Catalog, pattern: ReasoningPattern
) -> Iterator[tuple[int, int, list[list[str]]]]:
    """User, prefix length and the sentences of each step, of the valid chains of users here."""
    numbers = {key: user for user, key in enumerate(split.train.user_keys)}
    visible = VisibleItems(split, catalog)
    recommends = pattern.steps[-1].role == RECOMMENDATION
    for table in folder.tables():
        for row in table.to_pylist():
            user = numbers.get(row["user_key"])
            if user is None or row["outcome"] not in ("valid", "mended"):
                continue
            digests, prefix_length = visible.digests(user), row["prefix_length"] or 0
            chain = f"the chain of user {row['user_key']!r} at prefix length {prefix_length}"
            place = f"{folder.path}: {chain}"
            known = 1 <= prefix_length <= len(digests)
            if not known or digests[prefix_length - 1] != row["history"]:
                problem = "was not written from that user's first items here"
                raise DataError(f"{place} {problem}; write the chains with this dataset")
            steps = [(step or {}).get("texts") or [] for step in row["steps"] or ()]
            if recommends:
                names = [name for name in row["recommendations"] or () if name is not None]
                steps.append(list(recommending(names)))
            if len(steps) != len(pattern) or any(text is None for texts in steps for text in texts):
                problem = f"has not the {len(pattern)} steps of the pattern, or a step without text"
                raise DataError(f"{place} {problem}; write the chains again")
            yield user, prefix_length, steps


def _expand(
    bags: list[Int[np.ndarray, " _"]], source: Int[np.ndarray, " chains"], steps: int
) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " bags_plus_1"]]:
    """Indices and offsets where chain c is the stored chain `source[c]`, or empty for -1."""
    sizes = np.array([len(bag) for bag in bags], np.int64)
    flat = np.concatenate([*bags, np.zeros(0, np.int32)]).astype(np.int32)
    begins = np.cumsum(sizes) - sizes
    taken = (np.maximum(source, 0)[:, None] * steps + np.arange(steps)).ravel()
    counts = sizes[taken] * np.repeat(source >= 0, steps)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    take = np.repeat(begins[taken] - offsets[:-1], counts) + np.arange(offsets[-1])
    return flat[take], offsets
