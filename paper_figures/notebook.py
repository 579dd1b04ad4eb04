"""What a notebook uses beside the data: its one switch, its look, and a folder for artefacts."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from paper_figures.style import RC
from scoter.errors import ConfigError

SIZES = ("results", "smoke", "laptop", "paper")
VARIABLE = "SCOTER_NOTEBOOKS"


def chosen_size(size: str) -> str:
    """`size`, or what the environment variable SCOTER_NOTEBOOKS has instead; print its meaning."""
    size = os.environ.get(VARIABLE, size)
    if size not in SIZES:
        raise ConfigError(f"size = {size!r} ({VARIABLE}); choose one of {', '.join(SIZES)}")
    print("from committed results" if size == "results" else f"computed again, at {size} size")
    return size


def set_look() -> None:
    """Figures as in the paper, at the width of a notebook; tables with four digits."""
    import matplotlib.pyplot as plt

    wide: dict[Any, Any] = {
        "figure.figsize": (7, 2.8),
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
    }
    plt.switch_backend(plt.get_backend())  # from here on a cell may end in a Figure
    plt.rcParams.update({**RC, **wide})
    pd.set_option("display.width", 96, "display.max_rows", 200)
    pd.set_option("display.float_format", lambda value: f"{round(value, 4) + 0.0:.4f}")


def whiskers(rows: pd.DataFrame) -> list[Any]:
    """How far intervals reach from the columns `mean` to `low` and `high`: matplotlib's `xerr`.

    >>> rows = pd.DataFrame({"low": [1.0], "mean": [2.0], "high": [4.0]})
    >>> [ends.tolist() for ends in whiskers(rows)]
    [[1.0], [2.0]]
    """
    return [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]


def scratch_store() -> Path:
    """A folder for artefacts that ends with the process."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="scoter-notebook-"))
    return Path(_FOLDERS[-1].name)


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
