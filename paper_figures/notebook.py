"""What a notebook of the paper uses: its one switch, figures with their numbers, and a store."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.style import save
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


def show(name: str, results: Path = RESULTS) -> Any:
    """Print a figure's caption and numbers, and return its picture; None if not measured."""
    from IPython.display import Image

    try:
        picture = draw(name, results)
    except NotMeasuredError as reason:
        print(reason)
        return None
    print("\n".join(filter(None, (FIGURES[name].caption, picture.numbers()))))
    with tempfile.TemporaryDirectory() as folder:
        (path,) = save(picture.figure, Path(folder), name, ("png",))
        width = int(110 * picture.figure.get_figwidth())
        return Image(data=path.read_bytes(), width=width, alt=FIGURES[name].caption)


def table(
    rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None, digits: int = 4
) -> None:
    """Print rows as a plain table, numbers with so many digits after the point.

    >>> table([{"items": 3, "recall": 0.51239, "gain": -0.0}])  # doctest: +NORMALIZE_WHITESPACE
    items recall   gain
        3 0.5124 0.0000
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(columns) if columns else None)
    form = f"{{:.{digits}f}}".format
    print(frame.to_string(index=False, float_format=lambda v: form(v + 0.0), na_rep=""))


def scratch_store() -> Any:
    """A store of artefacts in a folder that ends with the process."""
    from scoter.storage.store import Store

    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="scoter-notebook-"))
    return Store(Path(_FOLDERS[-1].name))


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
