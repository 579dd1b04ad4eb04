"""The measured leakage of each dataset as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS

FILE = "leakage.json"
PARTS = {
    "train": "training",
    "last-train": "last training item",
    "valid": "validation",
    "test": "test",
}


def as_markdown(measured: Mapping[str, Any]) -> str:
    """Three tables: the item, the item for one mix of frequent and rare items, and the category,
    each by part.

    Where the items have no category, a sentence says so in the place of a table.

    Example:
        >>> row = {"step": "final", "item": 0.25, "item_alike": None, "category": 0.5}
        >>> errors = {"item_error": 0.01, "item_alike_error": None, "category_error": 0.02}
        >>> lines = as_markdown(
        ...     {"rows": [{**row, **errors, "part": part} for part in PARTS]}
        ... ).splitlines()
        >>> lines[4]
        '| final | .250 ± .010 | .250 ± .010 | .250 ± .010 | .250 ± .010 |'
    """
    steps = list(dict.fromkeys(row["step"] for row in measured["rows"]))
    cells = {(row["step"], row["part"]): row for row in measured["rows"]}
    meanings = {
        "item": "item",
        "item_alike": "item, reweighted to one mix of frequent and rare items",
        "category": "finest category",
    }
    parts = [part for part in PARTS if (steps[0], part) in cells]
    lines = []
    for column, meaning in meanings.items():
        if column == "item_alike" and "train" not in parts:  # every part has a mix of its own there
            continue
        if all(row[column] is None for row in measured["rows"]):
            lines += [f"The items have no {column}, so no step can name the target's.", ""]
            continue
        lines += [
            f"Share of chains whose step names the target's {meaning} (± one standard error):",
            "",
        ]
        lines += [
            "| step | " + " | ".join(PARTS[part] for part in parts) + " |",
            "|---|" + "---:|" * len(parts),
        ]
        lines += [
            f"| {step} | " + " | ".join(_cell(cells[step, part], column) for part in parts) + " |"
            for step in steps
        ]
        lines.append("")
    return "\n".join(lines)


def tables_of(results: Path = RESULTS) -> dict[str, str]:
    """The tables of every dataset measured."""
    return {
        dataset: as_markdown(measured)
        for dataset, measured in json.loads((results / FILE).read_text()).items()
    }


def _cell(row: dict[str, Any], column: str) -> str:
    return " ± ".join(
        "" if value is None else f"{value:.3f}".lstrip("0")
        for value in (row[column], row[f"{column}_error"])
    )
