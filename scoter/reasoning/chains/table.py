"""Chains of every prefix of a split: unique sentences, and which step of which chain uses them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from scoter.errors import ConfigError, DataError
from scoter.reasoning.catalogue.folded_reasons import Weights
from scoter.reasoning.catalogue.reasoner import (
    MODEL,
    PROMPT_VERSION,
    CatalogReasoner,
    Texts,
    check_step,
)
from scoter.reasoning.catalogue.view import MAX_ITEMS, View, every_prefix, look
from scoter.storage.untrusted import read_parquet
from scoter.storage.writing import write_parquet
from scoter.types import Catalog, ReasoningChain, ReasoningPattern, Split, Step, StepEmbeddings

CHAINS_FILE, SENTENCES_FILE = "chains.parquet", "sentences.parquet"


@dataclass(frozen=True, eq=False)
class ChainTable:
    """Chains as text, laid out as in `StepEmbeddings`, which explains the three arrays."""

    sentences: list[str]
    indices: Int[np.ndarray, " entries"]
    offsets: Int[np.ndarray, " bags_plus_1"]
    starts: Int[np.ndarray, " users_plus_1"]
    pattern: ReasoningPattern
    model: str = MODEL  # what wrote the chains
    prompt_version: str = PROMPT_VERSION
    weights: Weights | None = None  # of the reasons that ranked, by fold of users
    certainty: Float[np.ndarray, " entries"] | None = None  # as in `StepEmbeddings`

    def embed(self, vectors: Float[np.ndarray, "sentences dim"], encoder: str) -> StepEmbeddings:
        """The chains' step embeddings, from one vector per sentence in the order of `sentences`."""
        if len(vectors) != len(self.sentences):
            given = f"{len(vectors)} vectors were given for {len(self.sentences)} sentences"
            raise DataError(f"{given}; encode `table.sentences`")
        arrays = (self.indices, self.offsets, self.starts)
        return StepEmbeddings(vectors, *arrays, self.pattern, encoder, certainty=self.certainty)

    def bag(self, number: int) -> tuple[str, ...]:
        """The sentences of one step of one chain: step k of chain c is bag `c * steps + k`."""
        used = self.indices[self.offsets[number] : self.offsets[number + 1]]
        return tuple(self.sentences[sentence] for sentence in used)

    def followed_by(self, other: "ChainTable") -> "ChainTable":
        """Each chain's steps, then those of the same prefix in a table of the same split."""
        if not np.array_equal(self.starts, other.starts):
            raise DataError("the chains are of other prefixes; write both for one split")
        tables = (self, other)
        counts = [np.diff(t.offsets).reshape(-1, len(t.pattern)) for t in tables]
        chain = [np.repeat(np.arange(len(c)), c.sum(axis=1)) for c in counts]
        order = np.argsort(np.concatenate(chain), kind="stable")
        entries = np.concatenate([self.indices, other.indices + len(self.sentences)])
        stated = [np.zeros(len(t.indices)) if t.certainty is None else t.certainty for t in tables]
        return ChainTable(
            [*self.sentences, *other.sentences],
            entries[order],
            np.concatenate([[0], np.cumsum(np.concatenate(counts, axis=1))]),
            self.starts,
            ReasoningPattern((*self.pattern.steps, *other.pattern.steps)),
            f"{self.model} + {other.model}",
            f"{self.prompt_version} + {other.prompt_version}",
            self.weights,
            None
            if self.certainty is other.certainty is None
            else np.concatenate(stated, dtype=np.float32)[order],
        )

    def chain(self, user: int, prefix_length: int) -> ReasoningChain:
        """The chain that a user gets after the first `prefix_length` items."""
        known = 0 <= user < len(self.starts) - 1
        count = int(self.starts[user + 1] - self.starts[user]) if known else 0
        if not 1 <= prefix_length <= count:
            held = f"user {user} has chains for the prefix lengths 1 to {count}"
            raise DataError(f"{held}, not for {prefix_length}")
        first = (int(self.starts[user]) + prefix_length - 1) * len(self.pattern)
        steps = tuple(self.bag(first + step) for step in range(len(self.pattern)))
        origin = (self.model, self.prompt_version)
        return ReasoningChain(user, prefix_length, self.pattern, steps, *origin)


def write_chains(
    split: Split,
    catalog: Catalog,
    pattern: ReasoningPattern,
    seed: int,
    max_items: int = MAX_ITEMS,
    texts: Texts | None = None,
) -> ChainTable:
    """The chains of all users' training, validation and test prefixes, by the catalogue reasoner.

    Prefix length p sees the last `max_items` of its user's items 1..p. With n training items, p = n
    is before the validation target, p = n + 1 before the test target. `seed` draws the folds, of
    which a training prefix does not count its user's (`FoldedStatistics.left_out`).
    `texts` makes the vectors of the items' texts, for steps that rank by reasons.
    """
    users, prefix_lengths, starts = every_prefix(split)
    view = look(split, users, prefix_lengths, max_items)
    reasoner = CatalogReasoner.of(split.train, catalog, seed, texts)
    sentences, indices, offsets, certainty = write_rows(reasoner, view, pattern)
    said = (sentences, indices, offsets, starts, pattern)
    return ChainTable(*said, weights=reasoner.fitted_weights, certainty=certainty)


def write_rows(
    reasoner: CatalogReasoner, view: View, pattern: ReasoningPattern
) -> tuple[
    list[str],
    Int[np.ndarray, " entries"],
    Int[np.ndarray, " bags_plus_1"],
    Float[np.ndarray, " entries"] | None,
]:
    """The first three arrays and `certainty` of a `ChainTable` with one chain per row of `view`."""
    if not len(pattern):
        raise ConfigError("the pattern has no steps; give it at least one")
    for step in pattern.steps:
        check_step(step, reasoner.catalog)
    known: dict[str, int] = {}
    said = [reasoner.write(view, step) for step in pattern.steps]
    blocks = [step.placed(known) for step in said]
    counts = np.stack([(block >= 0).sum(axis=1) for block in blocks], axis=1)
    numbers, certainty = np.concatenate(blocks, axis=1), None
    if any(step.certainty is not None for step in said):
        stated = [
            np.zeros(step.numbers.shape) if step.certainty is None else step.certainty
            for step in said
        ]
        certainty = np.concatenate(stated, axis=1, dtype=np.float32)[numbers >= 0]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return list(known), numbers[numbers >= 0], offsets, certainty


# What a person would ask about an item: what it is for, who buys it, with what, what comes next.
ITEM_PATTERN = ReasoningPattern(
    tuple(map(Step, ("use", "shopper", "pairs", "next", "recommendation")))
)


def hand_written_pattern(catalog: Catalog) -> ReasoningPattern:
    """A pattern that a person would write down, with the roles that this catalogue can fill."""
    described = catalog.has("categories")
    steps = [
        Step("history_summary", {"count": 10}),
        Step("long_term_preference", {"level": "category", "count": 2}),
        Step("recent_item", {"lag": 2, "field": "item"}),
        Step("recent_item", {"lag": 1, "field": "item"}),
        Step("likely_next", {"what": "category" if described else "item", "count": 3, "window": 3}),
        Step("recommendation", {"count": 5, "window": 3}),
    ]
    return ReasoningPattern(tuple(steps if described else [steps[0], *steps[2:]]))


def save_chains(table: ChainTable, folder: Path) -> None:
    """`sentences.parquet`, and `chains.parquet`: user, prefix length, and sentences by step."""
    users = np.repeat(np.arange(len(table.starts) - 1), np.diff(table.starts))
    chain_count, steps = int(table.starts[-1]), len(table.pattern)
    stored = {"steps": table.indices.astype(np.int32)}
    stored |= {} if table.certainty is None else {"certainty": table.certainty}
    bounds = table.offsets.astype(np.int32), np.arange(chain_count + 1, dtype=np.int32) * steps
    nested = {
        name: pa.ListArray.from_arrays(bounds[1], pa.ListArray.from_arrays(bounds[0], entries))
        for name, entries in stored.items()
    }
    about = {
        "pattern": json.dumps(table.pattern.to_json()),
        "users": str(len(table.starts) - 1),
        "model": table.model,
        "prompt_version": table.prompt_version,
        "weights": json.dumps(table.weights),
    }
    prefix_lengths = np.arange(chain_count) - table.starts[users] + 1
    chains = pa.table({"user": users, "prefix_length": prefix_lengths, **nested})
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(chains.replace_schema_metadata(about), folder / CHAINS_FILE)
    write_parquet(pa.table({"sentence": table.sentences}), folder / SENTENCES_FILE)


def load_chains(folder: Path) -> ChainTable:
    """The inverse of `save_chains`."""
    for name in (CHAINS_FILE, SENTENCES_FILE):
        if not (folder / name).exists():
            raise DataError(f"{folder} has no {name}; write it with save_chains")
    stored = read_parquet(folder / CHAINS_FILE).combine_chunks()
    about = {key.decode(): value.decode() for key, value in (stored.schema.metadata or {}).items()}
    bags = stored["steps"].chunk(0).flatten() if len(stored) else pa.array([], pa.list_(pa.int32()))
    certainty = None
    if len(stored) and "certainty" in stored.column_names:
        certainty = stored["certainty"].chunk(0).flatten().flatten().to_numpy()
    return ChainTable(
        sentences=read_parquet(folder / SENTENCES_FILE)["sentence"].to_pylist(),
        indices=bags.flatten().to_numpy(),
        offsets=np.concatenate([[0], np.cumsum(bags.value_lengths().to_numpy())]),
        starts=np.searchsorted(stored["user"].to_numpy(), np.arange(int(about["users"]) + 1)),
        pattern=ReasoningPattern.from_json(json.loads(about["pattern"])),
        model=about["model"],
        prompt_version=about["prompt_version"],
        weights=json.loads(about.get("weights", "null")),
        certainty=certainty,
    )
