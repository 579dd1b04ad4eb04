"""Every figure by name: what draws it, from which results, and what it shows.

A figure is `results folder -> Picture`. One whose results file is absent is not measured yet, and
nothing is drawn for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paper_figures.drawn.comparisons import arms, controls, lift, shops
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
    title: str  # what is drawn
    finding: str  # what it shows

    @property
    def caption(self) -> str:
        return f"{self.title} {self.finding}"


_RANKS = "main.parquet, ranks"
_THEORY = "theory/exact, theory/bounds"
_MINED = "patterns/beauty-s0.json"

_ENTRIES = (
    Entry(
        method,
        "paper_figures/drawn/diagram.py",
        "The method.",
        "A pattern is mined and chains are written offline. Online only their steps are read, and "
        "a step that names an item votes for it.",
    ),
    Entry(
        lift,
        _RANKS,
        "NDCG@10 over TIGER, paired by user, 95 % intervals.",
        "SCoTER is above TIGER on all four datasets, and above the mean-pooled chain on Beauty, "
        "Toys and Sports. A logit of the reasons that its steps state, no neural network in it, is "
        "below it on Beauty and Sports, and level with it on Toys and Yelp.",
    ),
    Entry(
        shops,
        _RANKS,
        "The simulated shop, where the best possible recall is known.",
        "Where order matters (left), ordered steps pass what any reader without order can reach. "
        "Where it does not (right), the pooled chain is level with them.",
    ),
    Entry(
        controls,
        _RANKS,
        "SCoTER minus ten controls of structure, a quarter of the epochs.",
        "A chain of another user or of noise is worth nothing. Pooling or shuffling the steps and "
        "taking away their votes cost most of the gain; the gate costs and brings little.",
    ),
    Entry(
        arms,
        _RANKS,
        "SCoTER minus every control.",
        "Of the single steps, only the one that names the likeliest item is missed much when it is "
        "hidden.",
    ),
    Entry(
        attention,
        "attention.json",
        "Gate and attention by step, mean over test users.",
        "On Beauty, with the pattern written by hand, the two latest purchases are attended to "
        "most and each ranked item about equally little; seeds agree.",
    ),
    Entry(
        clusters,
        _MINED,
        "What one discovery on Beauty tried, by cluster and NDCG@50.",
        "Patterns that are alike score alike, and the mined cluster holds the best of them.",
    ),
    Entry(
        discovery,
        f"discovery.json, {_MINED}",
        "The mined pattern minus other ways to a pattern, at fresh users.",
        "On the simulated shop and on Beauty, mining is above patterns written by hand, drawn at "
        "random, of one step, and of a list alone. Its gain over the best pattern that was "
        "generated is not told from zero on Beauty.",
    ),
    Entry(
        staleness,
        "staleness.json",
        "Targets among the ten items that a chain names, by the age of the chain.",
        "Two purchases later a chain names about half as many, ten purchases later hardly any.",
    ),
    Entry(
        bounds,
        _THEORY,
        "Best Recall@3 of solvable models between floor and ceiling.",
        "Every model lies between the two bounds that its conditional entropy gives.",
    ),
    Entry(
        order,
        "theory/exact",
        "What the order of steps is worth in recall, against its information.",
        "The gain stays below its bound, and information alone does not bring it: up to a weight "
        "of a half, order is informative and worth nothing.",
    ),
    Entry(
        models,
        "theory/exact",
        "What the order of steps is worth in three solvable models.",
        "Order pays where the target depends on it more than on the set of steps, and less the "
        "noisier the targets or the more alike the steps.",
    ),
    Entry(
        certificate,
        "certificate.json",
        "What a finished run certifies, with lift and ceiling.",
        "With few cells, users suffice to certify that ordered steps are above every reader of the "
        "pooled chain. With many cells, too few users are left in each, and nothing is certified.",
    ),
    Entry(
        crossover,
        _THEORY,
        "Error of a structured and of a pooled reader by training rows.",
        "Below the crossing the pooled reader is better, as it has less to learn.",
    ),
    Entry(
        speed,
        "speed.json",
        "Speed beside Hugging Face's T5, at equal results.",
        "Training and constrained decoding are several times to many times as fast.",
    ),
    Entry(
        growth,
        "growth.json",
        "Growth with catalogue and history.",
        "From ten thousand to a million items, decoding takes hardly longer.",
    ),
    Entry(
        stages,
        "stages.json",
        "Time and memory of each stage by the size of a simulated shop.",
        "No stage grows clearly faster than the data.",
    ),
    Entry(
        beams,
        "exact.json",
        "The beam of the trained TIGER against its exact top ten.",
        "Twenty beams find nearly all of the ten best items, at a small part of the time that "
        "scoring every item takes.",
    ),
    Entry(
        prefixes,
        "information.json",
        "Usable information in real chains: by step, and over each reduced form.",
        "The likeliest item and the two latest purchases add most. Every reduced form of the chain "
        "says less than its ordered steps.",
    ),
    Entry(
        estimators,
        "estimators.json",
        "Errors of the estimators of mutual information where the truth is known.",
        "Most say too little where there is much to say, neighbours above all. CLUB, meant as an "
        "upper bound, says far too much. What learns is measured in part.",
    ),
    Entry(
        latency,
        "latency.json",
        "Latency of an answer.",
        "SCoTER takes a few per cent longer than TIGER.",
    ),
)
FIGURES = {entry.draw.__name__: entry for entry in _ENTRIES}


def draw(name: str, results: Path = RESULTS) -> Picture:
    """The figure of that name, with its data; a `NotMeasuredError` where results are absent."""
    return FIGURES[name].draw(Path(results))
