"""The measured errors of the estimators of information as a Markdown table."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS

FILE = "estimators.json"


def tables_of(results: Path = RESULTS) -> dict[str, str]:
    """The one table, of all `laws`."""
    return {"laws": as_table(json.loads((results / FILE).read_text())["rows"])}


def as_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line per estimator, with mean |error| by kind of law at each n, the worst law,
    and CPU-seconds a call.

    >>> as_table([]).splitlines()[0].startswith("| estimator |")
    True
    """
    sizes = sorted({row["n"] for row in rows})
    heads = ["estimator", "certificate", *(f"mean abs error, n = {n:,}" for n in sizes)]
    heads += ["worst law (largest n)", "laws", "seeds", "CPU-s"]
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---|---|" + "---:|" * len(sizes) + "---|---:|---:|---:|",
    ]
    for name in sorted({row["estimator"] for row in rows}):
        mine = [row for row in rows if row["estimator"] == name and "value" in row]
        if not mine:
            continue
        errors = [_mean([abs(row["error"]) for row in mine if row["n"] == n]) for n in sizes]
        last = [row for row in mine if row["n"] == max(row["n"] for row in mine)]
        by_law = {
            law: _mean([row["error"] for row in last if row["law"] == law])
            for law in {row["law"] for row in last}
        }
        worst = max(sorted(by_law), key=lambda law: abs(by_law[law]))
        certificate = (
            "lower"
            if any(row["certificate"] == "lower" for row in mine)
            else mine[0]["certificate"]
        )
        cells_of = [
            name,
            certificate,
            *(f"{error:.3f}" for error in errors),
            f"{worst} ({by_law[worst]:+.3f})",
        ]
        cells_of += [
            str(len(by_law)),
            str(len({row["seed"] for row in mine})),
            f"{_mean([row['cpu_seconds'] for row in mine]):.2f}",
        ]
        lines.append("| " + " | ".join(cells_of) + " |")
    broken, bounds = broken_bounds(rows)
    lines += [
        "",
        f"- Nats. Of {bounds} estimates labelled lower, {broken} have a 95 % interval wholly "
        f"above the truth.",
    ]
    return "\n".join(lines) + "\n"


def broken_bounds(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """How many estimates that are labelled "lower" have their 95 % interval above the truth, and
    how many there are."""
    lower = [row for row in rows if row.get("certificate") == "lower"]
    return sum(row["lower_bound_above_truth"] for row in lower), len(lower)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
