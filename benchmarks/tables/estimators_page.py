"""The measured errors of the estimators of information as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, Table

FILE = "estimators.json"
OFF = 0.2  # nats, beyond which an estimate should be flagged
_FLAGGED = ("off by > .2", "of them flagged", "flagged in all")
_COLUMNS = ("estimator", "certificate", "laws", "mean abs error", "worst law", *_FLAGGED, "CPU-s")
_REPEATED = ("estimator", "claims", "law", "n", "draws", "share", "width")

Rows = list[dict[str, Any]]


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The one page, of all `laws`."""
    return {"laws": page(json.loads((results / FILE).read_text()))}


def page(measured: Mapping[str, Any]) -> Page:
    """Errors by estimator at the largest n, then how often intervals and lower bounds hold.

    >>> page({"rows": [], "repeats": []}).markdown().startswith("| estimator | certificate |")
    True
    """
    rows, repeats = measured["rows"], measured["repeats"]
    largest = max((row["n"] for row in rows), default=0)
    known = [row for row in rows if "value" in row and row["n"] == largest]
    names = sorted({row["estimator"] for row in known})
    cells = [[name, *_cells([row for row in known if row["estimator"] == name])] for name in names]
    errors = Table(_COLUMNS, cells, "llr" + "rlrrrr")
    held = Table(_REPEATED, [_repeat(row) for row in repeats], "lllrrrr")
    broken, bounds = broken_bounds(rows)
    beyond = f"{broken} have a lower end of the 95 % interval above the truth"
    notes = (f"Nats, n = {largest:,}. Of {bounds} estimates labelled lower, {beyond}.",)
    return Page([errors, *([held] if repeats else []), notes])


def _cells(mine: Rows) -> list[str]:
    by_law: dict[str, list[float]] = {}
    for row in mine:
        by_law.setdefault(row["law"], []).append(row["error"])
    worst = max(sorted(by_law), key=lambda law: abs(np.mean(by_law[law])))
    off = [row for row in mine if abs(row["error"]) > OFF]
    lower = any(row["certificate"] == "lower" for row in mine)
    return [
        "lower" if lower else mine[0]["certificate"],
        str(len(by_law)),
        f"{np.mean([abs(row['error']) for row in mine]):.3f}",
        f"{worst} ({np.mean(by_law[worst]):+.3f})",
        str(len(off)),
        str(sum(bool(row["flags"]) for row in off)),
        str(sum(bool(row["flags"]) for row in mine)),
        f"{np.mean([row['cpu_seconds'] for row in mine]):.2f}",
    ]


def _repeat(row: dict[str, Any]) -> list[str]:
    lower = row["certificate"] == "lower"
    claims = "lower end above the truth" if lower else "interval holds the truth"
    share = row["lower_end_above"] if lower else row["within"]
    numbers = (f"{row['n']:,}", str(row["draws"]), f"{share:.3f}", f"{row['width']:.3f}")
    return [row["estimator"], claims, row["law"], *numbers]


def broken_bounds(rows: Rows) -> tuple[int, int]:
    """The number of lower bounds whose 95 % interval is above the truth, and of all of them."""
    lower = [row for row in rows if row.get("certificate") == "lower"]
    return sum(row["lower_bound_above_truth"] for row in lower), len(lower)
