"""A picture of a discovery: its patterns or chains on a plane, by cluster and by score."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from scoter.types import Json

_MARKS = "osD^vP*X<>hd"


def draw(points: Sequence[Mapping[str, Json]], of: str, path: Path) -> None:
    """Draw `points.json`: mark and edge of a point show its cluster, its colour its score.

    `of` says what a point is, for the title. Equal points give an equal SVG.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "scoter", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        axes = figure.add_subplot()
        rows = pd.DataFrame(points, columns=["x", "y", "cluster", "gain"])
        highest, drawn = max([*rows["gain"].tolist(), 1e-9]), None
        for _, members in rows.groupby("cluster"):
            number = int(members["cluster"].iloc[0])
            name = f"cluster {number + 1}{' (chosen)' if number == 0 else ''}"
            drawn = axes.scatter(
                members["x"].to_numpy(),
                members["y"].to_numpy(),
                c=members["gain"].to_numpy(),
                cmap="viridis",
                vmin=0,
                vmax=highest,
                marker=_MARKS[number % len(_MARKS)] if number >= 0 else ".",
                edgecolors=[colormaps["tab10"](number % 10)] if number >= 0 else "grey",
                linewidths=1.4,
                s=46,
                label=f"{name if number >= 0 else 'no cluster'}, {len(members)}",
            )
        axes.set_xlabel("first principal component")
        axes.set_ylabel("second principal component")
        axes.set_title(f"{len(points)} {of}", parse_math=False)
        if drawn is not None:
            figure.colorbar(drawn, ax=axes, label="score where it was tried")
            axes.legend(fontsize=8)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
