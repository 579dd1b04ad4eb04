"""Every control beside SCoTER and TIGER: parameters, test metrics, and differences to both."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.suite.cells import QUARTER
from benchmarks.suite.collect import RESULTS, load_rows
from benchmarks.tables import comparisons
from benchmarks.tables.comparisons import ARM, BASELINE, COLLAPSED, COMPARED
from benchmarks.tables.notes import budgets, on_gpu
from benchmarks.tables.table import Page, Table, interval
from scoter.errors import DataError
from scoter.experiments import ABLATIONS

FILE = "parameters.json"
HOW_TO_READ = (
    "Test split, full ranking, means over the seeds that there are. Differences are paired by "
    "user at the seeds that both arms have, with 95 % bootstrap intervals over users that are not "
    "corrected for their number."
)
FIRST = (BASELINE, COLLAPSED, ARM)
PAIRS = {f"{metric} - {arm}": (metric, arm) for metric in COMPARED for arm in (BASELINE, ARM)}


def controls_table(results: Path | str = RESULTS, dataset: str = "beauty-quarter") -> pd.DataFrame:
    """One row for each arm of TIGER: TIGER, mean pool and SCoTER first, then by NDCG@10.

    Columns: method; added (parameters beyond TIGER's; TIGER's own in its row); recall@10 and
    ndcg@10 (means over seeds, test); and `PAIRS`, each a `Estimate` or None.
    """
    rows = comparisons.rows_of_split(results, dataset)
    configs = {row["method"]: json.loads(row["config"]) for row in rows}
    tigers = {name for name in configs if configs[name].get("model", {}).get("kind") == "tiger"}
    arms = tigers - {*ABLATIONS}
    if absent := {BASELINE, ARM} - arms:
        missing = " and ".join(sorted(absent))
        raise DataError(f"{dataset!r} has no results of {missing}; run its cells first")
    parameters = json.loads((Path(results) / FILE).read_text())
    added = parameters.get(dataset.removesuffix(f"-{QUARTER.name}"), {})
    table = []
    for method in arms:
        row: dict[str, Any] = {"method": method, "added": added.get(method)}
        row |= {metric: comparisons.mean_over_seeds(rows, method, metric) for metric in COMPARED}
        for name, (metric, baseline) in PAIRS.items():
            row[name] = comparisons.difference(results, dataset, method, baseline, metric)
        table.append(row)
    places = {method: place for place, method in enumerate(FIRST)}
    table.sort(
        key=lambda row: (places.get(row["method"], len(FIRST)), -row["ndcg@10"], row["method"])
    )
    return pd.DataFrame(table)


def page(results: Path | str = RESULTS, dataset: str = "beauty-quarter") -> Page:
    """The table, and what must be read beside it."""
    frame = controls_table(results, dataset)
    cells = []
    for row in frame.to_dict("records"):
        added = "" if pd.isna(row["added"]) else f"{int(row['added']):,}"
        values = [f"{row[metric]:.4f}" for metric in COMPARED]
        gaps = [row[name] for name in PAIRS]
        ends = ["" if gap is None else interval(gap) for gap in gaps]
        cells.append([row["method"], added, *values, *ends])
    heads = [name.replace("recall@", "R@").replace("ndcg@", "N@") for name in PAIRS]
    methods = set(frame["method"])
    rows = [row for row in load_rows(results) if row["dataset"] == dataset]
    trained = on_gpu(row for row in rows if row["method"] in methods)
    shared = [note for note in budgets(results, dataset) if note.startswith("All methods")]
    table = Table(["arm", "added", "R@10", "N@10", *heads], cells)
    return Page([table, (HOW_TO_READ + trained, *shared)])


def ablation_pages(results: Path | str = RESULTS) -> dict[str, Page]:
    """TIGER from the paper's recipe to ours: what each change adds to the row before it."""
    dataset, before, cells = f"beauty-{QUARTER.name}", "", []
    rows = comparisons.rows_of_split(results, dataset)
    for method, change in (ABLATIONS | {BASELINE: "methods.*.model.dropout=0.2"}).items():
        means = [comparisons.mean_over_seeds(rows, method, metric) for metric in COMPARED]
        if pd.isna(means[0]):
            continue
        found = [
            comparisons.paired(Path(results), dataset, method, before, metric, [0])
            for metric in COMPARED
        ]
        ends = [interval(both[0]) if both else "" for both in found]
        cells.append([method, change, *(f"{mean:.4f}" for mean in means), *ends])
        before = method
    heads = ["row", "change", "R@10", "N@10", "R@10 - row before", "N@10 - row before"]
    return {"tiger": Page([Table(heads, cells), (HOW_TO_READ,)])}
