"""The page of how every stage's time and memory grow, from `results/stages.json`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.tables.table import Page, Table

FILE = "stages.json"
Rows = Sequence[Mapping[str, Any]]  # one for each stage and size, as JSON holds it


def read(results: Path) -> Rows:
    return json.loads((results / FILE).read_text(encoding="utf-8"))


def exponents(rows: Rows, value: str) -> dict[str, tuple[float, float, float]]:
    """Of each stage, b in value ~ size ** b by least squares on logarithms: low, b, high (95 %).

    >>> rows = [{"stage": "a", "size": n, "s": 2.0 * n**2} for n in (1, 4, 16)]
    >>> {stage: [round(end, 6) for end in ends] for stage, ends in exponents(rows, "s").items()}
    {'a': [2.0, 2.0, 2.0]}
    """
    found = {}
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        sizes, values = (np.log([row[name] for row in own]) for name in ("size", value))
        (slope, _), covariance = np.polyfit(sizes, values, 1, cov=True)
        half = stats.t.ppf(0.975, len(own) - 2) * covariance[0, 0] ** 0.5
        slope, half = float(slope), float(half)
        found[stage] = (slope - half, slope, slope + half)
    return found


def page(rows: Rows) -> Page:
    """One row a stage: CPU-seconds at each size, the peak at the largest, and both exponents."""
    sizes = sorted({row["size"] for row in rows})
    cells = []
    seconds, memory = (exponents(rows, name) for name in ("cpu_seconds", "peak_mib"))
    for stage in seconds:
        own = {row["size"]: row for row in rows if row["stage"] == stage}
        times = [f"{own[size]['cpu_seconds']:.3g}" for size in sizes]
        peak = f"{own[sizes[-1]]['peak_mib']:,.0f}"
        cells.append([stage, *times, _interval(seconds[stage]), peak, _interval(memory[stage])])
    largest = next(row for row in rows if row["size"] == sizes[-1])
    about = "{users:,} users, {items:,} items, {interactions:,} interactions".format(**largest)
    commits = ", ".join(dict.fromkeys(row["commit"] for row in rows))
    heads = [*(f"x{size}, s" for size in sizes), "exponent", f"x{sizes[-1]}, MiB", "exponent"]
    note = f"CPU-seconds of one thread, once each; x{sizes[-1]} has {about}. Code of {commits}."
    return Page([Table(["stage", *heads], cells), note])


def _interval(ends: tuple[float, float, float]) -> str:
    low, middle, high = ends
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"
