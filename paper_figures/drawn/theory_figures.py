"""Figures of the theory, computed here: exact models, closed forms and a simulation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_figures.measured import grouped, read
from paper_figures.picture import Look, Picture
from paper_figures.style import BLACK, BLUE, COLUMN, GREEN, GREY, ORANGE, PAGE, panels, styled
from theory.bounds import fano_ceiling, gaussian_crossover, least_squares_risk, recall_floor
from theory.exact import (
    GaussianChain,
    OrderChannel,
    PermutationChannel,
    bayes_recall,
    conditional_entropy,
    merge_rows,
)
from theory.verify.learning_checks import simulated_risk

ITEMS, K = 9, 3
ORDER_K = 1
VIEWS = {
    "ordered": (BLUE, "D", "ordered steps"),
    "multiset": (GREEN, "s", "multiset of steps"),
    "last": (ORANGE, "^", "last step"),
}
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = (8, 9, 10, 12, 16, 24, 48, 96)
ESTIMATED = 5000  # the sample size of the estimators' errors
CHAIN = GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.6)
READERS = {"ordered": (BLUE, "D", "-", "four steps"), "mean": (GREEN, "s", "--", "their mean")}


def solvable_points(seeds: Sequence[int] = tuple(range(4))) -> list[tuple[str, float, float]]:
    """(view, H(Y|view) in nats, best Recall@K) of solvable models, by summation."""
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
def bounds(results: Path) -> Picture:
    """Best Recall@3 of solvable models between the bounds that their conditional entropy gives."""
    picture, (panel,) = panels(2.5)
    axes = panel.axes
    entropies = np.linspace(0.0, np.log(ITEMS), 241)
    floor = recall_floor(entropies, items=ITEMS, k=K)
    ceiling = fano_ceiling(entropies, items=ITEMS, k=K)
    axes.fill_between(entropies, floor, ceiling, color="#e4e4e4", label="possible")
    panel.curve(entropies, ceiling, "ceiling", color=BLACK)
    panel.curve(entropies, floor, "floor", color=BLACK, linestyle="--")
    points = solvable_points()
    for view, (colour, mark, name) in VIEWS.items():
        mine = [(entropy, recall) for seen, entropy, recall in points if seen == view]
        x, y = zip(*mine, strict=True)
        look: Look = {"s": 12, "color": colour, "marker": mark, "linewidths": 0.4}
        panel.cloud(x, y, name, zorder=3, edgecolors=BLACK, **look)
    axes.set_xlabel("conditional entropy of the next item, nats")
    axes.set_ylabel(f"best Recall@{K} of {ITEMS} items")
    axes.set_ylim(0.28, 1.03)
    axes.legend(loc="lower left", ncols=2, handlelength=1.6, columnspacing=1.0)
    return picture


def order_points(seeds: Sequence[int] = tuple(range(8))) -> list[tuple[float, float, float]]:
    """(order weight, I(Y; order | multiset) in nats, gain in Recall@1 by order), by summation."""
    models = [
        OrderChannel(alphabet=3, steps=3, items=ITEMS, order_weight=weight, noise=0.1, seed=seed)
        for weight in WEIGHTS
        for seed in seeds
    ]
    gains = (model.recall(ORDER_K) - model.recall(ORDER_K, "multiset") for model in models)
    informed = ((model.order_weight, model.order_information()) for model in models)
    return [(*pair, gain) for pair, gain in zip(informed, gains, strict=True)]


@styled
def order(results: Path) -> Picture:
    """What order adds to recall, against its information I: at most sqrt(I/2) (T7)."""
    picture, (panel,) = panels(2.3)
    axes = panel.axes
    points = order_points()
    shades = ("#f7fbff", "#c6dbef", "#6baed6", "#2171b5", "#08306b")
    for weight, shade, mark in zip(WEIGHTS, shades, "ovsD^", strict=True):
        mine = [(information, gain) for w, information, gain in points if w == weight]
        x, y = zip(*mine, strict=True)
        look: Look = {"s": 16, "color": shade, "marker": mark, "linewidths": 0.5}
        panel.cloud(x, y, f"{weight:g}", edgecolors=BLACK, **look)
    span = np.linspace(0, max(information for _, information, _ in points) * 1.05, 200)
    axes.set_ylim(-0.03, 0.85)
    panel.curve(span, np.sqrt(span / 2), "at most", color=GREY, linestyle="--")
    axes.set_xlabel("information in the order, given the multiset, nats")
    axes.set_ylabel(f"gain in best Recall@{ORDER_K}")
    look: Look = {"title": "weight of order", "title_fontsize": 6.8, "columnspacing": 1.0}
    axes.legend(loc="upper left", ncols=3, **look)
    return picture


def crossover_risks(repetitions: int = 4000) -> dict[str, list[tuple[int, float, float, float]]]:
    """By view: (rows n, exact risk, simulated risk, its standard error) of least squares."""
    risks = {}
    for view, dims in (("ordered", 4), ("mean", 1)):
        variance = CHAIN.residual_variance(view)
        exact = [least_squares_risk(n, dims, variance) for n in SIZES]
        drawn = [simulated_risk(CHAIN, n, view, repetitions, seed=n) for n in SIZES]
        rows = zip(SIZES, exact, drawn, strict=True)
        risks[view] = [(n, risk, *simulated) for n, risk, simulated in rows]
    return risks


@styled
def crossover(results: Path) -> Picture:
    """Risk of a structured and a pooled reader by training rows: closed form, simulation, n*."""
    picture, (panel,) = panels(2.2)
    axes = panel.axes
    fine, coarse = CHAIN.residual_variance("ordered"), CHAIN.residual_variance("mean")
    crossing = gaussian_crossover(4, 1, 0.5 * float(np.log(coarse / fine)))
    for view, rows in crossover_risks().items():
        colour, mark, dash, name = READERS[view]
        n, exact, simulated, error = (np.array(column) for column in zip(*rows, strict=True))
        panel.curve(n, exact, f"{name}, closed form", color=colour, linestyle=dash)
        ends = (simulated - 2 * error, simulated, simulated + 2 * error)
        look: Look = {"color": colour, "marker": mark, "linestyle": "none"}
        panel.intervals(n, ends, label=f"{name}, simulated ± 2 s.e.", **look)
    axes.axvline(crossing, color=BLACK, linewidth=0.7, linestyle=":")
    top, aside = (crossing, axes.get_ylim()[1]), {"textcoords": "offset points", "fontsize": 7}
    axes.annotate(f"n* = {crossing:.1f}", top, (3, -8), **aside)
    axes.set_xscale("log")
    axes.set_xticks((8, 16, 32, 64), ("8", "16", "32", "64"))
    axes.minorticks_off()
    axes.set_xlabel("training rows n")
    axes.set_ylabel("expected squared error")
    axes.legend(loc="upper right")
    return picture


@styled
def models(results: Path) -> Picture:
    """Best Recall@1 of what a reader sees, in three models where it is known exactly."""
    kept = {"ordered": (BLUE, "D", "-"), "multiset": (GREEN, "s", "--"), "last": (ORANGE, "^", ":")}
    picture, drawn = panels(2.1, 3, width=PAGE, sharey=True)
    curves = (
        ("order channel", "weight of order", WEIGHTS, _order_recall),
        ("permutation channel", "share of wrong targets", (0.0, 0.2, 0.4, 0.6), _permuted_recall),
        ("Gaussian chain", "correlation of the steps", (0.0, 0.3, 0.6, 0.9), _gaussian_recall),
    )
    for panel, (title, about, places, recall) in zip(drawn, curves, strict=True):
        for view, (colour, mark, dash) in kept.items():
            values = [recall(place, view) for place in places]
            look: Look = {"color": colour, "marker": mark, "linestyle": dash}
            panel.curve(places, values, VIEWS[view][2], **look)
        panel.axes.set_title(title)
        panel.axes.set_xlabel(about)
    drawn[0].axes.set_ylabel("best Recall@1")
    drawn[0].axes.set_ylim(0, 1.03)
    drawn[0].axes.legend(loc="lower left")
    return picture


def _order_recall(weight: float, view: str) -> float:
    seeds = [OrderChannel(3, 3, ITEMS, order_weight=weight, noise=0.1, seed=s) for s in range(8)]
    return float(np.mean([model.recall(1, view) for model in seeds]))


def _permuted_recall(noise: float, view: str) -> float:
    model = PermutationChannel(symbols=5, noise=noise)
    joint, last = model.joint(), model.sequences[:, -1]
    seen = joint if view == "ordered" else merge_rows(joint, last if view == "last" else 0 * last)
    return bayes_recall(seen, 1)


def _gaussian_recall(rho: float, view: str) -> float:
    chain = GaussianChain(weights=(0.25, -0.5, 0.75, 1.0), rho=rho, noise_variance=0.1)
    return chain.recall(1, view, items=8, n=4000).value


@styled
def certificate(results: Path) -> Picture:
    """What a finished run certifies about its chain, beside the observed lift and the ceiling."""
    return certificate_of(read(results, "certificate.json"))


def certificate_of(measured: Mapping[str, Any]) -> Picture:
    """The same of what `python -m benchmarks certificate` measured."""
    rows = measured["rows"]
    picture, drawn = panels(2.4, len(rows), width=PAGE if len(rows) > 1 else COLUMN, sharey=True)
    for panel, row in zip(drawn, rows, strict=True):
        cells = [cell["cells"] for cell in row["cells"]]
        upper, lower, table = (
            [cell[name] for cell in row["cells"]]
            for name in ("collapsed_upper", "recall_lower", "table_recall")
        )
        panel.curve(cells, lower, "the ordered chain has at least", color=BLUE)
        panel.curve(cells, upper, "every reader of the cells has at most", color=GREEN, marker="s")
        panel.curve(cells, table, "best table, measured", color=GREY, marker="o", linestyle="--")
        paid = [least >= most for least, most in zip(lower, upper, strict=True)]
        panel.axes.fill_between(cells, upper, lower, where=paid, color="#cfe3f3", zorder=0)
        lift = [[row["collapsed_recall"] + row["lift"][end]] for end in ("low", "mean", "high")]
        look: Look = {
            "color": BLUE,
            "marker": "D",
            "label": "ordered chain, with its lift's interval",
        }
        panel.line(row["collapsed_recall"], "best collapsed reader", across=True, color=ORANGE)
        panel.intervals([cells[-1]], (lift[0], lift[1], lift[2]), **look)
        if "ceiling" in row:
            panel.line(row["ceiling"], f"ceiling ({row['statement']})", across=True, color=BLACK)
        panel.axes.set_xscale("log", base=4)
        panel.axes.set_xticks(cells, [f"{count:,}" for count in cells])
        panel.axes.minorticks_off()
        panel.axes.set_title(f"{row['name']}, {row['users']:,} users")
        panel.axes.set_xlabel("cells of the pooled chain and history")
    drawn[0].axes.set_ylabel("Recall@10")
    drawn[0].axes.set_ylim(0, None)
    legend = drawn[0].axes.get_legend_handles_labels()
    picture.figure.legend(*legend, loc="outside upper center", ncols=3, handlelength=1.6)
    return picture


@styled
def estimators(results: Path) -> Picture:
    """Error of every estimator on each law, below zero where it says too little, and their size."""
    rows = [row for row in read(results, "estimators.json")["rows"] if "value" in row]
    errors = {
        name.replace("_", " "): [row["error"] for row in mine if row["n"] == ESTIMATED]
        for name, mine in grouped(rows, "estimator").items()
    }
    sizes = {name: float(np.mean(np.abs(mine))) for name, mine in errors.items()}
    names = sorted(sizes, key=lambda name: sizes[name])
    picture, (each, mean) = panels(3.4, 2, width=PAGE, sharey=True)
    for place, name in enumerate(names):
        each.axes.plot(errors[name], [place] * len(errors[name]), "|", color=GREY, markersize=6)
    each.axes.axvline(0, color=BLACK, linewidth=0.6)
    each.axes.set_xscale("symlog", linthresh=0.1)
    each.axes.set_xticks([-10, -1, -0.1, 0, 0.1, 1, 10], ["-10", "-1", "-.1", "0", ".1", "1", "10"])
    each.axes.set_xlabel(f"error on each law, n = {ESTIMATED:,}, nats (even within ±.1)")
    values, look = [sizes[name] for name in names], {"linestyle": "", "marker": "D", "color": BLUE}
    mean.curve(values, range(len(names)), "", names, across=True, **look)
    mean.axes.set_xscale("log")
    mean.axes.set_xticks([0.01, 0.1, 1], [".01", ".1", "1"])
    mean.axes.set_xlabel("mean size of its errors, nats")
    mean.rows(names)
    return picture
