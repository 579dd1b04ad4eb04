"""Figures of comparisons: lift over TIGER, shops with a known truth, controls of structure."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.container import BarContainer
from matplotlib.patheffects import withStroke

from benchmarks.suite.collect import load_rows
from benchmarks.tables.comparisons import difference
from benchmarks.tables.tables import ORDER, main_table, mean_over_users
from benchmarks.tables.tables import datasets as measured_datasets
from paper_figures.measured import NotMeasuredError
from paper_figures.picture import Ends, Look, Picture
from paper_figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREY,
    METHODS,
    ORANGE,
    PAGE,
    dataset_name,
    method_name,
    panels,
    styled,
)
from scoter.evaluation.significance import Estimate

BENCHMARKS = ("beauty", "sports", "toys", "yelp")
COMPARED = (
    *("sasrec-ce", "transition-graph", "reasons-logit", "tiger-meanpool"),
    *("control-mixed-scores", "control-mixed-reasons", "scoter", "sasrec-ce-scoter"),
)
SHOPS = ("simulated-lambda-1", "simulated-lambda-0")
QUESTIONS = {
    "does the chain help?": ("tiger", "control-other-user", "control-noise"),
    "do its steps, in order?": ("tiger-meanpool", "control-bag", "control-shuffled"),
    "what carries the gain?": ("control-no-votes", "control-item-text", "control-no-gate"),
    "more than counts?": ("control-mixed-scores",),
}
ARMS = [name for name in METHODS if name.startswith(("control-", "tiger"))]


@styled
def lift(results: Path) -> Picture:
    """NDCG@10 over TIGER's in percent, with 95 % intervals over users, one panel a dataset."""
    tables = {
        dataset: main_table(results, dataset).set_index("method")
        for dataset in BENCHMARKS
        if dataset in measured_datasets(results)
    }
    names = [method_name(method) for method in COMPARED]
    picture, drawn = panels(0.7 + 0.17 * len(names), len(tables), width=PAGE, sharey=True)
    for panel, (dataset, table) in zip(drawn, tables.items(), strict=True):
        for place, method in enumerate(COMPARED):
            row = table.loc[method] if method in table.index else {}
            if not row.get("difference ndcg@10", 0):  # missing, or of another recipe than TIGER's
                continue
            scale = row["lift ndcg@10"] / row["difference ndcg@10"]
            low, mean, high = (
                [row[f"{key} ndcg@10"] * scale] for key in ("low", "difference", "high")
            )
            look: Look = {"color": METHODS[method][1], "marker": METHODS[method][2]}
            look["linestyle"] = "none"
            panel.intervals([place], (low, mean, high), [names[place]], across=True, **look)
        panel.axes.axvline(0, color=BLACK, linewidth=0.6)
        panel.axes.set_title(dataset_name(dataset))
    if not any(panel.series for panel in drawn):
        raise NotMeasuredError("no method is compared with TIGER on a public dataset")
    drawn[0].rows(names)
    picture.figure.supxlabel("NDCG@10 relative to TIGER, %", fontsize=7.5)
    return picture


@styled
def shops(results: Path) -> Picture:
    """Recall@10 on the simulated shop, 95 % over users, beside the best with and without order."""
    there = [dataset for dataset in SHOPS if dataset in measured_datasets(results)]
    if not there:
        raise NotMeasuredError("no run on the simulated shop is among the results")
    picture, drawn = panels(2.0, len(there), width=COLUMN * 2, sharex=True)
    for panel, dataset in zip(drawn, there, strict=True):
        table = main_table(results, dataset).set_index("method")
        methods = [name for name in (*ORDER, "control-other-user") if name in table.index]
        names = [method_name(method) for method in methods]
        means = [float(table.loc[method, "recall@10"]) for method in methods]
        known = [
            mean_over_users(results, dataset, method, "recall@10") or Estimate(mean, mean, mean)
            for method, mean in zip(methods, means, strict=True)
        ]
        ends = ([each.low for each in known], means, [each.high for each in known])
        look: Look = {"edgecolor": BLACK, "linewidth": 0.4, "error_kw": {"linewidth": 0.8}}
        look["color"] = [METHODS[method][1] for method in methods]
        _halo(panel.bars(range(len(names)), ends, 0.62, names, across=True, **look))
        best, unordered = best_possible(results, dataset)
        panel.line(best, "best possible", color=BLACK, linestyle="--", linewidth=0.8)
        if unordered < best - 1e-9:
            dotted: Look = {"color": GREY, "linestyle": ":", "linewidth": 1.1}
            panel.line(unordered, "best possible without order", **dotted)
        panel.rows(names)
        panel.axes.set_title(dataset_name(dataset))
        panel.axes.set_xlabel("Recall@10")
    legend = drawn[0].axes.get_legend_handles_labels()
    picture.figure.legend(*legend, loc="outside upper center", ncols=2)
    return picture


@styled
def controls(results: Path) -> Picture:
    """SCoTER minus ten controls in Recall@10, by the question that each answers, largest first.

    The tables with most controls are drawn, in one panel; `arms` has every control of every table.
    """
    tables = list(_fullest(results).items())[:2]
    first = tables[0][1]
    rows: list[str] = []  # a question, and the controls that answer it
    for question, arms in QUESTIONS.items():
        known = sorted(first.keys() & set(arms), key=lambda arm: -first[arm].mean)
        rows += [question, *known] if known else []
    picture, (panel,) = panels(0.75 + 0.19 * len(rows))
    looks: list[Look] = [{"color": BLUE, "marker": "D"}, {"color": ORANGE, "marker": "o"}]
    for number, ((dataset, known), look) in enumerate(zip(tables, looks, strict=False)):
        shown = [arm for arm in rows if arm in known]
        at = [rows.index(arm) + 0.3 * number - 0.15 * (len(tables) - 1) for arm in shown]
        look |= {"linestyle": "none", "label": dataset_name(dataset)}
        ends = _ends([known[arm] for arm in shown])
        panel.intervals(at, ends, [method_name(arm) for arm in shown], across=True, **look)
    panel.rows([method_name(row) for row in rows])
    for label, row in zip(panel.axes.get_yticklabels(), rows, strict=True):
        label.set_fontstyle("italic" if row in QUESTIONS else "normal")
    panel.axes.axvline(0, color=BLACK, linewidth=0.6)
    panel.axes.set_xlabel("Recall@10, SCoTER minus arm")
    picture.figure.legend(loc="outside upper center")
    return picture


@styled
def arms(results: Path) -> Picture:
    """SCoTER minus each control in Recall@10, paired by user, with 95 % intervals, largest first.

    Tables with at least half as many controls as the fullest have panels of their own; the others
    share a last panel. Simulated shops are drawn by `shops`, and here only where there is nothing
    else.
    """
    tables, fullest = _controls(results), _fullest(results)
    drawn = {dataset_name(dataset): _named(known) for dataset, known in fullest.items()}
    others = {
        f"{dataset_name(dataset)}: {name}": gap
        for dataset, known in tables.items()
        if dataset not in fullest
        for name, gap in _named(known).items()
    }
    drawn |= {"other tables": others} if others else {}
    height = 0.75 + 0.17 * max(len(known) for known in drawn.values())
    picture, made = panels(height, len(drawn), width=COLUMN * len(drawn), sharex=True)
    look: Look = {"color": BLUE, "marker": "D", "linestyle": "none"}
    for panel, (title, known) in zip(made, drawn.items(), strict=True):
        names = list(known)
        panel.intervals(range(len(names)), _ends(known.values()), names, across=True, **look)
        panel.rows(names)
        panel.axes.axvline(0, color=BLACK, linewidth=0.6)
        panel.axes.set_title(title)
        panel.axes.set_xlabel("Recall@10, SCoTER minus arm")
    return picture


def _controls(results: Path) -> dict[str, dict[str, Estimate]]:
    """The differences to the arms of each table that has a control."""
    tables: dict[str, dict[str, Estimate]] = {}
    for dataset in measured_datasets(results):
        gaps = {name: difference(results, dataset, "scoter", name, "recall@10") for name in ARMS}
        known = {name: gap for name, gap in gaps.items() if gap is not None}
        if any(name.startswith("control-") for name in known):
            tables[dataset] = known
    if not tables:
        raise NotMeasuredError("no control of structure was trained beside SCoTER")
    return {dataset: known for dataset, known in tables.items() if dataset not in SHOPS} or tables


def _fullest(results: Path) -> dict[str, dict[str, Estimate]]:
    """Those with at least half as many arms as the fullest."""
    tables = _controls(results)
    most = max(map(len, tables.values()))
    return {dataset: known for dataset, known in tables.items() if 2 * len(known) >= most}


def _named(known: Mapping[str, Estimate]) -> dict[str, Estimate]:
    largest = sorted(known.items(), key=lambda pair: -pair[1].mean)
    return {method_name(arm): gap for arm, gap in largest}


def _ends(gaps: Iterable[Estimate]) -> Ends:
    low, mean, high = zip(*((gap.low, gap.mean, gap.high) for gap in gaps), strict=True)
    return low, mean, high


def best_possible(results: Path, dataset: str, k: int = 10) -> tuple[float, float]:
    """The best Recall@k on a simulated shop, with and without order: means over the seeds run."""
    from scoter.config import SimulatedConfig
    from scoter.data.simulated import simulate

    seeds = sorted({row["seed"] for row in load_rows(results) if row["dataset"] == dataset})
    order = float(dataset.removeprefix("simulated-lambda-").replace("_", "."))
    made = [simulate(SimulatedConfig(order=order), seed) for seed in seeds]
    best = np.mean([shop.best_recall(k) for shop in made])
    return float(best), float(np.mean([shop.best_recall_unordered(k) for shop in made]))


def _halo(bars: BarContainer) -> None:
    """A white edge around whiskers, so that they are seen on dark bars too."""
    assert bars.errorbar is not None
    for whisker_lines in bars.errorbar.lines[2]:
        whisker_lines.set_path_effects([withStroke(linewidth=2.4, foreground="white")])
