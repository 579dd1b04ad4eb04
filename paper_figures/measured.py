"""Reading committed results for a figure; what was not measured yet is an error of its own, never
an empty picture."""

import json
from pathlib import Path
from typing import Any

from scoter.errors import DataError

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


class NotMeasuredError(DataError):
    """The results hold nothing for this figure."""


def read(results: Path, name: str) -> Any:
    """The JSON file `name` of the results.

    >>> read(RESULTS, "nothing.json")
    Traceback (most recent call last):
        ...
    paper_figures.measured.NotMeasuredError: nothing.json is not among the results: not measured yet
    """
    path = Path(results) / name
    if not path.exists():
        raise NotMeasuredError(f"{name} is not among the results: not measured yet")
    return json.loads(path.read_text(encoding="utf-8"))


def whiskers(low: Any, mean: Any, high: Any) -> Any:
    """Error bars' two lengths from the ends of intervals.

    >>> whiskers([1.0], [2.0], [4.0]).tolist()
    [[1.0], [2.0]]
    """
    import numpy as np

    low, mean, high = (np.asarray(value, float) for value in (low, mean, high))
    return np.stack([mean - low, high - mean])
