"""Every figure by name: what draws it, from which results, and its caption.

A figure is `results folder -> Picture`. One whose results file is absent is not measured yet, and
nothing is drawn for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paper_figures.drawn.comparisons import controls, lift, shops
from paper_figures.drawn.diagram import method
from paper_figures.drawn.efficiency import beams, growth, latency, speed, stages
from paper_figures.drawn.reasoning import attention, clusters, discovery, prefixes, staleness
from paper_figures.drawn.theory_figures import (
    bounds,
    certificate,
    crossover,
    estimators,
    models,
    order,
)
from paper_figures.measured import RESULTS
from paper_figures.picture import Picture


@dataclass(frozen=True)
class Entry:
    """How a figure comes about."""

    draw: Callable[[Path], Picture]  # its name is the figure's
    sources: str  # files of the results, or code
    caption: str


_RANKS = "main.parquet, ranks"
_THEORY = "theory/exact, theory/bounds"
_DIAGRAM = "paper_figures/drawn/diagram.py"
_CLUSTERS = "What one discovery on Beauty tried, by cluster and NDCG@10."
_INFORMATION = "Usable information in real chains: by step, and over each form."

_ENTRIES = (
    Entry(method, _DIAGRAM, "The method: patterns are mined offline, steps are read online."),
    Entry(lift, _RANKS, "NDCG@10 over TIGER, paired by user, 95 % intervals."),
    Entry(shops, _RANKS, "The simulated shop, where the best possible recall is known."),
    Entry(controls, _RANKS, "SCoTER minus each control of structure."),
    Entry(attention, "attention.json", "Gate and attention by step."),
    Entry(clusters, "patterns/beauty-s0.json", _CLUSTERS),
    Entry(
        discovery,
        "discovery.json, patterns/beauty-s0.json",
        "The mined pattern against other ways to a pattern.",
    ),
    Entry(staleness, "staleness.json", "Recall by the age of a chain."),
    Entry(bounds, _THEORY, "Recall between floor and ceiling, solvable models."),
    Entry(order, "theory/exact", "What order is worth in recall, against its information."),
    Entry(models, "theory/exact", "What the order of steps is worth in three solvable models."),
    Entry(certificate, "certificate.json", "What a finished run certifies, lift and ceiling."),
    Entry(crossover, _THEORY, "Structured against pooled by training rows."),
    Entry(speed, "speed.json", "Speed beside Hugging Face's T5."),
    Entry(growth, "growth.json", "Growth with catalogue and history."),
    Entry(stages, "stages.json", "Time and memory of each stage by the size of a simulated shop."),
    Entry(beams, "exact.json", "The beam of the trained TIGER against its exact top ten."),
    Entry(prefixes, "information.json", _INFORMATION),
    Entry(estimators, "estimators.json", "Errors of the estimators where the truth is known."),
    Entry(latency, "latency.json", "Latency of serving."),
)
FIGURES = {entry.draw.__name__: entry for entry in _ENTRIES}


def draw(name: str, results: Path = RESULTS) -> Picture:
    """The figure of that name, with its data; a `NotMeasuredError` where results are absent."""
    return FIGURES[name].draw(Path(results))
