"""Every control beside SCoTER and TIGER in one table: parameters, test metrics, and differences to
both with intervals.

`docs/controls.md` shows it between `<!-- controls:beauty-quarter -->` and `<!-- /controls -->`, and
says above how to read it.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.suite.cells import QUARTER
from benchmarks.suite.collect import RESULTS, load_rows
from benchmarks.tables.comparisons import ARM, BASELINE, COLLAPSED, COMPARED, difference
from benchmarks.tables.tables import budgets, on_gpu
from scoter.errors import DataError
from scoter.evaluation.significance import Difference

FILE = "parameters.json"
HOW_TO_READ = (
    "Test split, full ranking, means over the seeds that there are. Differences are paired by "
    "user at the seeds that both arms "
    "have, with 95 % bootstrap intervals over users that are not corrected for their number."
)


def controls_table(results: Path | str = RESULTS, dataset: str = "beauty-quarter") -> pd.DataFrame:
    """One row for each arm of TIGER in the results of `dataset`, TIGER, mean pool and SCoTER first,
    then by NDCG@10.

    Columns: method, added (parameters beyond TIGER's; TIGER's own in its row), recall@10 and
    ndcg@10 (means over seeds, test), and for each of both `METRIC - tiger` and `METRIC - scoter`, a
    `Difference` paired by user with its 95 % interval, or None.

    Raises:
        DataError: there is no TIGER or no SCoTER of that dataset.
    """
    rows = [
        row for row in load_rows(results) if row["dataset"] == dataset and row["split"] == "test"
    ]
    arms = {
        row["method"]
        for row in rows
        if json.loads(row["config"]).get("model", {}).get("kind") == "tiger"
    }
    if absent := {BASELINE, ARM} - arms:
        raise DataError(
            f"{dataset!r} has no results of {' and '.join(sorted(absent))}; run its cells first"
        )
    added = json.loads((Path(results) / FILE).read_text()).get(
        dataset.removesuffix(f"-{QUARTER.name}"), {}
    )
    found = []
    for method in arms:
        values = {
            metric: float(
                np.mean(
                    [
                        row["value"]
                        for row in rows
                        if (row["method"], row["metric"]) == (method, metric)
                    ]
                )
            )
            for metric in COMPARED
        }
        minus = {
            f"{metric} - {other}": None
            if method == other
            else difference(results, dataset, method, other, metric)
            for metric in COMPARED
            for other in (BASELINE, ARM)
        }
        found.append({"method": method, "added": added.get(method), **values, **minus})
    first = (BASELINE, COLLAPSED, ARM)
    found.sort(
        key=lambda row: (
            first.index(row["method"]) if row["method"] in first else len(first),
            -row["ndcg@10"],
            row["method"],
        )
    )
    return pd.DataFrame(found)


def as_markdown(results: Path | str = RESULTS, dataset: str = "beauty-quarter") -> str:
    """The table, and what must be read beside it."""
    table = controls_table(results, dataset)
    pairs = [f"{metric} - {other}" for metric in COMPARED for other in (BASELINE, ARM)]
    heads = [
        "arm",
        "added",
        "R@10",
        "N@10",
        *(pair.replace("recall@", "R@").replace("ndcg@", "N@") for pair in pairs),
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in table.to_dict("records"):
        added = "" if pd.isna(row["added"]) else f"{int(row['added']):,}"
        values = [f"{row[metric]:.4f}" for metric in COMPARED]
        lines.append(
            "| "
            + " | ".join([row["method"], added, *values, *(_interval(row[pair]) for pair in pairs)])
            + " |"
        )
    shown = [
        row
        for row in load_rows(results)
        if row["dataset"] == dataset and row["method"] in set(table["method"])
    ]
    told = [
        HOW_TO_READ + on_gpu(shown),
        *(note for note in budgets(results, dataset) if note.startswith("All methods")),
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in told)]) + "\n"


def _interval(found: Difference | None) -> str:
    return (
        ""
        if found is None
        else f"{float(found.mean):+.4f} [{float(found.low):+.4f}, {float(found.high):+.4f}]"
    )
