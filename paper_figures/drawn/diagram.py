"""The method in one diagram: how a pattern is found offline, and how its chains are read online."""

import itertools
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from paper_figures.picture import Picture
from paper_figures.style import BLACK, GREY, PAGE, panels, styled

BOXES = {
    "shoppers": (0.0, 2.2, "shoppers' histories,\nitem texts", "#f0f0f0"),
    "generate": (2.5, 2.2, "Generate\nmany patterns", "#dbe9f6"),
    "validate": (5.0, 2.2, "Validate\nrecall, held in", "#dbe9f6"),
    "mine": (7.5, 2.2, "Mine\nthe best cluster", "#dbe9f6"),
    "pattern": (10.0, 2.2, "pattern:\nK ordered steps", "#cfe0d4"),
    "prefix": (0.0, 0.0, "prefix of\none shopper", "#f0f0f0"),
    "backbone": (2.5, 0.0, "recommender\n(TIGER, SASRec)", "#fbe3c4"),
    "fusion": (5.0, 0.0, "gated reading\nof the steps", "#fbe3c4"),
    "items": (7.5, 0.0, "next items", "#f0f0f0"),
    "chain": (10.0, 0.0, "chain: one text\nper step, in order", "#cfe0d4"),
}
"""Left edge, bottom edge, words, fill. Fills differ in lightness too."""

ROWS = (
    ("shoppers", "generate", "validate", "mine", "pattern"),
    ("prefix", "backbone", "fusion", "items"),
)
_WIDTH, _HEIGHT = 1.9, 0.95
_SMALL = {"fontsize": 6.5, "color": GREY}


@styled
def method(results: Path) -> Picture:
    """Boxes and arrows; nothing measured is drawn, so `results` is not read."""
    picture, (panel,) = panels(2.0, width=PAGE)
    axes = panel.axes
    axes.set_xlim(-0.1, 12.0)
    axes.set_ylim(-1.25, 4.2)
    axes.axis("off")
    for left, bottom, words, fill in BOXES.values():
        rounded = "round,pad=0,rounding_size=0.12"
        look = {"boxstyle": rounded, "fc": fill, "ec": BLACK, "lw": 0.7}
        axes.add_patch(FancyBboxPatch((left, bottom), _WIDTH, _HEIGHT, **look))
        centre = (left + _WIDTH / 2, bottom + _HEIGHT / 2)
        axes.text(*centre, words, ha="center", va="center", fontsize=7)
    for row in ROWS:
        for start, end in itertools.pairwise(row):
            middle = BOXES[start][1] + _HEIGHT / 2
            _arrow(axes, (BOXES[start][0] + _WIDTH, middle), (BOXES[end][0], middle))
    _arrow(axes, (10.95, 2.2), (10.95, _HEIGHT))
    written = "written offline for each prefix,\nfrom that prefix alone"
    axes.text(10.95 - 0.15, (2.2 + _HEIGHT) / 2, written, ha="right", va="center", **_SMALL)
    _arrow(axes, (8.45, 2.2 + _HEIGHT), (3.45, 2.2 + _HEIGHT), bend=0.14)
    further = "further rounds vary what was mined"
    axes.text(5.95, 4.2, further, ha="center", va="top", **_SMALL)
    _arrow(axes, (10.95, 0.0), (5.95, 0.0), bend=-0.16)
    read = "embeddings of the steps, order kept"
    axes.text(8.45, -1.22, read, ha="center", va="bottom", **_SMALL)
    axes.text(-0.05, 1.93, "once, offline", va="top", **_SMALL)
    axes.text(-0.05, 1.1, "online: no language model", va="bottom", **_SMALL)
    axes.axhline(1.6, color=GREY, linewidth=0.6, linestyle=(0, (4, 3)), xmax=0.66)
    return picture


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0
) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 7, "lw": 0.9, "color": BLACK}
    shape = f"arc3,rad={bend}"
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle=shape, **look))
