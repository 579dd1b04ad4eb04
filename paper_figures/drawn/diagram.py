"""The method in one diagram: how a pattern is found and chains are written offline, and how a
recommender reads them online."""

import itertools
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from paper_figures.picture import Picture
from paper_figures.style import BLACK, GREY, PAGE, panels, styled

DATA, OFFLINE, ONLINE, CHAIN = "#f0f0f0", "#dbe9f6", "#fbe3c4", "#cfe0d4"  # differ in lightness too
ROWS = {
    2.0: (
        ("shoppers' histories,\nitem texts", DATA),
        ("Generate\nmany patterns", OFFLINE),
        ("Validate\nby what steps add", OFFLINE),
        ("Mine\nthe best cluster", OFFLINE),
        ("pattern:\nK ordered steps", CHAIN),
        ("chain: one text\nper step", CHAIN),
    ),
    0.0: (
        ("prefix of\none shopper", DATA),
        ("semantic IDs\n(RQ-VAE codes)", ONLINE),
        ("recommender\n(TIGER, SASRec)", ONLINE),
        ("gate: reads the\nsteps in order", ONLINE),
        ("votes of steps for\nitems they name", ONLINE),
        ("constrained\nbeam: next items", DATA),
    ),
}
"""The boxes of the offline and of the online row by their bottom edge: words and fill."""

EXAMPLE = {
    "1  likely next": "Similar shoppers also want Mario Badescu Drying Lotion - 1 oz. …",
    "3  bought together": "Often bought together with these: Mario Badescu Whitening Mask. …",
    "4  rank 1": "The recommendation, very sure, is NARS Lip Liner Pencil, Jungle Red.",
    "5  rank 2": "The recommendation, sure, is NARS Cream Blush, Lokoum.",
}
"""Steps of one chain: Beauty, pattern of seed 0, a sample of 2,000 users, user 244, 3 items."""

_WIDTH, _HEIGHT, _APART = 1.72, 0.95, 2.05
_SMALL = {"fontsize": 7, "color": GREY}


@styled
def method(results: Path) -> Picture:
    """Boxes, arrows and one real chain; nothing measured is drawn, so `results` is not read."""
    picture, (panel,) = panels(2.55, width=PAGE)
    axes = panel.axes
    axes.set_xlim(-0.05, 12.05)
    axes.set_ylim(-3.2, 3.75)
    axes.axis("off")
    for bottom, boxes in ROWS.items():
        for place, (words, fill) in enumerate(boxes):
            rounded = "round,pad=0,rounding_size=0.12"
            look = {"boxstyle": rounded, "fc": fill, "ec": BLACK, "lw": 0.7}
            axes.add_patch(FancyBboxPatch((_APART * place, bottom), _WIDTH, _HEIGHT, **look))
            centre = (_APART * place + _WIDTH / 2, bottom + _HEIGHT / 2)
            axes.text(*centre, words, ha="center", va="center", fontsize=7)
        for left, right in itertools.pairwise(range(len(boxes))):
            middle = bottom + _HEIGHT / 2
            _arrow(axes, (_APART * left + _WIDTH, middle), (_APART * right, middle))
    _arrow(axes, (_middle(3), 2.0 + _HEIGHT), (_middle(1), 2.0 + _HEIGHT), bend=0.12)
    axes.text(
        _middle(2), 3.72, "further rounds vary what was mined", ha="center", va="top", **_SMALL
    )
    for place in (3, 4):
        _arrow(axes, (_middle(5) - 0.2, 2.0), (_middle(place), _HEIGHT))
    axes.text(12.0, 1.45, "embeddings,\norder kept", ha="right", va="center", **_SMALL)
    axes.axhline(1.48, color=GREY, linewidth=0.6, linestyle=(0, (4, 3)), xmax=0.55)
    axes.text(0, 1.56, "offline, once; chains for each prefix from that prefix alone", **_SMALL)
    axes.text(0, 1.4, "online: no language model", va="top", **_SMALL)
    axes.text(
        0, -0.42, "Four steps of a chain of Beauty, after three purchases:", va="top", **_SMALL
    )
    for place, (step, words) in enumerate(EXAMPLE.items()):
        height = -1.0 - 0.56 * place
        axes.text(0.1, height, step, va="top", fontsize=7)
        axes.text(_APART + 0.1, height, words, va="top", fontsize=7, style="italic")
    return picture


def _middle(place: int) -> float:
    return _APART * place + _WIDTH / 2


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0
) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 7, "lw": 0.9, "color": BLACK}
    shape = f"arc3,rad={bend}"
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle=shape, **look))
