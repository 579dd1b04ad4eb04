"""Figures of the theory, computed where they are drawn: exact models, closed forms, and a
simulation beside its closed form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figures.measured import read
from paper_figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PAGE, panels, styled
from theory.bounds import gaussian_crossover, least_squares_risk, recall_ceiling, recall_floor
from theory.exact import GaussianChain, OrderChannel, conditional_entropy
from theory.verify.learning_checks import simulated_risk

ITEMS, K = 9, 3
ORDER_K = 1
VIEWS = {
    "ordered": (BLUE, "D", "ordered steps"),
    "multiset": (GREEN, "s", "multiset of steps"),
    "last": (ORANGE, "^", "last step"),
}
EDGE = 2.0
MEAN_SIZE = f"mean size of the errors, each at most {EDGE:g} nats"
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = (8, 9, 10, 12, 16, 24, 48, 96)
REPETITIONS = 4000


def solvable_points(seeds: Sequence[int] = tuple(range(4))) -> list[tuple[str, float, float]]:
    """(view, H(Y|view) in nats, best Recall@K) of exactly solvable models with ITEMS items, by
    summation."""
    models = [
        OrderChannel(alphabet=3, steps=3, items=ITEMS, order_weight=weight, noise=noise, seed=seed)
        for weight in WEIGHTS
        for noise in (0.05, 0.4)
        for seed in seeds
    ]
    return [
        (view, conditional_entropy(model.joint(view)), model.recall(K, view))
        for model in models
        for view in VIEWS
    ]


@styled
def bounds(results: Path) -> Figure:
    """Best Recall@3 of solvable models between the floor and the ceiling that their conditional
    entropy gives."""
    figure, (axes,) = panels(2.5)
    entropies = np.linspace(0.0, np.log(ITEMS), 241)
    floor = recall_floor(entropies, items=ITEMS, k=K)
    ceiling = recall_ceiling(entropies, items=ITEMS, k=K)
    axes.fill_between(entropies, floor, ceiling, color="#e4e4e4", label="possible")
    axes.plot(entropies, ceiling, color=BLACK, label="ceiling")
    axes.plot(entropies, floor, color=BLACK, linestyle="--", label="floor")
    points = solvable_points()
    for view, (colour, mark, name) in VIEWS.items():
        mine = [(entropy, recall) for seen, entropy, recall in points if seen == view]
        x, y = zip(*mine, strict=True)
        axes.scatter(
            x,
            y,
            s=12,
            color=colour,
            marker=mark,
            linewidths=0.4,
            edgecolors=BLACK,
            label=name,
            zorder=3,
        )
    axes.set_xlabel("conditional entropy of the next item, nats")
    axes.set_ylabel(f"best Recall@{K} of {ITEMS} items")
    axes.set_ylim(0.28, 1.03)
    axes.legend(loc="lower left", ncols=2, handlelength=1.6, columnspacing=1.0)
    return figure


def order_points(seeds: Sequence[int] = tuple(range(8))) -> list[tuple[float, float, float]]:
    """(order weight, I(Y; order | multiset) in nats, Recall@1 with order minus without), by
    summation."""
    models = [
        OrderChannel(alphabet=3, steps=3, items=ITEMS, order_weight=weight, noise=0.1, seed=seed)
        for weight in WEIGHTS
        for seed in seeds
    ]
    return [
        (
            model.order_weight,
            model.order_information(),
            model.recall(ORDER_K) - model.recall(ORDER_K, "multiset"),
        )
        for model in models
    ]


@styled
def order(results: Path) -> Figure:
    """What order is worth in recall against its information: some, and never more than sqrt(I/2)
    (T7)."""
    figure, (axes,) = panels(2.3)
    points = order_points()
    shades = dict(
        zip(WEIGHTS, ("#f7fbff", "#c6dbef", "#6baed6", "#2171b5", "#08306b"), strict=True)
    )
    marks = dict(zip(WEIGHTS, "ovsD^", strict=True))
    for weight in WEIGHTS:
        mine = [(information, gain) for w, information, gain in points if w == weight]
        x, y = zip(*mine, strict=True)
        axes.scatter(
            x,
            y,
            s=16,
            color=shades[weight],
            marker=marks[weight],
            edgecolors=BLACK,
            linewidths=0.5,
            label=f"{weight:g}",
        )
    span = np.linspace(0, max(information for _, information, _ in points) * 1.05, 200)
    axes.set_ylim(-0.03, 0.85)
    axes.plot(span, np.sqrt(span / 2), color=GREY, linestyle="--", label="at most")
    axes.set_xlabel("information in the order, given the multiset, nats")
    axes.set_ylabel(f"gain in best Recall@{ORDER_K}")
    axes.legend(
        title="weight of order", loc="upper left", ncols=3, columnspacing=1.0, title_fontsize=6.8
    )
    return figure


def crossover_risks(
    repetitions: int = REPETITIONS,
) -> dict[str, list[tuple[int, float, float, float]]]:
    """By view: (rows n, exact risk, simulated risk, its standard error) of least squares on n
    rows."""
    chain = GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.6)
    found = {}
    for view, dims in (("ordered", 4), ("mean", 1)):
        variance = chain.residual_variance(view)
        exact = [least_squares_risk(n, dims, variance) for n in SIZES]
        drawn = [simulated_risk(chain, n, view, repetitions, seed=n) for n in SIZES]
        found[view] = [(n, one, *two) for n, one, two in zip(SIZES, exact, drawn, strict=True)]
    return found


@styled
def crossover(results: Path) -> Figure:
    """Risk of a structured and of a pooled reader by training rows: closed form, simulation with
    its error, and n*."""
    figure, (axes,) = panels(2.2)
    chain = GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.6)
    fine, coarse = chain.residual_variance("ordered"), chain.residual_variance("mean")
    crossing = gaussian_crossover(4, 1, 0.5 * float(np.log(coarse / fine)))
    for view, rows in crossover_risks().items():
        colour, mark, dash, name = {
            "ordered": (BLUE, "D", "-", "four steps"),
            "mean": (GREEN, "s", "--", "their mean"),
        }[view]
        n, exact, simulated, error = zip(*rows, strict=True)
        axes.plot(n, exact, color=colour, linestyle=dash, label=f"{name}, closed form")
        twice = 2 * np.array(error)
        axes.errorbar(
            n,
            simulated,
            yerr=twice,
            color=colour,
            marker=mark,
            linestyle="none",
            label=f"{name}, simulated ± 2 s.e.",
        )
    axes.axvline(crossing, color=BLACK, linewidth=0.7, linestyle=":")
    axes.annotate(
        f"n* = {crossing:.1f}",
        (crossing, axes.get_ylim()[1]),
        (3, -8),
        textcoords="offset points",
        fontsize=7,
    )
    axes.set_xscale("log")
    axes.set_xticks((8, 16, 32, 64), ("8", "16", "32", "64"))
    axes.minorticks_off()
    axes.set_xlabel("training rows n")
    axes.set_ylabel("expected squared error")
    axes.legend(loc="upper right")
    return figure


@styled
def estimators(results: Path) -> Figure:
    """Error of every estimator on each law (small marks) and the mean size of its errors (large),
    one draw a law and size.

    Right of the line an estimate is too high; errors beyond two nats stand at the edge.
    """
    rows = [row for row in read(results, "estimators.json")["rows"] if "value" in row]
    names = sorted(
        {row["estimator"] for row in rows}, key=lambda name: -_mean_size(rows, name, 5000)
    )
    figure, all_axes = panels(3.9, 2, width=PAGE, sharey=True)
    for axes, n in zip(all_axes, (2000, 5000), strict=True):
        axes.axvline(0, color=GREY, linewidth=0.7)
        for place, name in enumerate(names):
            errors = np.clip(
                [row["error"] for row in rows if row["estimator"] == name and row["n"] == n],
                -EDGE,
                EDGE,
            )
            axes.plot(
                errors, [place] * len(errors), linestyle="", marker="|", color=GREY, markersize=6
            )
        means = [_mean_size(rows, name, n) for name in names]
        axes.plot(means, range(len(names)), linestyle="", marker="D", color=BLUE, label=MEAN_SIZE)
        axes.set_xlim(-1.08 * EDGE, 1.08 * EDGE)
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.set_xlabel("error, nats")
        axes.set_title(f"n = {n:,}")
    marks = [all_axes[0].lines[1], all_axes[0].lines[-1]]
    figure.legend(marks, ["one law", MEAN_SIZE], loc="outside upper right", ncols=2)
    return figure


def _mean_size(rows: list[dict[str, Any]], name: str, n: int) -> float:
    return float(
        np.mean(
            [
                min(abs(row["error"]), EDGE)
                for row in rows
                if row["estimator"] == name and row["n"] == n
            ]
        )
    )
