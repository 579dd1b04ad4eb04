"""The method in one diagram: how a pattern is found offline, and how its chains are read online."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from paper_figures.style import BLACK, GREY, PAGE, panels, styled

BOXES = {
    "shoppers": (0.0, 2.2, 1.9, "shoppers' histories,\nitem texts", "#f0f0f0"),
    "generate": (2.5, 2.2, 1.9, "Generate\nmany patterns", "#dbe9f6"),
    "validate": (5.0, 2.2, 1.9, "Validate\nrecall, held in", "#dbe9f6"),
    "mine": (7.5, 2.2, 1.9, "Mine\nthe best cluster", "#dbe9f6"),
    "pattern": (10.0, 2.2, 1.9, "pattern:\nK ordered steps", "#cfe0d4"),
    "prefix": (0.0, 0.0, 1.9, "prefix of\none shopper", "#f0f0f0"),
    "backbone": (2.5, 0.0, 1.9, "recommender\n(TIGER, SASRec)", "#fbe3c4"),
    "fusion": (5.0, 0.0, 1.9, "gated reading\nof the steps", "#fbe3c4"),
    "items": (7.5, 0.0, 1.9, "next items", "#f0f0f0"),
    "chain": (10.0, 0.0, 1.9, "chain: one text\nper step, in order", "#cfe0d4"),
}
"""Left edge, bottom edge, width, words, fill. Fills differ in lightness too."""

ARROWS = (
    ("shoppers", "generate"),
    ("generate", "validate"),
    ("validate", "mine"),
    ("mine", "pattern"),
    ("prefix", "backbone"),
    ("backbone", "fusion"),
    ("fusion", "items"),
)
_HEIGHT = 0.95


@styled
def method(results: Path) -> Figure:
    """Boxes and arrows; nothing measured is drawn, so `results` is not read."""
    figure, (axes,) = panels(2.0, width=PAGE)
    axes.set_xlim(-0.1, 12.0)
    axes.set_ylim(-1.25, 4.2)
    axes.axis("off")
    for left, bottom, width, words, fill in BOXES.values():
        box = FancyBboxPatch(
            (left, bottom),
            width,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.12",
            fc=fill,
            ec=BLACK,
            lw=0.7,
        )
        axes.add_patch(box)
        axes.text(
            left + width / 2, bottom + _HEIGHT / 2, words, ha="center", va="center", fontsize=7
        )
    for start, end in ARROWS:
        _arrow(axes, _right(start), _left(end))
    _arrow(
        axes,
        (10.95, 2.2),
        (10.95, _HEIGHT),
        "written offline for each prefix,\nfrom that prefix alone",
    )
    _arrow(axes, (8.45, 2.2 + _HEIGHT), (3.45, 2.2 + _HEIGHT), bend=0.14)
    axes.text(
        5.95,
        4.2,
        "further rounds vary what was mined",
        ha="center",
        va="top",
        fontsize=6.5,
        color=GREY,
    )
    _arrow(axes, (10.95, 0.0), (5.95, 0.0), bend=-0.16)
    axes.text(
        8.45,
        -1.22,
        "embeddings of the steps, order kept",
        ha="center",
        va="bottom",
        fontsize=6.5,
        color=GREY,
    )
    axes.text(-0.05, 1.93, "once, offline", fontsize=6.5, color=GREY, va="top")
    axes.text(-0.05, 1.1, "online: no language model", fontsize=6.5, color=GREY, va="bottom")
    axes.axhline(1.6, color=GREY, linewidth=0.6, linestyle=(0, (4, 3)), xmax=0.66)
    return figure


def _right(name: str) -> tuple[float, float]:
    left, bottom, width, *_ = BOXES[name]
    return left + width, bottom + _HEIGHT / 2


def _left(name: str) -> tuple[float, float]:
    left, bottom, *_ = BOXES[name]
    return left, bottom + _HEIGHT / 2


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    words: str = "",
    bend: float = 0.0,
) -> None:
    shape = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=7,
            lw=0.9,
            color=BLACK,
            connectionstyle=shape,
        )
    )
    if words:
        axes.text(
            start[0] - 0.15,
            (start[1] + end[1]) / 2,
            words,
            ha="right",
            va="center",
            fontsize=6.5,
            color=GREY,
        )
