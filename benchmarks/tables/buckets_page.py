"""Groups of users, and ages of chains, as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, Table, interval

FILE = "buckets.json"
_GROUPS = ("group", "users", "metric", "tiger", "arm", "difference")
_AGES = ("chain", "users", "metric", "value", "minus a fresh chain")
_AGES_SPOKEN = {"0": "fresh", "1": "1 purchase old", "without": "missing"}
_AGES_SPOKEN |= {"tiger": "none: TIGER itself"}


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The tables of every dataset measured, all its labels together."""
    labels: dict[str, dict[str, Any]] = {}
    for label, measured in json.loads((results / FILE).read_text()).items():
        labels.setdefault(measured["dataset"], {})[label] = measured
    return {dataset: page(measured) for dataset, measured in labels.items()}


def page(labels: Mapping[str, Mapping[str, Any]]) -> Page:
    """Two tables for each label: groups of test users, and ages of chains."""
    parts: list[Table | str] = []
    for label, measured in labels.items():
        valid = " and ".join(f"{metric} {value:.4f}" for metric, value in measured["valid"].items())
        dataset = measured["dataset"]
        parts += [
            f"## {label}",
            f"{dataset[0].upper()}{dataset[1:]}, seed {measured['seed']}, measured at commit "
            f"`{measured['commit'][:12]}`; on validation, {valid}.",
            _groups(measured),
            _ages(measured),
        ]
    return Page(parts)


def _groups(measured: Mapping[str, Any]) -> Table:
    rows = []
    for row in measured["groups"]:
        where = "all" if row["kind"] == "all" else f"{row['kind']}: {row['group']}"
        means = [f"{row[method]:.4f}" for method in ("tiger", measured["arm"])]
        rows.append([where, f"{row['users']:,}", row["metric"], *means, interval(row)])
    return Table(_GROUPS, rows, "lrlrrr")


def _ages(measured: Mapping[str, Any]) -> Table:
    rows = []
    for row in measured["ages"]:
        differs = "" if row["age"] == "0" else interval(row)
        value = f"{row['value']:.4f}"
        age = _AGES_SPOKEN.get(row["age"], f"{row['age']} purchases old")
        rows.append([age, f"{row['users']:,}", row["metric"], value, differs])
    return Table(_AGES, rows, "lrlrr")
