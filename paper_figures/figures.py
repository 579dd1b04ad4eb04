"""Every figure by name: what draws it, from which results, and its caption.

A figure is `Results folder -> Figure`. Those whose results file is absent are listed as not
measured yet; nothing is drawn for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from paper_figures.drawn import comparisons, diagram, efficiency, reasoning, theory_figures
from paper_figures.measured import RESULTS

Draw = Callable[[Path], Figure]


@dataclass(frozen=True)
class Entry:
    """A figure: `draw` makes it; `sources` are files of the results, or code."""

    draw: Draw
    sources: tuple[str, ...]
    caption: str


FIGURES: dict[str, Entry] = {
    "method": Entry(
        diagram.method,
        ("paper_figures/drawn/diagram.py",),
        "The method: patterns are mined offline, steps are read online.",
    ),
    "lift": Entry(
        comparisons.lift, ("main.parquet", "ranks"), "Lift over TIGER in Recall@10, paired by user."
    ),
    "shops": Entry(
        comparisons.shops,
        ("main.parquet", "ranks"),
        "The simulated shop, where the best possible recall is known.",
    ),
    "controls": Entry(
        comparisons.controls, ("main.parquet", "ranks"), "SCoTER minus each control of structure."
    ),
    "attention": Entry(reasoning.attention, ("attention.json",), "Gate and attention by step."),
    "clusters": Entry(
        reasoning.clusters,
        ("clusters.json",),
        "Patterns by cluster and recall, and what further rounds bring.",
    ),
    "discovery": Entry(
        reasoning.discovery,
        ("discovery.json",),
        "The mined pattern against other ways to a pattern.",
    ),
    "staleness": Entry(reasoning.staleness, ("staleness.json",), "Recall by the age of a chain."),
    "bounds": Entry(
        theory_figures.bounds,
        ("theory/exact", "theory/bounds"),
        "Recall between floor and ceiling, solvable models.",
    ),
    "order": Entry(
        theory_figures.order,
        ("theory/exact",),
        "What order is worth in recall, against its information.",
    ),
    "crossover": Entry(
        theory_figures.crossover,
        ("theory/exact", "theory/bounds"),
        "Structured against pooled by training rows.",
    ),
    "speed": Entry(efficiency.speed, ("speed.json",), "Speed beside Hugging Face's T5."),
    "growth": Entry(
        efficiency.growth, ("growth.json",), "Growth with catalogue, history and users."
    ),
    "beams": Entry(
        efficiency.beams,
        ("exact.json",),
        "The beam of the trained TIGER against its exact top ten.",
    ),
    "prefixes": Entry(
        reasoning.prefixes,
        ("information.json",),
        "Usable information in real chains: by step, and over each form.",
    ),
    "estimators": Entry(
        theory_figures.estimators,
        ("estimators.json",),
        "Errors of the estimators where the truth is known.",
    ),
    "latency": Entry(efficiency.latency, ("latency.json",), "Latency of serving."),
}


def draw(name: str, results: Path = RESULTS) -> Figure:
    """The figure of that name.

    Raises:
        NotMeasuredError: its results are absent.

    Example:
        >>> draw("method").axes[0].texts[0].get_text().replace(chr(10), " ")
        "shoppers' histories, item texts"
    """
    return FIGURES[name].draw(Path(results))
