"""How much a dataset's numbers hang on what nobody chose: ties in time, who is tested, and the step
from validation to test.

Buckets and the drop come from the kept ranks of every collected method, so nothing is run again.
Ties need data preparation and training again, so they are measured with cheap methods alone:
popularity, and SASRec with a full softmax at a few epochs. `results/sensitivity.json` holds the
rows, one entry for each dataset.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from benchmarks.suite.collect import RESULTS, load_rows, ranks_path
from benchmarks.tables.sensitivity_page import BUCKETS, FILE, METRICS
from scoter.config import (
    DataConfig,
    Experiment,
    MethodConfig,
    PopularityConfig,
    SasrecConfig,
    TrainingConfig,
)
from scoter.data.datasets import open_dataset
from scoter.data.split import leave_one_out, shuffle_ties
from scoter.evaluation.evaluator import Evaluator, load_user_metrics
from scoter.evaluation.metrics import mean_metrics, per_user
from scoter.evaluation.significance import bootstrap_mean, paired_bootstrap
from scoter.storage.store import Store, git_commit
from scoter.types import Catalog, InteractionLog, Split

Say = Callable[[str], None]


def main(
    dataset: str,
    results: Path = RESULTS,
    *,
    data: Path | None = None,
    store: Path | None = None,
    draws: int = 5,
    sasrec_epochs: int = 0,
    say: Say = print,
) -> dict[str, Any]:
    """Measure a dataset, put it beside the others in `results/sensitivity.json`, and return what
    was measured.

    `sasrec_epochs` trains SASRec once for each draw of ties and once as prepared; 0 leaves it out.
    """
    opened = open_dataset(DataConfig(dataset), data)
    split = leave_one_out(opened.log)
    measured = {
        "commit": git_commit(),
        "buckets": buckets(split, opened.catalog, dataset, results),
        "drop": drop(dataset, results),
        "ties": ties(opened.log, opened.catalog, dataset, draws, sasrec_epochs, store, data, say),
    }
    path = results / FILE
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**kept, dataset: measured}, indent=1, sort_keys=True) + "\n")
    return measured


def buckets(split: Split, catalog: Catalog, dataset: str, results: Path) -> list[dict[str, Any]]:
    """Recall@10 on test of every collected method, by length of the history, by training events of
    the target, and by whether the target stands in the history already; the last where some do.

    A target without a training event is cold: nobody's training history holds it.
    """
    histories, targets = split.histories("test"), split.test.items
    counts = np.bincount(split.train.items, minlength=catalog.item_count)[targets]
    repeats = np.array(
        [targets[row] in histories.sequence(row) for row in range(len(targets))], int
    )
    numbers_of = {
        "history": histories.lengths,
        "popularity": counts,
        **({"repeat": repeats} if repeats.any() else {}),
    }
    rows = []
    for method, seeds in _methods(dataset, results).items():
        values = _values(dataset, method, seeds, "test", "recall@10", results, split.test.users)
        for kind, numbers in numbers_of.items():
            for low, high in BUCKETS[kind][1]:
                inside = bucket(numbers, low, high)
                if inside.any():
                    found = asdict(bootstrap_mean(values[inside], seed=0))
                    about = {
                        "method": method,
                        "kind": kind,
                        "low": low,
                        "high": high,
                        "users": int(inside.sum()),
                    }
                    rows.append({**about, "recall@10": found})
    return rows


def bucket(numbers: Int[np.ndarray, " users"], low: int, high: int | None) -> np.ndarray:
    """Which users' numbers lie in [low, high]; without an upper end where `high` is None.

    Example:
        >>> (
        ...     bucket(np.array([0, 3, 9]), 1, 4).tolist(),
        ...     bucket(np.array([0, 3, 9]), 5, None).tolist(),
        ... )
        ([False, True, False], [False, False, True])
    """
    return (numbers >= low) & (numbers <= (np.inf if high is None else high))


def drop(dataset: str, results: Path) -> list[dict[str, Any]]:
    """Test minus validation of every collected method, paired by user: how far numbers fall on what
    was not selected by."""
    rows = []
    for method, seeds in _methods(dataset, results).items():
        for metric in METRICS:
            valid, test = (
                _values(dataset, method, seeds, part, metric, results) for part in ("valid", "test")
            )
            means = {"valid": float(valid.mean()), "test": float(test.mean())}
            found = asdict(paired_bootstrap(test, valid, seed=0))
            rows.append(
                {
                    "method": method,
                    "seeds": len(seeds),
                    "metric": metric,
                    **means,
                    "difference": found,
                }
            )
    return rows


def ties(
    log: InteractionLog,
    catalog: Catalog,
    dataset: str,
    draws: int,
    sasrec_epochs: int,
    store: Path | None,
    data: Path | None,
    say: Say,
) -> dict[str, Any] | None:
    """Both metrics as prepared and with ties of time in random order, each draw prepared, trained
    and evaluated again.

    None where the data has no times. `other_targets` is the share of users whose test target is
    another item then.
    """
    if log.times is None:
        return None
    methods = {"popularity": MethodConfig(PopularityConfig())}
    if sasrec_epochs:
        budget = TrainingConfig(epochs=sasrec_epochs, evaluate_every=sasrec_epochs)
        methods["sasrec-ce"] = MethodConfig(SasrecConfig(loss="ce"), budget)
    before = leave_one_out(log).test.items
    rows = []
    for draw in (None, *range(draws)):
        shuffled = log if draw is None else shuffle_ties(log, draw)
        other = float(np.mean(leave_one_out(shuffled).test.items != before))
        found = _trained_again(shuffled, catalog, dataset, draw, methods, store, data, say)
        rows += [
            {"draw": draw, "method": name, "other_targets": other, **metrics}
            for name, metrics in found.items()
        ]
    within = np.repeat(np.arange(log.user_count), log.lengths)
    tied = (np.diff(log.times) == 0) & (np.diff(within) == 0)
    return {
        "share_of_tied_steps": float(tied.sum() / max(1, (np.diff(within) == 0).sum())),
        "epochs": sasrec_epochs,
        "rows": rows,
    }


def _trained_again(
    log: InteractionLog,
    catalog: Catalog,
    dataset: str,
    draw: int | None,
    methods: Mapping[str, MethodConfig],
    store: Path | None,
    data: Path | None,
    say: Say,
) -> dict[str, dict[str, float]]:
    """Metrics of each method on one order of the events, those of validation by name; trained
    through the store, to resume."""
    from scoter.data.prepared import save_prepared
    from scoter.models.backbones.popularity import Popularity
    from scoter.stages import data as stages
    from scoter.stages import models, networks
    from scoter.stages.context import PARTS, Context

    split, found = leave_one_out(log), {}
    for name, method in methods.items():
        if method.model.kind == "popularity":
            model = Popularity(split.train, catalog.item_count)
            rankings = {part: model.recommend(split.histories(part), 20) for part in PARTS}
        else:
            experiment = Experiment(f"{dataset}-ties", DataConfig(dataset), {name: method})
            context = Context(experiment, Store(store), 0, say)
            prepared = stages.prepare(context, data)
            if draw is not None:
                context = replace(
                    context,
                    experiment=replace(experiment, data=DataConfig(f"{dataset}-ties-{draw}")),
                )
                with tempfile.TemporaryDirectory() as folder:
                    save_prepared(log, catalog, Path(folder))
                    prepared = stages.prepare(context, Path(folder))
            inputs = networks.Inputs(prepared)
            trained = models.train(context, name, method, inputs)
            ranked = models.rank(context, method, trained, inputs)
            rankings = {part: networks.open_rankings(ranked, part) for part in PARTS}
        metrics = {
            part: mean_metrics(Evaluator().evaluate(rankings[part], split.targets(part)), METRICS)
            for part in PARTS
        }
        found[name] = {
            **metrics["test"],
            **{f"valid {metric}": value for metric, value in metrics["valid"].items()},
        }
    return found


def _methods(dataset: str, results: Path) -> dict[str, list[int]]:
    """The collected methods of a dataset that have ranks, with their seeds."""
    found: dict[str, list[int]] = {}
    for method, seed in sorted(
        {(row["method"], row["seed"]) for row in load_rows(results) if row["dataset"] == dataset}
    ):
        if ranks_path(results, dataset, method, seed, "test").exists():
            found.setdefault(method, []).append(seed)
    return found


def _values(
    dataset: str,
    method: str,
    seeds: list[int],
    part: str,
    metric: str,
    results: Path,
    users: np.ndarray | None = None,
) -> np.ndarray:
    """A metric of every user, averaged over the seeds."""
    from scoter.errors import DataError

    kept = [load_user_metrics(ranks_path(results, dataset, method, seed, part)) for seed in seeds]
    if users is not None and not all(np.array_equal(one.users, users) for one in kept):
        raise DataError(
            f"the ranks of {method} are not of the users of this {dataset}; point --data at the "
            f"data that it ran on"
        )
    return np.mean([per_user(one, metric) for one in kept], axis=0)
