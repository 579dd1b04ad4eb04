"""Collected results to tables. Every function is pure in the results folder and loads no torch.

Rows are methods in a fixed order, then published rows. Metrics are test-set means over seeds; the difference to TIGER
is paired by user (each user's metric averaged over the seeds that both methods have), with a bootstrap interval over
users, so it says nothing of what another seed's model would do.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.collect import RESULTS, load_rows, ranks_path
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import Difference, Estimate, bootstrap_mean, paired_bootstrap

ORDER = ("popularity", "sasrec-bce", "sasrec-ce", "tiger", "tiger-meanpool", "scoter", "sasrec-ce-scoter")
METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
COMPARED = ("recall@10", "ndcg@10")
BASELINE = "tiger"
COLUMNS = (
    *("method", "seeds", *METRICS, "epochs", "cpu_hours"),
    *(f"{kind} {metric}" for metric in COMPARED for kind in ("lift", "difference", "low", "high")),
    "source",
)
PAPER_VALUES = Path(__file__).parent / "paper_values.toml"


def main_table(results: Path | str = RESULTS, dataset: str = "beauty") -> pd.DataFrame:
    """One row per method, measured then published, with the columns of `COLUMNS`; NaN where nothing is known.

    `seeds` is their number, `epochs` (those that were trained) and `cpu_hours` are one seed's mean. `lift` is the relative
    gain over our own TIGER in percent, at the seeds that both have where there are any; `difference`, `low` and `high` are
    paired, in the metric's unit. A published row has none of these, since its users' ranks are not known; nor has an arm
    of TIGER whose model, training budget or semantic IDs are not those of TIGER itself, since that difference would say
    nothing of the arm.

    Raises:
        DataError: no results, or none of this dataset.
    """
    tests = [row for row in load_rows(results) if row["dataset"] == dataset and row["split"] == "test"]
    if not tests:
        raise DataError(f"dataset {dataset!r} has no collected results; choose from: {', '.join(datasets(results))}")
    methods = sorted({row["method"] for row in tests}, key=_place)
    table = {method: _measured(method, [row for row in tests if row["method"] == method]) for method in methods}
    seeds = {method: {row["seed"] for row in tests if row["method"] == method} for method in methods}
    comparable = [name for name in methods if name != BASELINE and BASELINE in table and equal_budget(tests, name, BASELINE)]
    for method in comparable:
        for metric in COMPARED:
            shared = seeds[method] & seeds[BASELINE]
            ours, theirs = (_mean(tests, name, metric, shared or seeds[name]) for name in (method, BASELINE))
            table[method][f"lift {metric}"] = 100 * (ours / theirs - 1)
            found = _difference(Path(results), dataset, method, sorted(shared), metric)
            if found is not None:
                table[method] |= {f"difference {metric}": found.mean, f"low {metric}": found.low, f"high {metric}": found.high}
    rows = [*table.values(), *_published(dataset)]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in COLUMNS} for row in rows])


def equal_budget(rows: Sequence[Mapping[str, Any]], one: str, other: str) -> bool:
    """Whether two methods may be compared: of different kinds always, of one kind if all but how they use chains is equal."""
    configs = {name: [json.loads(row["config"]) for row in rows if row["method"] == name] for name in (one, other)}
    kinds = {name: {config.get("model", {}).get("kind") for config in found} for name, found in configs.items()}
    if kinds[one] != kinds[other]:
        return True
    own = ("fusion", "chains", "discover", "note")
    budgets = [{**config, **dict.fromkeys(own)} for found in configs.values() for config in found]
    return all(budget == budgets[0] for budget in budgets)


def difference(results: Path | str, dataset: str, method: str, baseline: str, metric: str) -> Difference | None:
    """`method` minus `baseline` at the seeds of both, paired by user; None where they may not or cannot be compared."""
    rows = [row for row in load_rows(results) if row["dataset"] == dataset and row["split"] == "test"]
    seeds = [{row["seed"] for row in rows if row["method"] == name} for name in (method, baseline)]
    shared = sorted(set.intersection(*seeds))
    if not shared or not equal_budget(rows, method, baseline):
        return None
    return _difference(Path(results), dataset, method, shared, metric, baseline)


def mean_over_users(results: Path | str, dataset: str, method: str, metric: str) -> Estimate | None:
    """A method's metric over its seeds with a 95 % bootstrap interval over users; None where no ranks were kept."""
    rows = [row for row in load_rows(results) if (row["dataset"], row["method"]) == (dataset, method)]
    paths = [ranks_path(results, dataset, method, seed, "test") for seed in sorted({row["seed"] for row in rows})]
    values = [per_user(load_user_metrics(path), metric) for path in paths if path.exists()]
    return bootstrap_mean(np.mean(values, axis=0), seed=0) if values else None


def datasets(results: Path | str = RESULTS) -> list[str]:
    """The datasets that have collected results."""
    return sorted({row["dataset"] for row in load_rows(results)})


def sources(results: Path | str = RESULTS, dataset: str = "beauty") -> pd.DataFrame:
    """Which run and commit each measured row comes from: method, seed, run, commit."""
    names = ("method", "seed", "run", "commit")
    found = {tuple(row[name] for name in names) for row in load_rows(results) if row["dataset"] == dataset}
    return pd.DataFrame([dict(zip(names, one, strict=True)) for one in sorted(found, key=lambda one: (_place(one[0]), one[1]))])


def notes(results: Path | str = RESULTS, dataset: str = "beauty") -> list[str]:
    """What must be read beside the table: structure against its collapse, the columns, where published numbers were read."""
    paper = tomllib.loads(PAPER_VALUES.read_text())
    shown = {row["source"] for row in paper["row"] if row["dataset"] == dataset}
    lines = [
        "Test split, leave-one-out, full ranking, seen items not filtered. Differences to our own TIGER are paired by user, "
        "with 95 % bootstrap intervals over users; the relative gain stands in brackets."
    ]
    if structure := _structure(Path(results), dataset):
        lines.insert(0, structure)
    lines += _stored_chains(results, dataset)
    for one in paper["source"]:
        if one["name"] in shown:
            paper_id = f" (arXiv {one['arxiv']})" if "arxiv" in one else ""
            lines += [f"{one['label']}: {one['citation']}{paper_id}, read in {one['read_at']}."]
    lift = paper["lift"]
    if shown:
        lines += [
            f"{lift['label']} reports gains of {lift['low_percent']} % to {lift['high_percent']} % over {lift['baseline']} "
            f"on {lift['datasets']} ({lift['citation']}, arXiv {lift['arxiv']} {lift['versions']}), read in {lift['read_at']}. "
            f"No cell of its tables could be read; this project's four are Beauty, Sports, Toys and Yelp."
        ]
    return lines


def _stored_chains(results: Path | str, dataset: str) -> list[str]:
    """Who wrote the chains of the methods that read them from a folder, with what the run notes."""
    found = {row["method"]: json.loads(row["config"]).get("chains") for row in load_rows(results) if row["dataset"] == dataset}
    return [f"{method}: chains by {chains['model']}; {chains['note']}." for method, chains in sorted(found.items()) if chains]


def _place(method: str) -> tuple[int, str]:
    return (ORDER.index(method) if method in ORDER else len(ORDER), method)


def _measured(method: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = {metric: [row["value"] for row in rows if row["metric"] == metric] for metric in METRICS}
    hours = {row["seed"]: row["cpu_hours"] for row in rows}
    epochs = {row["seed"]: row["epochs"] for row in rows}
    means = {metric: float(np.mean(found)) if found else np.nan for metric, found in values.items()}
    return {
        "method": method,
        "seeds": len(hours),
        "epochs": float(np.mean(list(epochs.values()))),
        "cpu_hours": float(np.mean(list(hours.values()))),
        "source": "measured",
        **means,
    }


def _mean(rows: Sequence[Mapping[str, Any]], method: str, metric: str, seeds: set[int]) -> float:
    found = [row["value"] for row in rows if (row["method"], row["metric"]) == (method, metric) and row["seed"] in seeds]
    return float(np.mean(found)) if found else np.nan


def _structure(results: Path, dataset: str) -> str | None:
    """Ordered steps minus the mean-pooled chain, the comparison that structure is about; None where either is missing."""
    rows = [row for row in load_rows(results) if row["dataset"] == dataset]
    seeds = sorted({row["seed"] for row in rows if row["method"] == "scoter"})
    if not seeds or not equal_budget(rows, "scoter", "tiger-meanpool"):
        return None
    parts = []
    for metric in METRICS:
        found = _difference(results, dataset, "scoter", seeds, metric, baseline="tiger-meanpool")
        if found is None:
            return None
        parts.append(f"{metric} {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]")
    return f"scoter minus tiger-meanpool, paired by user with 95 % intervals: {', '.join(parts)}."


def _difference(
    results: Path, dataset: str, method: str, seeds: Sequence[int], metric: str, baseline: str = BASELINE
) -> Difference | None:
    """Method minus baseline over users, from the seeds that both have ranks of; None where there is no such seed."""
    pairs = [[ranks_path(results, dataset, name, seed, "test") for name in (method, baseline)] for seed in seeds]
    values = []
    for pair in pairs:
        if all(path.exists() for path in pair):
            ours, theirs = (load_user_metrics(path) for path in pair)
            if not np.array_equal(ours.users, theirs.users):
                raise DataError(f"{pair[0]} and {pair[1]} rank different users; collect both methods from one split")
            values.append((per_user(ours, metric), per_user(theirs, metric)))
    if not values:
        return None
    mine, other = np.mean(values, axis=0)
    return paired_bootstrap(mine, other, seed=0)


def _published(dataset: str) -> list[dict[str, Any]]:
    paper = tomllib.loads(PAPER_VALUES.read_text())
    about = {one["name"]: one for one in paper["source"]}
    read = {name: f"arXiv {one['arxiv']}" if "arxiv" in one else one["citation"] for name, one in about.items()}
    return [
        {**row, "method": about[row["source"]]["label"], "source": read[row["source"]]}
        for row in paper["row"]
        if row["dataset"] == dataset
    ]
