"""Chains of a dataset as one value: their text, their sentences' vectors, and their writer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int

from scoter.config import TextConfig
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError, DataError
from scoter.reasoning.catalogue.reasoner import MODEL, CatalogReasoner
from scoter.reasoning.catalogue.view import MAX_ITEMS, View
from scoter.reasoning.chains.table import ChainTable, write_rows
from scoter.recommenders.fitted import Requests
from scoter.recommenders.network import text_vectors
from scoter.seeding import derive_seed
from scoter.storage.sentence_vectors import encoder_of
from scoter.types import ReasoningChain, ReasoningPattern, StepEmbeddings, entries_of

Encode = Callable[[list[str]], Float32[np.ndarray, "sentences dim"]]


@dataclass(frozen=True, eq=False)
class Chains:
    """The chains of every prefix of a dataset's users; see `write_chains` and `load_chains`.

    The symbolic reasoner also writes chains for histories that are not in the dataset; a language
    model does not.
    """

    table: ChainTable
    vectors: Float[np.ndarray, "sentences dim"]  # of the table's sentences, in half precision
    dataset: Dataset  # whose prefixes they belong to
    text: TextConfig  # how sentences become vectors
    encoder: Encode | None = None  # of new sentences; None stands for the store's cached one

    @classmethod
    def of(cls, table: ChainTable, dataset: Dataset, text: TextConfig) -> "Chains":
        """These chains with the vectors of their sentences."""
        vectors = encoder_of(text)(table.sentences).astype(np.float16)
        return cls(table, vectors, dataset, text)

    @property
    def pattern(self) -> ReasoningPattern:
        return self.table.pattern

    @property
    def model(self) -> str:
        return self.table.model

    @property
    def steps(self) -> StepEmbeddings:
        return self.table.embed(self.vectors, self.text.encoder)

    def chain(self, user: str, prefix_length: int) -> ReasoningChain:
        """The chain that a user (by key) has after the first `prefix_length` items."""
        (number,) = self.dataset.user_numbers.get_indexer(pd.Index([user]))
        if number < 0:
            raise ConfigError(f"the dataset has no user {user!r}; name one of `dataset.users`")
        return self.table.chain(int(number), prefix_length)

    def check(self, dataset: Dataset) -> None:
        """Refuse chains of another dataset."""
        if dataset.identity != self.dataset.identity:
            whose = f"the chains are of {self.dataset.origin}, not of {dataset.origin}"
            raise DataError(f"{whose}; write chains of this dataset")

    def of_requests(self, asked: Requests) -> tuple[StepEmbeddings, list[str]]:
        """One chain for each request, and the sentences of its vectors.

        A prefix of a user's history in the dataset reads its own chain. For any other history the
        symbolic reasoner writes one; of a language model's chains the user's latest is read, and
        none for an unknown user.
        """
        table, steps = self.table, len(self.pattern)
        known, lengths = asked.users >= 0, asked.histories.lengths
        first = np.where(known, table.starts[asked.users], 0)
        count = np.where(known, table.starts[asked.users + 1] - first, 0)
        there = asked.is_prefix & (lengths <= count) & (lengths >= 1)
        if self.model != MODEL:  # nobody can write more of them here
            lengths, there = np.minimum(lengths, count), asked.is_prefix & (count > 0)
        row = np.where(there, first + lengths - 1, 0)
        low, counts = step_bounds(table.offsets, row, steps, there)
        sentences, vectors, indices = table.sentences, self.vectors, table.indices
        certainty = table.certainty
        if self.model == MODEL and not there.all():
            missing = np.flatnonzero(~there)
            # The symbolic reasoner counts on the training log, as for the stored chains.
            view = self._view(asked, missing)
            fresh, new, offsets, sure = write_rows(self._reasoner, view, self.pattern)
            encode = self.encoder or encoder_of(self.text)
            at = (missing[:, None] * steps + np.arange(steps)).ravel()
            low[at], counts[at] = offsets[:-1] + len(indices), np.diff(offsets)
            indices = np.concatenate([indices, new + len(sentences)])
            vectors = np.concatenate([vectors, encode(fresh).astype(vectors.dtype)])
            sentences = [*sentences, *fresh]
            if certainty is not None and sure is not None:
                certainty = np.concatenate([certainty, sure])
        take, offsets = entries_of(low, counts)
        used, numbers = np.unique(indices[take], return_inverse=True)
        starts, encoder = np.arange(len(asked.users) + 1), self.text.encoder
        chains = StepEmbeddings(
            *(vectors[used], numbers, offsets, starts, self.pattern, encoder),
            certainty=None if certainty is None else certainty[take],
        )
        return chains, [sentences[number] for number in used]

    def reasons_of(
        self, asked: Requests, items: Int[np.ndarray, "rows k"]
    ) -> list[list[dict[str, float]]] | None:
        """What each reason adds to each item's score, where the pattern ranks by reasons."""
        by = {step.parameters.get("by") for step in self.pattern.steps}
        if self.model != MODEL or "reasons" not in by:
            return None
        view = self._view(asked, np.arange(len(items)))
        return self._reasoner.reasons.parts(view, np.maximum(items, 0))

    def _view(self, asked: Requests, rows: Int[np.ndarray, " rows"]) -> View:
        """The newest items of some requests."""
        # What is no prefix of the user's log has no continuation that might be counted.
        users = np.where(asked.is_prefix, asked.users, -1)[rows]
        chosen = asked.histories.select(rows)
        return View(users, chosen.lengths, chosen.newest(MAX_ITEMS))

    @cached_property
    def _reasoner(self) -> CatalogReasoner:
        log, catalog = self.dataset.split.train, self.dataset.catalog
        texts = text_vectors(catalog, self.text, self.encoder or encoder_of(self.text))
        seed = derive_seed(self.dataset.seed, "folds")
        return CatalogReasoner.of(log, catalog, seed, texts, self.table.weights)


def step_bounds(
    offsets: Int[np.ndarray, " bags_plus_1"],
    rows: Int[np.ndarray, " rows"],
    steps: int,
    there: Bool[np.ndarray, " rows"],
) -> tuple[Int[np.ndarray, " bags"], Int[np.ndarray, " bags"]]:
    """Where each step's entries begin, and how many it has; none where a chain is not `there`."""
    bags = (rows[:, None] * steps + np.arange(steps)).ravel()
    low = offsets[bags].astype(np.int64)
    return low, (offsets[bags + 1] - low) * np.repeat(there, steps)
