"""Chains of a dataset as one value: their text, their sentences' vectors, and their writer."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scoter.config import TextConfig
from scoter.data.datasets import Dataset
from scoter.errors import DataError
from scoter.reasoning.catalogue.reasoner import MODEL, CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import MAX_ITEMS, View
from scoter.reasoning.chains.table import (
    ChainTable,
    write_rows,
)
from scoter.recommenders.requests import Requests
from scoter.seeding import derive_seed
from scoter.storage.sentence_vectors import encoder_of
from scoter.types import ReasoningChain, ReasoningPattern, StepEmbeddings


@dataclass(frozen=True, eq=False)
class Chains:
    """The chains of every prefix of a dataset's users.

    Made by `scoter.write_chains` or `scoter.load_chains`. Chains of the symbolic reasoner go on
    being written for histories that are not in the dataset; those of a language model do not.
    """

    table: ChainTable
    vectors: Float[np.ndarray, "sentences dim"]
    dataset: Dataset
    text: TextConfig

    @property
    def pattern(self) -> ReasoningPattern:
        return self.table.pattern

    @property
    def model(self) -> str:
        """Who wrote them."""
        return self.table.model

    @property
    def steps(self) -> StepEmbeddings:
        """The embeddings of everybody's steps."""
        return self.table.embed(self.vectors, self.text.encoder)

    def chain(self, user: str, prefix_length: int) -> ReasoningChain:
        """The chain that a user (by key) has after the first `prefix_length` items."""
        return self.table.chain(
            int(self.dataset.user_numbers.get_indexer(pd.Index([user]))[0]), prefix_length
        )

    def check(self, dataset: Dataset) -> None:
        """
        Raises:
            DataError: the chains are of another dataset.
        """
        if dataset.identity != self.dataset.identity:
            raise DataError(
                f"the chains are of {self.dataset.origin}, not of {dataset.origin}; write chains "
                f"of this dataset"
            )

    def of_requests(self, asked: Requests) -> tuple[StepEmbeddings, list[str]]:
        """One chain for each request, and the sentences of its vectors.

        A history that is the beginning of what the dataset has of its user reads that prefix's own
        chain. Any other history has one written by the symbolic reasoner; a language model's chains
        answer with the user's latest, and with none for other people.
        """
        table, steps = self.table, len(self.pattern)
        known, lengths = asked.users >= 0, asked.histories.lengths
        first = np.where(known, table.starts[asked.users], 0)
        count = np.where(known, table.starts[asked.users + 1] - first, 0)
        there = asked.is_prefix & (lengths <= count) & (lengths >= 1)
        if self.model != MODEL:  # nobody can write more of them here
            lengths, there = np.minimum(lengths, count), asked.is_prefix & (count > 0)
        row = np.where(there, first + lengths - 1, 0)
        bags = (row[:, None] * steps + np.arange(steps)).ravel()
        counts = (table.offsets[bags + 1] - table.offsets[bags]) * np.repeat(there, steps)
        low = table.offsets[bags]
        sentences, vectors, indices = table.sentences, self.vectors, table.indices
        if self.model == MODEL and not there.all():
            missing = np.flatnonzero(~there)
            fresh, new, offsets = self._write(asked, missing)
            encoded = encoder_of(self.text)(fresh).astype(vectors.dtype)
            at = (missing[:, None] * steps + np.arange(steps)).ravel()
            low[at], counts[at] = offsets[:-1] + len(indices), np.diff(offsets)
            indices = np.concatenate([indices, new + len(sentences)])
            sentences, vectors = [*sentences, *fresh], np.concatenate([vectors, encoded])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        take = np.repeat(low - offsets[:-1], counts) + np.arange(offsets[-1])
        starts = np.arange(len(asked.users) + 1)
        encoder = self.text.encoder
        found = StepEmbeddings(vectors, indices[take], offsets, starts, self.pattern, encoder)
        return found, sentences

    def _write(
        self, asked: Requests, rows: Int[np.ndarray, " rows"]
    ) -> tuple[list[str], Int[np.ndarray, " entries"], Int[np.ndarray, " bags_plus_1"]]:
        """Chains of some requests by the symbolic reasoner, with the training log's statistics."""
        chosen = asked.histories.select(rows)
        places = chosen.lengths[:, None] - 1 - np.arange(MAX_ITEMS)
        items = chosen.items[np.maximum(places, 0) + chosen.offsets[:-1, None]]
        seed = derive_seed(self.dataset.seed, "folds")
        catalog = self.dataset.catalog
        statistics = FoldedStatistics(self.dataset.split.train, catalog.item_count, seed)
        view = View(
            np.maximum(asked.users[rows], 0), chosen.lengths, np.where(places >= 0, items, -1)
        )
        return write_rows(CatalogReasoner(catalog, statistics), view, self.pattern)
