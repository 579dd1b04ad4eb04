"""Recall of a held-in target by chains that are 0, 1, 2, 5 and 10 interactions old.

The same users are measured at every age, so that ages differ in nothing else. Their last training
item is the target, and the catalogue reasoner names the ten items of a chain of age a from all but
the last a of the items before it. Only users with more than ten such items take part. A trained
recommender reaches other recalls. `staleness.json` also holds the ages of the chains that
validation would read at each distance between anchors.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import interval
from scoter.config import DataConfig, TextConfig
from scoter.data.datasets import open_dataset
from scoter.data.split import leave_one_out
from scoter.errors import ConfigError
from scoter.evaluation.significance import paired_bootstrap
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.prefixes import AnchorTable, PrefixPolicy
from scoter.reasoning.discovery.validate import wilson
from scoter.seeding import derive_seed
from scoter.storage.sentence_vectors import encoder_of
from scoter.storage.store import git_commit
from scoter.types import Catalog, Split, Step

FILE = "staleness.json"
AGES = (0, 1, 2, 5, 10)
DISTANCES = (2, 3, 5, 10)
DEPTH = 10
NAMED = Step("recommendation", {"by": "reasons", "count": DEPTH})


def measure(dataset: str, users: int = 2000, seed: int = 0, results: Path = RESULTS) -> Row:
    """Measure a dataset; write `staleness.json` and return it."""
    from scoter.recommenders.network import text_vectors

    began, config = time.process_time(), TextConfig()
    data = open_dataset(DataConfig(dataset))
    split, texts = leave_one_out(data.log), text_vectors(data.catalog, config, encoder_of(config))
    rows = recall_by_age(split, data.catalog, texts, users, seed)
    result = {
        "dataset": dataset,
        "commit": git_commit(),
        "seed": seed,
        "reasoner": study.REASONER,
        "pattern": [NAMED.label()],
        "metric": f"share of held-in targets among the {DEPTH} items that a chain names",
        "rows": rows,
        "anchors": [ages_read(split, distance) for distance in DISTANCES],
        "cpu_seconds": time.process_time() - began,
    }
    study.write(results / FILE, result)
    return result


def recall_by_age(
    split: Split,
    catalog: Catalog,
    texts: Callable[[], np.ndarray] | None,
    users: int = 2000,
    seed: int = 0,
    ages: Sequence[int] = AGES,
) -> list[Row]:
    """Recall@10 at each age with Wilson's interval, and its paired difference to the first age."""
    least = max(ages) + 2
    able = np.flatnonzero(split.train.lengths >= least)
    if len(able) < 8:
        short = f"only {len(able)} users have {least} training interactions"
        raise ConfigError(f"{short}, which chains so old need; use other ages")
    chosen = np.random.default_rng(derive_seed(seed, "staleness")).permutation(able)[:users]
    lengths, ends = split.train.lengths[chosen] - 1, split.train.offsets[1:][chosen]
    targets = split.train.items[ends - 1]
    statistics = FoldedStatistics(split.train, catalog.item_count, derive_seed(0, "folds"))
    reasoner, hits = CatalogReasoner(catalog, statistics, texts), {}
    for age in ages:
        named = reasoner.write(look(split, chosen, lengths - age), NAMED).numbers
        hits[age] = (named == targets[:, None]).any(axis=1)
    rows, fresh = [], hits[ages[0]].astype(float)
    for age in ages:
        lost = asdict(paired_bootstrap(hits[age].astype(float), fresh, seed=seed))
        row = {"age": age, "recall": asdict(wilson(hits[age]))}
        rows.append({**row, f"difference to age {ages[0]}": lost})
    return rows


def ages_read(split: Split, distance: int) -> Row:
    """Share of validation histories without a chain, and the mean age of the others' chains.

    Anchors, the prefixes that have a chain, are `distance` interactions apart.

    >>> from scoter.types import InteractionLog, Targets
    >>> log = InteractionLog(np.arange(5), np.array([0, 1, 5]), ("a", "b"))
    >>> both = Targets(np.array([0, 1]), np.array([0, 1]))
    >>> ages_read(Split(log, both, both), distance=3)
    {'distance': 3, 'chains': 1, 'share_without': 0.5, 'mean_age': 1.0}
    """
    users, prefix_lengths = PrefixPolicy(distance).rows(split, np.arange(split.train.user_count))
    read = split.train.lengths[split.valid.users]
    rows = AnchorTable(users, prefix_lengths).latest(split.valid.users, read)
    ages = (read - prefix_lengths[np.maximum(rows, 0)])[rows >= 0] if len(users) else np.zeros(0)
    mean, without = float(ages.mean()) if len(ages) else float("nan"), float((rows < 0).mean())
    return {"distance": distance, "chains": len(users), "share_without": without, "mean_age": mean}


@click.command()
@study.dataset_option
@study.users_option(2000)
@study.seed_option
@study.results_option
def command(dataset: str, users: int, seed: int, results: Path) -> None:
    for row in measure(dataset, users, seed, results)["rows"]:
        recall, (name, lost) = row["recall"], list(row.items())[-1]
        shown = f"recall@10 {interval(recall, '')} of {recall['users']} users"
        click.echo(f"age {row['age']:2}: {shown}, {name} {interval(lost)}")
