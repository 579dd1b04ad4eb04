"""The measured leakage of each dataset as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, Table

FILE = "leakage.json"
PARTS = {"train": "training", "last-train": "last training item", "valid": "validation"}
PARTS |= {"test": "test"}
_MEANINGS = {
    "item": "item",
    "item_alike": "item, reweighted to one mix of frequent and rare items",
    "category": "finest category",
}


def page(measured: Mapping[str, Any]) -> Page:
    """Three tables by part of the split: item, item reweighted to one mix, and category.

    Where the items have no category, a sentence says so in place of a table.
    """
    steps = list(dict.fromkeys(row["step"] for row in measured["rows"]))
    rows = {(row["step"], row["part"]): row for row in measured["rows"]}
    parts = [part for part in PARTS if (steps[0], part) in rows]
    shown: list[Table | str] = []
    for column, meaning in _MEANINGS.items():
        if column == "item_alike" and "train" not in parts:  # every part has its own mix there
            continue
        if all(row[column] is None for row in measured["rows"]):
            shown.append(f"The items have no {column}, so no step can name the target's.")
            continue
        cells = [[step, *(_cell(rows[step, part], column) for part in parts)] for step in steps]
        shown += [
            f"Share of chains whose step names the target's {meaning} (± one standard error):",
            Table(["step", *(PARTS[part] for part in parts)], cells),
        ]
    return Page(shown)


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The tables of every dataset measured."""
    measured = json.loads((results / FILE).read_text())
    return {dataset: page(rows) for dataset, rows in measured.items()}


def _cell(row: Mapping[str, Any], column: str) -> str:
    values = (row[column], row[f"{column}_error"])
    return " ± ".join("" if value is None else f"{value:.3f}".lstrip("0") for value in values)
