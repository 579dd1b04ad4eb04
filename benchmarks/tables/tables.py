"""Collected results as DataFrames. Every function is pure in the results folder; none loads torch.

Metrics are test-set means over seeds. A difference pairs users, each averaged over the seeds that
both methods have; its bootstrap interval is over users and says nothing about other seeds.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.suite.cells import protocol_of
from benchmarks.suite.collect import RESULTS, load_rows, ranks_path
from benchmarks.suite.recipes import mixes_scores
from benchmarks.tables import comparisons
from benchmarks.tables.comparisons import ARM, BASELINE, COLLAPSED, COMPARED, METRICS, Comparison
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import Estimate, bootstrap_mean

ORDER = (
    *("popularity", "item-knn", "ease", "transition-graph", "reasons-logit"),
    *("gru4rec", "sasrec-bce", "sasrec-ce", "gru4rec-scoter", "sasrec-ce-scoter"),
    *(BASELINE, COLLAPSED, ARM),
)
_KINDS = ("lift", "difference", "low", "high", "corrected p")
COLUMNS = (
    *("method", "seeds", *METRICS, *(f"deviation {metric}" for metric in METRICS)),
    *("epochs", "cpu_hours", *(f"{kind} {metric}" for metric in COMPARED for kind in _KINDS)),
    "source",
)


def main_table(results: Path | str = RESULTS, dataset: str = "beauty") -> pd.DataFrame:
    """One row per method, measured then published, with `COLUMNS`; NaN where nothing is known.

    `seeds` is their number; `epochs` (those trained) and `cpu_hours` are means over seeds,
    `deviation` the standard deviation over them. `lift` is the relative gain over our own TIGER in
    percent, at the seeds of both; `difference`, `low` and `high` are paired, in the metric's unit;
    `corrected p` is Holm's over all that the table and its notes compare. These are NaN for
    published rows and for arms whose model, training budget or semantic IDs differ from TIGER's.
    The table of protocol B has published rows alone, until something is measured.
    """
    tests = comparisons.rows_of_split(results, dataset)
    if not tests and protocol_of(dataset) == "A":
        known = ", ".join(datasets(results))
        raise DataError(f"dataset {dataset!r} has no collected results; choose from: {known}")
    methods = sorted({row["method"] for row in tests}, key=place_of)
    table = {method: _measured(method, tests) for method in methods}
    for comparison in comparisons.compare(results, dataset):
        if comparison.baseline == BASELINE:
            table[comparison.method] |= _compared(comparison)
    rows = [*table.values(), *_published(dataset)]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in COLUMNS} for row in rows])


def mean_over_users(results: Path | str, dataset: str, method: str, metric: str) -> Estimate | None:
    """A method's metric over its seeds with a 95 % bootstrap interval over users.

    None where no ranks were kept, or the metric was not measured.
    """
    seeds = comparisons.seeds_of(comparisons.rows_of_split(results, dataset), method, metric)
    paths = [ranks_path(results, dataset, method, seed, "test") for seed in sorted(seeds)]
    values = [per_user(load_user_metrics(path), metric) for path in paths if path.exists()]
    return bootstrap_mean(np.mean(values, axis=0), seed=0) if values else None


def datasets(results: Path | str = RESULTS) -> list[str]:
    """The datasets that have collected results."""
    return sorted({row["dataset"] for row in load_rows(results)})


def sources(results: Path | str = RESULTS, dataset: str = "beauty") -> pd.DataFrame:
    """The run and commit of each measured row: method, seed, run, commit."""
    names = ("method", "seed", "run", "commit")
    rows = {tuple(row[n] for n in names) for row in load_rows(results) if row["dataset"] == dataset}
    ordered = sorted(rows, key=lambda row: (place_of(row[0]), row[1]))
    return pd.DataFrame(ordered, columns=list(names))


def cpu_hours(results: Path | str = RESULTS, dataset: str | None = None) -> float:
    """CPU-hours of training and validation, of one dataset or all; mixed scores train nothing."""
    spent = {
        (row["dataset"], row["method"], row["seed"]): row["cpu_hours"]
        for row in load_rows(results)
        if dataset in (None, row["dataset"]) and not mixes_scores(json.loads(row["config"]))
    }
    return float(np.nansum(list(spent.values())))


def place_of(method: str) -> tuple[int, str]:
    """What methods are sorted by."""
    return (ORDER.index(method) if method in ORDER else len(ORDER), method)


def paper_values() -> dict[str, Any]:
    """The published numbers, with their sources."""
    return tomllib.loads((Path(__file__).parents[1] / "paper_values.toml").read_text())


def _measured(method: str, tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [row for row in tests if row["method"] == method]
    costs = {row["seed"]: (row["epochs"], row["cpu_hours"]) for row in rows}
    epochs, hours = (float(np.mean(values)) for values in zip(*costs.values(), strict=True))
    measured: dict[str, Any] = {"method": method, "seeds": len(costs), "source": "measured"}
    measured |= {"epochs": epochs, "cpu_hours": hours}
    for metric in METRICS:
        values = [row["value"] for row in rows if row["metric"] == metric]
        measured[metric] = comparisons.mean_over_seeds(rows, method, metric)
        if len(values) > 1:
            measured[f"deviation {metric}"] = float(np.std(values, ddof=1))
    return measured


def _compared(comparison: Comparison) -> dict[str, float]:
    """The cells of a comparison with TIGER; metrics without a column are left out later."""
    cells: dict[str, float] = {"lift": comparison.lift}
    gap, corrected = comparison.difference, comparison.corrected
    if gap is not None and corrected is not None:
        cells |= {"difference": gap.mean, "low": gap.low, "high": gap.high}
        cells["corrected p"] = corrected
    return {f"{kind} {comparison.metric}": value for kind, value in cells.items()}


def _published(dataset: str) -> list[dict[str, Any]]:
    paper = paper_values()
    about = {source["name"]: source for source in paper["source"]}
    rows = []
    for row in paper["row"]:
        if row["dataset"] == dataset:
            source = about[row["source"]]
            read_in = f"arXiv {source['arxiv']}" if "arxiv" in source else source["citation"]
            rows.append({**row, "method": source["label"], "source": read_in})
    return rows
