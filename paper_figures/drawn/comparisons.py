"""Figures of measured comparisons: lift over TIGER, the shops with a known truth, controls of
structure."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from benchmarks.suite.collect import load_rows
from benchmarks.tables.comparisons import difference
from benchmarks.tables.tables import ORDER, main_table, mean_over_users
from benchmarks.tables.tables import datasets as measured_datasets
from paper_figures.measured import NotMeasuredError, whiskers
from paper_figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREY,
    METHODS,
    dataset_name,
    method_name,
    panels,
    styled,
)
from scoter.evaluation.significance import Difference, Estimate

BENCHMARKS = ("beauty", "sports", "toys", "yelp")
COMPARED = ("sasrec-ce", "tiger-meanpool", "scoter")
SHOPS = ("simulated-lambda-1", "simulated-lambda-0")


@styled
def lift(results: Path) -> Figure:
    """Relative lift over our own TIGER in Recall@10, percent, with 95 % intervals over users; what
    is missing is named."""
    found = {
        dataset: main_table(results, dataset).set_index("method")
        for dataset in _there(results, BENCHMARKS)
    }
    rows: list[tuple[str, str, float, float, float]] = []
    missing: dict[str, list[str]] = {}
    for dataset, table in found.items():
        for method in COMPARED:
            row = table.loc[method] if method in table.index else None
            if row is None or np.isnan(row["difference recall@10"]):
                missing.setdefault(dataset_name(dataset), []).append(method_name(method))
                continue
            scale = row["lift recall@10"] / row["difference recall@10"]
            rows.append(
                (
                    dataset,
                    method,
                    *(row[f"{key} recall@10"] * scale for key in ("low", "difference", "high")),
                )
            )
    if not rows:
        raise NotMeasuredError(
            "no method is compared with TIGER on a public dataset: not measured yet"
        )
    told = [
        f"{name}: no {' and no '.join(methods)} in TIGER's recipe"
        for name, methods in missing.items()
    ]
    if absent := [dataset_name(dataset) for dataset in BENCHMARKS if dataset not in found]:
        told.append(f"{', '.join(absent)}: not run")
    figure, (axes,) = panels(0.75 + 0.26 * len(rows) + 0.16 * (len(told) + bool(told)))
    for place, (_, method, low, mean, high) in enumerate(rows):
        _, colour, mark = METHODS[method]
        axes.errorbar(
            [mean],
            [place],
            xerr=whiskers([low], [mean], [high]),
            color=colour,
            marker=mark,
            linestyle="none",
        )
    _rows(axes, [f"{dataset_name(dataset)}: {method_name(method)}" for dataset, method, *_ in rows])
    axes.axvline(0, color=BLACK, linewidth=0.6)
    axes.set_xlabel("Recall@10 over TIGER, %")
    if told:
        lines = "\n".join(("not measured yet", *(textwrap.fill(line, 62) for line in told)))
        figure.supxlabel(lines, fontsize=6.3, color=GREY, ha="left", x=0.02)
    return figure


@styled
def shops(results: Path) -> Figure:
    """Recall@10 of each method on the simulated shop, 95 % over users, beside the best possible
    with and without order."""
    there = _there(results, SHOPS)
    if not there:
        raise NotMeasuredError(
            "no run on the simulated shop is among the results: not measured yet"
        )
    figure, all_axes = panels(2.0, len(there), width=COLUMN * 2, sharex=True)
    for axes, dataset in zip(all_axes, there, strict=True):
        table = main_table(results, dataset).set_index("method")
        names = [name for name in (*ORDER, "control-other-user") if name in table.index]
        found = [mean_over_users(results, dataset, name, "recall@10") for name in names]
        means = [float(table.loc[name, "recall@10"]) for name in names]
        known = [
            one if one is not None else Estimate(mean, mean, mean)
            for one, mean in zip(found, means, strict=True)
        ]
        lengths = whiskers([one.low for one in known], means, [one.high for one in known])
        colours = [METHODS[name][1] for name in names]
        edges: dict[str, Any] = {
            "error_kw": {"linewidth": 0.8},
            "edgecolor": BLACK,
            "linewidth": 0.4,
        }
        bars = axes.barh(
            range(len(names)), means, xerr=lengths, color=colours, height=0.62, **edges
        )
        _halo(bars.errorbar)
        best, unordered = best_possible(results, dataset)
        axes.axvline(best, color=BLACK, linestyle="--", linewidth=0.8, label="best possible")
        if unordered < best - 1e-9:
            axes.axvline(
                unordered,
                color=GREY,
                linestyle=":",
                linewidth=1.1,
                label="best possible without order",
            )
        _rows(axes, [method_name(name) for name in names])
        axes.set_title(dataset_name(dataset))
        axes.set_xlabel("Recall@10")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@styled
def controls(results: Path) -> Figure:
    """SCoTER minus each control in Recall@10, paired by user, with 95 % intervals: what steps,
    order and user are worth.

    Tables with at least half as many controls as the fullest have panels of their own; what others
    have is together in a last. Simulated shops are drawn by `shops`, and here only where there is
    nothing else.
    """
    rows: dict[str, dict[str, Difference]] = {}
    for dataset in measured_datasets(results):
        names = [
            name
            for name in METHODS
            if name.startswith("control-") or name in ("tiger", "tiger-meanpool")
        ]
        found = {name: difference(results, dataset, "scoter", name, "recall@10") for name in names}
        if any(value is not None for name, value in found.items() if name.startswith("control-")):
            rows[dataset] = {name: value for name, value in found.items() if value is not None}
    if not rows:
        raise NotMeasuredError(
            "no control of structure was trained beside SCoTER: not measured yet"
        )
    rows = {dataset: found for dataset, found in rows.items() if dataset not in SHOPS} or rows
    most = max(len(found) for found in rows.values())
    full = [dataset for dataset, found in rows.items() if 2 * len(found) >= most]
    drawn = [
        (
            dataset_name(dataset),
            {method_name(name): value for name, value in rows.pop(dataset).items()},
        )
        for dataset in full
    ]
    if others := {
        (dataset, name): value for dataset, found in rows.items() for name, value in found.items()
    }:
        drawn.append(
            (
                "other tables",
                {
                    f"{dataset_name(one)}: {method_name(name)}": value
                    for (one, name), value in others.items()
                },
            )
        )
    figure, all_axes = panels(
        0.75 + 0.17 * max(len(found) for _, found in drawn),
        len(drawn),
        width=COLUMN * len(drawn),
        sharex=True,
    )
    for axes, (title, found) in zip(all_axes, drawn, strict=True):
        means = [value.mean for value in found.values()]
        lengths = whiskers(
            [value.low for value in found.values()], means, [value.high for value in found.values()]
        )
        axes.errorbar(
            means, range(len(found)), xerr=lengths, color=BLUE, marker="D", linestyle="none"
        )
        _rows(axes, list(found))
        axes.axvline(0, color=BLACK, linewidth=0.6)
        axes.set_title(title)
        axes.set_xlabel("Recall@10, SCoTER minus arm")
    return figure


def best_possible(results: Path, dataset: str, k: int = 10) -> tuple[float, float]:
    """The best Recall@k on a simulated shop, and the best without order, by summation; means over
    the seeds that were run."""
    from scoter.config import SimulatedConfig
    from scoter.data.simulated import simulate

    seeds = sorted({row["seed"] for row in load_rows(results) if row["dataset"] == dataset})
    order = float(dataset.removeprefix("simulated-lambda-").replace("_", "."))
    found = [simulate(SimulatedConfig(order=order), seed) for seed in seeds]
    return float(np.mean([shop.best_recall(k) for shop in found])), float(
        np.mean([shop.best_recall_unordered(k) for shop in found])
    )


def _halo(errorbar: Any) -> None:
    """A white edge around whiskers, so that they are seen on dark bars too."""
    for whisker_lines in errorbar.lines[2]:
        whisker_lines.set_path_effects([withStroke(linewidth=2.4, foreground="white")])


def _there(results: Path, wanted: tuple[str, ...]) -> list[str]:
    measured = measured_datasets(results)
    return [dataset for dataset in wanted if dataset in measured]


def _rows(axes: Axes, names: list[str]) -> None:
    """Names down the left side, first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
