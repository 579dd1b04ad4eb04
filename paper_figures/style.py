"""One style for every figure: sizes, fonts, colours, and the names of methods and datasets.

Colours are those of Okabe and Ito (2008), for colour-blind readers; they differ in lightness too,
and where two are close in grey, marks and dashes differ. A figure is drawn at the width at which a
two-column paper prints it.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from paper_figures.picture import Panel, Picture

COLUMN, PAGE = 3.4, 7.0  # inches: the width of one column, and of both
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)
GREY = "#767676"

RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so a picture is the same everywhere
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7),
    "legend.fontsize": 6.8,
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "figure.dpi": 100,
    "svg.hashsalt": "scoter",
}

# Nothing that says when and by what a file was written.
METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}

METHODS: dict[str, tuple[str, str, str]] = {
    "popularity": ("Popularity", GREY, "x"),
    "item-knn": ("Item neighbours", GREY, "1"),
    "ease": ("EASE", GREY, "2"),
    "transition-graph": ("Transition graph", GREY, "3"),
    "reasons-logit": ("Logit of reasons", GREY, "*"),
    "sasrec-bce": ("SASRec, BCE", SKY, "v"),
    "sasrec-ce": ("SASRec, full softmax", ORANGE, "^"),
    "sasrec-ce-scoter": ("SASRec + steps", RED, "P"),
    "gru4rec": ("GRU4Rec", PINK, "<"),
    "gru4rec-scoter": ("GRU4Rec + steps", PINK, ">"),
    "tiger": ("TIGER", BLACK, "o"),
    "tiger-meanpool": ("TIGER + mean-pooled chain", GREEN, "s"),
    "scoter": ("SCoTER (ordered steps)", BLUE, "D"),
    "control-tagged-pool": ("pool, steps tagged by place", GREY, "o"),
    "control-concatenation": ("steps in one slot", GREY, "o"),
    "control-last-step": ("last step alone", GREY, "o"),
    "control-bag": ("bag of steps", GREY, "o"),
    "control-shuffled": ("steps shuffled", GREY, "o"),
    "control-other-user": ("another user's chain", GREY, "o"),
    "control-noise": ("noise for steps", GREY, "o"),
    "control-no-gate": ("no gate", GREY, "o"),
    "control-no-votes": ("no votes", GREY, "o"),
    "control-votes-only": ("votes alone", GREY, "o"),
    "control-every-layer": ("read by every layer", GREY, "o"),
    "control-causal-steps": ("steps read each other first", GREY, "o"),
    "control-infonce": ("steps + InfoNCE", GREY, "o"),
    "control-meanpool-infonce": ("mean pool + InfoNCE", GREY, "o"),
    "control-item-text": ("item texts, no chain", GREY, "o"),
    "control-features": ("statements without words", GREY, "o"),
    "control-hand-written": ("pattern written by hand", GREY, "o"),
    "control-random-pattern": ("random pattern", GREY, "o"),
    "control-single-step": ("best single step", GREY, "o"),
    "control-zero-shot": ("list without reasoning", GREY, "o"),
    "control-mixed-reasons": ("reasons mixed in", GREY, "s"),
    "control-mixed-scores": ("transition counts mixed in", GREY, "o"),
    **{
        f"control-without-step-{step}": (f"without step {step}", GREY, "o") for step in range(1, 15)
    },
}
"""The name, colour and mark of each method. No other place gives a method a name."""

DATASETS: dict[str, str] = {
    "beauty": "Beauty",
    "sports": "Sports",
    "toys": "Toys",
    "yelp": "Yelp",
    "instruments": "Instruments",
    "beauty-1000-users": "Beauty, 1,000 users",
    "simulated-lambda-0": "simulated shop, λ = 0",
    "beauty-quarter": "Beauty, a quarter of the epochs",
    "toys-quarter": "Toys, a quarter of the epochs",
    "sports-quarter": "Sports, a quarter of the epochs",
    "yelp-quarter": "Yelp, a quarter of the epochs",
    "beauty-b": "Beauty, protocol B",
    "sports-b": "Sports, protocol B",
    "toys-b": "Toys, protocol B",
    "simulated-lambda-1": "simulated shop, λ = 1",
}


def method_name(method: str) -> str:
    """A method's name in figures; the model that wrote its stored chains follows.

    >>> method_name("tiger-meanpool"), method_name("scoter@smollm2")
    ('TIGER + mean-pooled chain', 'SCoTER (ordered steps), smollm2')
    """
    name, mark, model = [*re.split("([@+])", method, maxsplit=1), "", ""][:3]
    own = METHODS[name][0] if name in METHODS else name
    return f"{own}{', ' if mark == '@' else ' + '}{model}" if mark else own


def dataset_name(dataset: str) -> str:
    """A dataset's name in figures; an unknown one keeps its own."""
    return DATASETS.get(dataset, dataset)


def style() -> AbstractContextManager[None]:
    """The style as a context, for drawing and saving."""
    return rc_context(RC)


styled = rc_context(RC)  # decorates a function that draws a figure


def panels(
    height: float,
    columns: int = 1,
    *,
    width: float = COLUMN,
    wspace: float | None = None,
    **options: Any,
) -> tuple[Picture, list[Panel]]:
    """An empty picture and its panels in a row; `height` and `width` in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=wspace)
    figure = Figure(figsize=(width, height), layout=layout)
    grid = figure.subplots(1, columns, squeeze=False, **options)
    made = [Panel(axes) for axes in grid.flat]
    return Picture(figure, made), made


def save(
    figure: Figure, folder: Path, name: str, forms: tuple[str, ...] = ("pdf", "png")
) -> list[Path]:
    """Write NAME.pdf and NAME.png into `folder`; equal figures give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {form: folder / f"{name}.{form}" for form in forms}
    with style():
        for form, path in paths.items():
            options: dict[str, Any] = {"metadata": METADATA[form]}
            figure.savefig(path, **options)
    return list(paths.values())
