"""Reading committed results for a figure; what was not measured yet is an error of its own."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scoter.errors import DataError

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


class NotMeasuredError(DataError):
    """The results hold nothing for this figure; the text says what is absent."""

    def __init__(self, absent: str) -> None:
        super().__init__(f"{absent}: not measured yet")


def read(results: Path, name: str) -> Any:
    """The JSON file `name` of the results."""
    path = Path(results) / name
    if not path.exists():
        raise NotMeasuredError(f"{name} is not among the results")
    return json.loads(path.read_text(encoding="utf-8"))


def grouped(rows: Iterable[Mapping[str, Any]], key: str) -> dict[Any, list[Mapping[str, Any]]]:
    """Rows by the value of a column; values and rows keep their order."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
