"""The chains that requests of today read: one at most for each history, written after its last
item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from scoter.reasoning.chains.table import ChainTable, write_rows
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.reasoning import open_pattern
from scoter.storage.arrays import load_arrays
from scoter.storage.store import Artefact
from scoter.types import Catalog, Histories, ReasoningPattern, Split, StepEmbeddings

if TYPE_CHECKING:
    from scoter.protocols import StepSource


@dataclass(frozen=True, eq=False)
class NewestChains:
    """Chain c belongs to row c of the histories: `steps` has one chain a row, of prefix length 1
    whatever the history's is."""

    steps: StepEmbeddings
    sentences: Sequence[str]

    def reader(self) -> "StepSource":
        """What a recommender reads; the users it asks for are rows of the histories."""
        from scoter.models.step_reader import StepReader, newest_reader

        return newest_reader(StepReader(self.steps))

    def texts(self, row: int) -> list[list[str]]:
        """The sentences of each step of one row's chain; none where a step is missing."""
        return step_texts(
            self.sentences, self.steps.indices, self.steps.offsets, self.steps.step_count, row
        )


def step_texts(
    sentences: Sequence[str],
    indices: Int[np.ndarray, " entries"],
    offsets: Int[np.ndarray, " bags_plus_1"],
    steps: int,
    row: int,
) -> list[list[str]]:
    """The sentences of each step of the chain of that row.

    Example:
        >>> step_texts(["a", "b"], np.array([1, 0, 1]), np.array([0, 1, 1, 2, 3]), steps=2, row=1)
        [['a'], ['b']]
    """
    bags = range(row * steps, (row + 1) * steps)
    return [
        [sentences[int(number)] for number in indices[offsets[bag] : offsets[bag + 1]]]
        for bag in bags
    ]


def write_newest(
    context: Context, pattern: Artefact, split: Split, catalog: Catalog, histories: Histories
) -> NewestChains:
    """Chains by the catalogue reasoner, with the statistics that the users' chains had in training.

    They are for requests of today, which a store that cannot be written answers too.
    """
    from scoter.reasoning.catalogue.reasoner import CatalogReasoner
    from scoter.reasoning.catalogue.statistics import FoldedStatistics
    from scoter.reasoning.catalogue.view import MAX_ITEMS, View

    steps, lengths = open_pattern(pattern), histories.lengths
    positions = lengths[:, None] - 1 - np.arange(MAX_ITEMS)
    recent = np.where(
        positions >= 0, histories.items[np.maximum(positions, 0) + histories.offsets[:-1, None]], -1
    )
    statistics = FoldedStatistics(
        split.train, catalog.item_count, derive_seed(context.data_seed, "folds")
    )
    view = View(histories.users, lengths, recent)
    sentences, indices, offsets = write_rows(CatalogReasoner(catalog, statistics), view, steps)
    vectors = sentence_encoder(context, keep=False)(sentences)
    return _one_each(vectors, sentences, indices, offsets, steps)


def latest_stored(
    chains: Artefact, table: ChainTable, histories: Histories, known: bool
) -> NewestChains:
    """The latest stored chain of each history's user; nobody has one who is not `known`."""
    vectors, steps = load_arrays(chains.file("vectors.safetensors"))["vectors"], len(table.pattern)
    last = table.starts[1:][histories.users] - 1
    bags = (last[:, None] * steps + np.arange(steps)).ravel()
    counts = (table.offsets[bags + 1] - table.offsets[bags]) * known
    counts = counts * np.repeat(np.diff(table.starts)[histories.users] > 0, steps)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    take = np.repeat(table.offsets[bags] - offsets[:-1], counts) + np.arange(offsets[-1])
    return _one_each(vectors, table.sentences, table.indices[take], offsets, table.pattern)


def _one_each(
    vectors: np.ndarray,
    sentences: list[str],
    indices: Int[np.ndarray, " entries"],
    offsets: Int[np.ndarray, " bags_plus_1"],
    pattern: ReasoningPattern,
) -> NewestChains:
    rows = (len(offsets) - 1) // len(pattern)
    return NewestChains(
        StepEmbeddings(vectors, indices, offsets, np.arange(rows + 1), pattern, "now"), sentences
    )
