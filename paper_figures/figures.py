"""Every figure by name: what draws it, from which results, and its caption.

A figure is `results folder -> Picture`. One whose results file is absent is not measured yet, and
nothing is drawn for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paper_figures.drawn.comparisons import controls, lift, shops
from paper_figures.drawn.diagram import method
from paper_figures.drawn.efficiency import beams, growth, latency, speed
from paper_figures.drawn.reasoning import attention, clusters, discovery, prefixes, staleness
from paper_figures.drawn.theory_figures import bounds, crossover, estimators, order
from paper_figures.measured import RESULTS
from paper_figures.picture import Picture


@dataclass(frozen=True)
class Entry:
    """How a figure comes about."""

    draw: Callable[[Path], Picture]
    sources: tuple[str, ...]  # files of the results, or code
    caption: str


_RANKS = ("main.parquet", "ranks")
_THEORY = ("theory/exact", "theory/bounds")
_ONLINE = "The method: patterns are mined offline, steps are read online."
_SHOPS = "The simulated shop, where the best possible recall is known."
_CLUSTERS = "Patterns by cluster and recall, and what further rounds bring."
_RIVALS = "The mined pattern against other ways to a pattern."
_BOUNDS = "Recall between floor and ceiling, solvable models."
_ORDER = "What order is worth in recall, against its information."
_CROSSOVER = "Structured against pooled by training rows."
_GROWTH = "Growth with catalogue, history and users."
_BEAMS = "The beam of the trained TIGER against its exact top ten."
_PREFIXES = "Usable information in real chains: by step, and over each form."
_ERRORS = "Errors of the estimators where the truth is known."

FIGURES: dict[str, Entry] = {
    "method": Entry(method, ("paper_figures/drawn/diagram.py",), _ONLINE),
    "lift": Entry(lift, _RANKS, "Lift over TIGER in Recall@10, paired by user."),
    "shops": Entry(shops, _RANKS, _SHOPS),
    "controls": Entry(controls, _RANKS, "SCoTER minus each control of structure."),
    "attention": Entry(attention, ("attention.json",), "Gate and attention by step."),
    "clusters": Entry(clusters, ("clusters.json",), _CLUSTERS),
    "discovery": Entry(discovery, ("discovery.json",), _RIVALS),
    "staleness": Entry(staleness, ("staleness.json",), "Recall by the age of a chain."),
    "bounds": Entry(bounds, _THEORY, _BOUNDS),
    "order": Entry(order, ("theory/exact",), _ORDER),
    "crossover": Entry(crossover, _THEORY, _CROSSOVER),
    "speed": Entry(speed, ("speed.json",), "Speed beside Hugging Face's T5."),
    "growth": Entry(growth, ("growth.json",), _GROWTH),
    "beams": Entry(beams, ("exact.json",), _BEAMS),
    "prefixes": Entry(prefixes, ("information.json",), _PREFIXES),
    "estimators": Entry(estimators, ("estimators.json",), _ERRORS),
    "latency": Entry(latency, ("latency.json",), "Latency of serving."),
}


def draw(name: str, results: Path = RESULTS) -> Picture:
    """The figure of that name, with its data.

    Raises:
        NotMeasuredError: its results are absent.

    Example:
        >>> draw("method").figure.axes[0].texts[0].get_text().replace(chr(10), " ")
        "shoppers' histories, item texts"
    """
    return FIGURES[name].draw(Path(results))
