"""Chains of a folder as the rest of scoter reads them: one for every (user, prefix), each the
latest that is not later.

Every row is held against the data that it is read for: its user must be there, and the digest of
the items that it was written from must be that of the user's own first items. So a chain of other
data, or of a longer prefix, is refused.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from scoter.errors import DataError
from scoter.reasoning.catalogue.view import every_prefix
from scoter.reasoning.chains.prefixes import AnchorTable
from scoter.reasoning.chains.requests import RECOMMENDATION
from scoter.reasoning.chains.table import ChainTable
from scoter.reasoning.writing.folder import JOB, ChainFolder, history_digests
from scoter.reasoning.writing.job import recommending, visible_items
from scoter.types import Catalog, ReasoningPattern, Split


def read_folder(folder: ChainFolder, split: Split, catalog: Catalog) -> ChainTable:
    """The chain of every training, validation and test prefix, laid out as `StepEmbeddings` is.

    A prefix without a chain at or before it has empty steps, which a fusion reads as its learned
    null. A user of the folder who is not in `split` is left out, so chains of a whole dataset serve
    a sample of it.

    Raises:
        DataError: a chain was not written from this user's first items, or no user of the folder is
            here.
    """
    pattern = folder_pattern(folder)
    known: dict[str, int] = {}
    anchors, bags = [], []
    for user, prefix_length, steps in _checked_rows(folder, split, catalog, pattern):
        anchors.append((user, prefix_length))
        bags += [
            np.array([known.setdefault(text, len(known)) for text in texts], np.int32)
            for texts in steps
        ]
    if not anchors:
        raise DataError(
            f"{folder.path} holds no chain of any of these {split.train.user_count} users; write "
            f"some for this data"
        )
    order = np.lexsort(np.array(anchors, np.int64).T[::-1])
    users, prefix_lengths = np.array(anchors, np.int64)[order].T
    prefix_users, lengths, starts = every_prefix(split)
    latest = AnchorTable(users, prefix_lengths).latest(prefix_users, lengths)
    source = np.where(latest >= 0, order[np.maximum(latest, 0)], -1)
    indices, offsets = _expand(bags, source, len(pattern))
    job = folder.job()
    return ChainTable(
        list(known), indices, offsets, starts, pattern, job["model"], job["prompt_version"]
    )


def folder_pattern(folder: ChainFolder) -> ReasoningPattern:
    """The pattern of a folder's chains."""
    job = folder.job()
    try:
        pattern = ReasoningPattern.from_json(job["pattern"])
        texts = (job["model"], job["prompt_version"])
        if not len(pattern) or not all(isinstance(text, str) for text in texts):
            raise ValueError("it lacks steps, model or prompt version")
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder.path / JOB} is not that of a job ({error}); write the chains with `scoter "
            f"reason`"
        ) from None
    return pattern


def _checked_rows(
    folder: ChainFolder, split: Split, catalog: Catalog, pattern: ReasoningPattern
) -> Iterator[tuple[int, int, list[list[str]]]]:
    """User, prefix length and the sentences of each step, of the rows that hold a chain of a user
    who is here."""
    numbers = {key: user for user, key in enumerate(split.train.user_keys)}
    valid_items = np.full(split.train.user_count, -1, np.int64)
    valid_items[split.valid.users] = split.valid.items
    recommends = pattern.steps[-1].role == RECOMMENDATION
    last, digests = -1, []
    for table in folder.tables():
        for row in table.to_pylist():
            user = numbers.get(row["user_key"])
            if user is None or row["outcome"] not in ("valid", "mended"):
                continue
            if user != last:
                items = visible_items(split, valid_items, user)
                last, digests = user, history_digests([catalog.keys[item] for item in items])
            prefix_length = row["prefix_length"] or 0
            if (
                not 1 <= prefix_length <= len(digests)
                or digests[prefix_length - 1] != row["history"]
            ):
                raise DataError(
                    f"{folder.path}: the chain of user {row['user_key']!r} at prefix length "
                    f"{prefix_length} was not written from "
                    "that user's first items here; write the chains with this dataset"
                )
            steps = [(step or {}).get("texts") or [] for step in row["steps"] or ()]
            named = [name for name in row["recommendations"] or () if name is not None]
            steps = [*steps, list(recommending(named))] if recommends else steps
            if len(steps) != len(pattern) or any(text is None for texts in steps for text in texts):
                raise DataError(
                    f"{folder.path}: the chain of user {row['user_key']!r} at prefix length "
                    f"{prefix_length} has not the {len(pattern)} steps of the pattern, or a step "
                    "without text; write the chains again"
                )
            yield user, prefix_length, steps


def _expand(
    bags: list[Int[np.ndarray, " _"]], source: Int[np.ndarray, " chains"], steps: int
) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " bags_plus_1"]]:
    """Indices and offsets where chain c says what the stored chain `source[c]` says, and nothing
    where that is -1."""
    sizes = np.array([len(bag) for bag in bags], np.int64)
    flat = np.concatenate([*bags, np.zeros(0, np.int32)]).astype(np.int32)
    begins = np.cumsum(sizes) - sizes
    taken = (np.maximum(source, 0)[:, None] * steps + np.arange(steps)).ravel()
    counts = sizes[taken] * np.repeat(source >= 0, steps)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    take = np.repeat(begins[taken] - offsets[:-1], counts) + np.arange(offsets[-1])
    return flat[take], offsets
