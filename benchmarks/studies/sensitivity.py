"""How sensitive a dataset's numbers are to ties in time, to who is tested, and to the test split.

Buckets and the drop from validation to test come from the kept ranks of every collected method, so
nothing is run again. Ties need data preparation and training again, so only cheap methods are
measured: popularity, and SASRec with a full softmax at a few epochs. `results/sensitivity.json`
holds one entry for each dataset.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from jaxtyping import Int

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS, load_rows, ranks_path
from benchmarks.tables.sensitivity_page import BUCKETS, FILE, METRICS, page
from scoter import config
from scoter.config import DataConfig, MethodConfig
from scoter.data.datasets import open_dataset
from scoter.data.prepared import save_prepared
from scoter.data.split import leave_one_out, shuffle_ties
from scoter.errors import ConfigError, DataError
from scoter.evaluation.evaluator import Evaluator, load_user_metrics
from scoter.evaluation.metrics import mean_metrics, per_user
from scoter.evaluation.significance import bootstrap_mean, paired_bootstrap
from scoter.models.backbones.popularity import Popularity
from scoter.pipeline import make_inputs
from scoter.stages import models, networks
from scoter.stages.context import Context
from scoter.storage.store import Store, git_commit
from scoter.types import Catalog, InteractionLog, Part, Rankings, Split

SPLITS: tuple[Part, ...] = ("valid", "test")
Say = Callable[[str], None]


@dataclass(frozen=True)
class TieDraws:
    """How ties are drawn, and what is trained on each draw."""

    draws: int = 5  # random orders of the interactions of one time
    sasrec_epochs: int = 0  # SASRec's on each draw; 0 leaves it out
    store: Path | None = None  # folder of artefacts
    data: Path | None = None  # prepared folder, or one that holds the datasets
    say: Say = print  # told of training's progress


def measure(
    dataset: str, results: Path = RESULTS, given: TieDraws = TieDraws(), keep_ties: bool = False
) -> Row:
    """Measure a dataset, or all but its ties; put it beside the others in `sensitivity.json`."""
    opened = open_dataset(DataConfig(dataset), given.data)
    split = leave_one_out(opened.log)
    measured: Row = {"commit": git_commit(), "drop": drop(dataset, results)}
    measured["buckets"] = buckets(split, opened.catalog, dataset, results)
    if keep_ties:
        known = study.read(results / FILE, {})
        if dataset not in known:
            raise ConfigError(f"{FILE} has no ties of {dataset} to keep; leave --keep-ties out")
        measured["ties"] = known[dataset]["ties"]
    else:
        measured["ties"] = ties(opened.log, opened.catalog, dataset, given)
    study.put(results / FILE, dataset, measured)
    return measured


@dataclass(frozen=True)
class Ranks:
    """The collected ranks of a method on a dataset."""

    results: Path
    dataset: str
    method: str
    seeds: tuple[int, ...]

    @classmethod
    def collected(cls, dataset: str, results: Path) -> "list[Ranks]":
        """Those of every method that has ranks."""
        rows, seeds_of = load_rows(results), dict[str, list[int]]()
        pairs = {(row["method"], row["seed"]) for row in rows if row["dataset"] == dataset}
        for method, seed in sorted(pairs):
            if ranks_path(results, dataset, method, seed, "test").exists():
                seeds_of.setdefault(method, []).append(seed)
        return [cls(results, dataset, method, tuple(seeds)) for method, seeds in seeds_of.items()]

    def values(self, part: Part, metric: str, users: np.ndarray | None = None) -> np.ndarray:
        """A metric of every user, averaged over the seeds; the ranks must be those of `users`."""
        names = (self.results, self.dataset, self.method)
        kept = [load_user_metrics(ranks_path(*names, seed, part)) for seed in self.seeds]
        if users is not None and not all(np.array_equal(ranks.users, users) for ranks in kept):
            problem = f"the ranks of {self.method} are not of the users of this {self.dataset}"
            raise DataError(f"{problem}; point --data at the data that it ran on")
        return np.mean([per_user(ranks, metric) for ranks in kept], axis=0)


def buckets(split: Split, catalog: Catalog, dataset: str, results: Path) -> list[Row]:
    """Test Recall@10 of every collected method in buckets of users.

    Buckets are by length of the history, by training interactions of the target (none: it is cold),
    and, where some targets are in the history already, by whether they are.
    """
    histories, targets = split.histories("test"), split.test.items
    training = np.bincount(split.train.items, minlength=catalog.item_count)
    repeats = [targets[row] in histories.sequence(row) for row in range(len(targets))]
    numbers_of = {"history": histories.lengths, "popularity": training[targets]}
    if any(repeats):
        numbers_of["repeat"] = np.array(repeats, int)
    rows = []
    for ranks in Ranks.collected(dataset, results):
        values = ranks.values("test", "recall@10", split.test.users)
        for kind, numbers in numbers_of.items():
            for low, high in BUCKETS[kind][1]:
                inside = bucket(numbers, low, high)
                if inside.any():
                    row: Row = {"method": ranks.method, "kind": kind, "low": low, "high": high}
                    row["users"] = int(inside.sum())
                    row["recall@10"] = asdict(bootstrap_mean(values[inside], seed=0))
                    rows.append(row)
    return rows


def bucket(numbers: Int[np.ndarray, " users"], low: int, high: int | None) -> np.ndarray:
    """Which users' numbers lie in [low, high]; None is no upper end.

    >>> bucket(np.array([0, 3, 9]), 1, 4).tolist(), bucket(np.array([0, 9]), 5, None).tolist()
    ([False, True, False], [False, True])
    """
    return (numbers >= low) & (numbers <= (np.inf if high is None else high))


def drop(dataset: str, results: Path) -> list[Row]:
    """Test minus validation of every collected method, paired by user."""
    rows = []
    for ranks in Ranks.collected(dataset, results):
        for metric in METRICS:
            valid, test = (ranks.values(part, metric) for part in SPLITS)
            row: Row = {"method": ranks.method, "seeds": len(ranks.seeds), "metric": metric}
            row |= {"valid": float(valid.mean()), "test": float(test.mean())}
            rows.append({**row, "difference": asdict(paired_bootstrap(test, valid, seed=0))})
    return rows


def ties(log: InteractionLog, catalog: Catalog, dataset: str, given: TieDraws) -> Row | None:
    """Both metrics as prepared, and with ties of time in random order.

    Each draw is prepared, trained and evaluated again. `other_targets` is the share of users whose
    test target is another item then. None where the data has no times.
    """
    if log.times is None:
        return None
    before, rows = leave_one_out(log).test.items, []
    for draw in (None, *range(given.draws)):
        shuffled = log if draw is None else shuffle_ties(log, draw)
        split = leave_one_out(shuffled)
        moved = float(np.mean(split.test.items != before))
        popular = Popularity(split.train, catalog.item_count)
        rankings: dict[str, dict[Part, Rankings]] = {
            "popularity": {part: popular.recommend(split.histories(part), 20) for part in SPLITS}
        }
        if given.sasrec_epochs:
            rankings["sasrec-ce"] = _sasrec(dataset, shuffled, catalog, draw, given)
        for name, by_part in rankings.items():
            row: Row = {"draw": draw, "method": name, "other_targets": moved}
            for part, found in by_part.items():
                prefix = "valid " if part == "valid" else ""
                means = mean_metrics(Evaluator().evaluate(found, split.targets(part)), METRICS)
                row |= {prefix + metric: value for metric, value in means.items()}
            rows.append(row)
    neighbours = np.diff(np.repeat(np.arange(log.user_count), log.lengths)) == 0
    tied = (np.diff(log.times) == 0) & neighbours
    share = float(tied.sum() / max(1, neighbours.sum()))
    return {"share_of_tied_steps": share, "epochs": given.sasrec_epochs, "rows": rows}


def _sasrec(
    dataset: str, log: InteractionLog, catalog: Catalog, draw: int | None, given: TieDraws
) -> dict[Part, Rankings]:
    """What SASRec ranks once it is trained on the interactions in this order."""
    epochs = given.sasrec_epochs
    budget = config.TrainingConfig(epochs=epochs, evaluate_every=epochs)
    name, method = "sasrec-ce", MethodConfig(config.SasrecConfig(loss="ce"), budget)
    data = DataConfig(dataset if draw is None else f"{dataset}-ties-{draw}")
    experiment = config.Experiment(f"{dataset}-ties", data, {name: method})
    context = Context(experiment, Store(given.store), 0, given.say)
    with tempfile.TemporaryDirectory() as folder:
        save_prepared(log, catalog, Path(folder))
        inputs = make_inputs(context, given.data if draw is None else Path(folder))
    ranked = models.rank(context, method, models.train(context, name, method, inputs), inputs)
    return {part: networks.open_rankings(ranked, part) for part in SPLITS}


@click.command()
@study.dataset_option
@study.data_option
@study.store_option
@study.option("--draws", type=click.IntRange(2), default=5, help="Random orders of ties in time.")
@study.option("--sasrec-epochs", "epochs", type=click.IntRange(0), default=0, help="Of each draw.")
@click.option("--keep-ties", is_flag=True, help="Keep what was measured of ties.")
@study.results_option
def command(
    dataset: str,
    data: Path | None,
    store: Path | None,
    draws: int,
    epochs: int,
    keep_ties: bool,
    results: Path,
) -> None:
    say = click.echo if epochs else lambda line: None
    given = TieDraws(draws, epochs, store, data, say)
    click.echo(page(measure(dataset, results, given, keep_ties)).markdown())
