"""What an old chain is worth: recall of a held-in target by chains written 0, 1, 2, 5 and 10
purchases before it.

The same shoppers are measured at every age, so that ages differ in nothing else: their last
training item is the target, and a chain of age a is written, by the catalogue reasoner, from what
comes a purchases before the end of the rest. Only those with more than ten purchases besides can
take part, who are the busier ones. The probe is the linear one of
`scoter.reasoning.discovery.validate`: it orders ages, it is not what a trained recommender reaches.
No validation or test event is looked at.

`results/staleness.json` also says how old the chains are that validation would read at each
distance between anchors.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.storage.store import git_commit
from scoter.types import Catalog, ReasoningPattern, Split

AGES = (0, 1, 2, 5, 10)
DISTANCES = (2, 3, 5, 10)
DEPTH = 10


def measure(
    split: Split,
    catalog: Catalog,
    pattern: ReasoningPattern,
    encode: Any,
    item_vectors: np.ndarray,
    users: int = 2000,
    seed: int = 0,
    ages: tuple[int, ...] = AGES,
) -> list[dict[str, Any]]:
    """One row per age: Recall@10 with Wilson's interval, and its paired difference to age 0 with a
    bootstrap interval.

    Raises:
        ConfigError: fewer than eight shoppers have a history long enough for the oldest chain.
    """
    from scoter.evaluation.significance import paired_bootstrap
    from scoter.reasoning.catalogue.reasoner import CatalogReasoner
    from scoter.reasoning.catalogue.statistics import FoldedStatistics
    from scoter.reasoning.catalogue.view import look
    from scoter.reasoning.discovery.validate import EmbeddedSteps, ground, wilson

    able = np.flatnonzero(split.train.lengths >= max(ages) + 2)
    if len(able) < 8:
        raise ConfigError(
            f"only {len(able)} shoppers have {max(ages) + 2} training purchases, which chains so "
            f"old need; use others"
        )
    chosen = np.random.default_rng(derive_seed(seed, "staleness")).permutation(able)[:users]
    lengths, targets = (
        split.train.lengths[chosen] - 1,
        split.train.items[split.train.offsets[1:][chosen] - 1],
    )
    reasoner = CatalogReasoner(
        catalog, FoldedStatistics(split.train, catalog.item_count, derive_seed(0, "folds"))
    )
    hits = {}
    for age in ages:
        steps = EmbeddedSteps(reasoner, look(split, chosen, lengths - age), encode)
        hits[age] = ground(steps.of(pattern), item_vectors, targets, seed) <= DEPTH
    rows = []
    for age in ages:
        recall = asdict(wilson(hits[age]))
        lost = paired_bootstrap(hits[age].astype(float), hits[ages[0]].astype(float), seed=seed)
        differs = {"mean": float(lost.mean), "low": float(lost.low), "high": float(lost.high)}
        rows.append({"age": age, "recall": recall, f"difference to age {ages[0]}": differs})
    return rows


def ages_read(split: Split, distance: int) -> dict[str, float]:
    """Share of validation histories without a chain, and the mean age of the others' chains, with
    anchors so far apart.

    Example:
        >>> from scoter.types import InteractionLog, Targets
        >>> log, both = (
        ...     InteractionLog(np.arange(5), np.array([0, 1, 5]), ("a", "b")),
        ...     np.array([0, 1]),
        ... )
        >>> ages_read(Split(log, Targets(both, both), Targets(both, both)), distance=3)
        {'distance': 3, 'chains': 1, 'share_without': 0.5, 'mean_age': 1.0}
    """
    from scoter.reasoning.chains.prefixes import AnchorTable, PrefixPolicy

    users, prefix_lengths = PrefixPolicy(distance).rows(split, np.arange(split.train.user_count))
    read = split.train.lengths[split.valid.users]
    found = AnchorTable(users, prefix_lengths).latest(split.valid.users, read)
    old = (read - prefix_lengths[np.maximum(found, 0)])[found >= 0] if len(users) else np.zeros(0)
    mean = float(old.mean()) if len(old) else float("nan")
    return {
        "distance": distance,
        "chains": len(users),
        "share_without": float((found < 0).mean()),
        "mean_age": mean,
    }


def main(
    dataset: str = "beauty", users: int = 2000, seed: int = 0, results: Path = RESULTS
) -> dict[str, Any]:
    """Measure a dataset, write `results/staleness.json` and return what stands in it."""
    from scoter.config import DataConfig, TextConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.split import leave_one_out
    from scoter.reasoning.chains.table import hand_written_pattern
    from scoter.semantic_ids.vectors import text_fields
    from scoter.storage import sentence_vectors as text
    from scoter.storage.store import Store

    began = time.process_time()
    found = open_dataset(DataConfig(dataset))
    split, config = leave_one_out(found.log), TextConfig()
    pattern, cache = hand_written_pattern(found.catalog), Store().root / "sentences"
    vectors = text.encode(
        text.item_texts(found.catalog, text_fields(found.catalog, config.fields)), config, cache
    )
    rows = measure(
        split,
        found.catalog,
        pattern,
        lambda texts: text.encode(texts, config, cache),
        vectors,
        users,
        seed,
    )
    result = {
        "dataset": dataset,
        "commit": git_commit(),
        "seed": seed,
        "reasoner": "catalog-reasoner (symbolic)",
        "pattern": [step.label() for step in pattern.steps],
        "metric": f"recall@{DEPTH} of the linear probe on held-in targets",
        "rows": rows,
        "anchors": [ages_read(split, distance) for distance in DISTANCES],
        "cpu_seconds": time.process_time() - began,
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "staleness.json").write_text(json.dumps(result, indent=1) + "\n")
    return result
