"""The measured errors of the estimators of information as a Markdown table."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, Table

FILE = "estimators.json"
_LAST = ("worst law (largest n)", "laws", "seeds", "CPU-s")

Rows = list[dict[str, Any]]


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The one page, of all `laws`."""
    return {"laws": page(json.loads((results / FILE).read_text())["rows"])}


def page(rows: Rows) -> Page:
    """One row per estimator: mean |error| at each n, its worst law, and CPU-seconds of a call.

    >>> page([]).markdown().startswith("| estimator | certificate |")
    True
    """
    sizes = sorted({row["n"] for row in rows})
    measured = {
        name: [row for row in rows if row["estimator"] == name and "value" in row]
        for name in sorted({row["estimator"] for row in rows})
    }
    cells = [[name, *_cells(mine, sizes)] for name, mine in measured.items() if mine]
    errors = [f"mean abs error, n = {n:,}" for n in sizes]
    columns = ("estimator", "certificate", *errors, *_LAST)
    broken, bounds = broken_bounds(rows)
    beyond = f"{broken} have a 95 % interval wholly above the truth"
    note = f"Nats. Of {bounds} estimates labelled lower, {beyond}."
    return Page([Table(columns, cells, "ll" + "r" * len(sizes) + "lrrr"), (note,)])


def _cells(mine: Rows, sizes: list[int]) -> list[str]:
    errors = [_mean([abs(row["error"]) for row in mine if row["n"] == n]) for n in sizes]
    last = [row for row in mine if row["n"] == max(row["n"] for row in mine)]
    laws = {row["law"] for row in last}
    by_law = {law: _mean([row["error"] for row in last if row["law"] == law]) for law in laws}
    worst = max(sorted(by_law), key=lambda law: abs(by_law[law]))
    lower = any(row["certificate"] == "lower" for row in mine)
    return [
        "lower" if lower else mine[0]["certificate"],
        *(f"{error:.3f}" for error in errors),
        f"{worst} ({by_law[worst]:+.3f})",
        str(len(by_law)),
        str(len({row["seed"] for row in mine})),
        f"{_mean([row['cpu_seconds'] for row in mine]):.2f}",
    ]


def broken_bounds(rows: Rows) -> tuple[int, int]:
    """The number of lower bounds whose 95 % interval is above the truth, and of all of them."""
    lower = [row for row in rows if row.get("certificate") == "lower"]
    return sum(row["lower_bound_above_truth"] for row in lower), len(lower)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
