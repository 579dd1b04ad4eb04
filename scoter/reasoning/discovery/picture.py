"""A picture of a discovery: its patterns (or a language model's chains) on a plane, by cluster and
by recall."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_MARKS = "osD^vP*X<>hd"


def draw(points: Sequence[dict[str, Any]], of: str, path: Path) -> None:
    """Draw `points.json`: the mark and edge of a point say its cluster, its filling its recall.

    Args:
        of: what a point is, for the title: "patterns", "chains of some-model".
        path: where; the ending (svg, png, pdf) says in which form. Equal points give an equal SVG.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "scoter", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        axes = figure.add_subplot()
        highest = max([point["recall"] for point in points] + [1e-9])
        filled = None
        for cluster in sorted({point["cluster"] for point in points}):
            members = [point for point in points if point["cluster"] == cluster]
            name = (
                "no cluster"
                if cluster < 0
                else f"cluster {cluster + 1}{' (chosen)' if cluster == 0 else ''}"
            )
            filled = axes.scatter(
                np.array([point["x"] for point in members]),
                np.array([point["y"] for point in members]),
                c=np.array([point["recall"] for point in members]),
                cmap="viridis",
                vmin=0,
                vmax=highest,
                marker=_MARKS[cluster % len(_MARKS)] if cluster >= 0 else ".",
                edgecolors=[colormaps["tab10"](cluster % 10)] if cluster >= 0 else "grey",
                linewidths=1.4,
                s=46,
                label=f"{name}, {len(members)}",
            )
        axes.set_xlabel("first principal component")
        axes.set_ylabel("second principal component")
        axes.set_title(f"{len(points)} {of}", parse_math=False)
        if filled is not None:
            figure.colorbar(filled, ax=axes, label="recall where it was tried")
            axes.legend(fontsize=8)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata)
