"""The measured sensitivity of each dataset as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, Table, interval

FILE = "sensitivity.json"
METRICS = ("recall@10", "ndcg@10")
LENGTHS = ((1, 4), (5, 6), (7, 10), (11, 20), (21, None))
POPULARITY = ((0, 0), (1, 4), (5, 9), (10, 19), (20, 49), (50, None))
BUCKETS: dict[str, tuple[str, tuple[tuple[int, int | None], ...]]] = {
    "history": ("items in the history", LENGTHS),
    "popularity": ("training events of the target", POPULARITY),
    "repeat": ("whether the target stands in the history", ((0, 0), (1, 1))),
}
_DROP = ("method", "metric", "validation", "test", "test - validation", "relative")
_TIES = (
    *("method", "metric", "as prepared", "mean of the draws", "lowest", "highest", "deviation"),
    "validation: as prepared, draws",
)


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The tables of every dataset measured."""
    measured = json.loads((results / FILE).read_text())
    return {dataset: page(parts) for dataset, parts in measured.items()}


def page(measured: Mapping[str, Any]) -> Page:
    """The tables of one dataset: drop from validation to test, buckets, ties."""
    kinds = {row["kind"] for row in measured["buckets"]}
    drop = _drop(measured["drop"]) if measured["drop"] else "No method has been collected yet."
    buckets = [_buckets(measured["buckets"], kind) for kind in BUCKETS if kind in kinds]
    commit = f"Measured at commit `{measured['commit'][:12]}`."
    return Page([commit, drop, *buckets, *_ties(measured["ties"])])


def _drop(rows: list[Mapping[str, Any]]) -> Table:
    cells = []
    for row in rows:
        relative = f"{100 * (row['test'] / row['valid'] - 1):+.1f} %" if row["valid"] else ""
        means = [f"{row[part]:.4f}" for part in ("valid", "test")]
        cells.append([row["method"], row["metric"], *means, interval(row["difference"]), relative])
    return Table(_DROP, cells, "llrrrr")


def _buckets(rows: list[Mapping[str, Any]], kind: str) -> Table:
    what, edges = BUCKETS[kind]
    chosen = {
        (row["method"], (row["low"], row["high"])): row for row in rows if row["kind"] == kind
    }
    methods = list(dict.fromkeys(method for method, _ in chosen))
    users = {edge: row["users"] for (_, edge), row in chosen.items()}
    shown = [edge for edge in edges if edge in users]
    names = {edge: ("no", "yes")[edge[0]] if kind == "repeat" else _range(*edge) for edge in shown}
    cells = [
        [method, *(interval(chosen[method, edge]["recall@10"], "") for edge in shown)]
        for method in methods
    ]
    heads = [f"{names[edge]} ({users[edge]:,} users)" for edge in shown]
    return Table([f"Recall@10 by {what}", *heads], cells)


def _ties(ties: Mapping[str, Any] | None) -> list[Table | str]:
    if ties is None:
        return ["The data has no times, so there are no ties."]
    draws = [row for row in ties["rows"] if row["draw"] is not None]
    methods = list(dict.fromkeys(row["method"] for row in ties["rows"]))
    moved = np.mean([row["other_targets"] for row in draws])
    tied = [_tied(ties["rows"], method, metric) for method in methods for metric in METRICS]
    trained = (
        f"SASRec was trained for {ties['epochs']} epochs only, each time with seed 0: its level is "
        "not the main table's."
        if "sasrec-ce" in methods
        else "SASRec was not trained on the draws yet (`--sasrec-epochs`)."
    )
    return [
        f"{100 * ties['share_of_tied_steps']:.1f} % of neighbouring events of a user have one "
        f"time; shuffled, {100 * moved:.1f} % of users get another test target.",
        Table(_TIES, tied, "llrrrrrr"),
        trained,
    ]


def _tied(rows: list[Mapping[str, Any]], method: str, metric: str) -> list[str]:
    """One method and metric as prepared, and over the draws of an order."""
    mine = [row for row in rows if row["method"] == method]
    [prepared] = [row[metric] for row in mine if row["draw"] is None]
    values = [row[metric] for row in mine if row["draw"] is not None]
    spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    numbers = [f"{value:.4f}" for value in (prepared, np.mean(values), min(values), max(values))]
    first, *others = (row[f"valid {metric}"] for row in mine)
    return [method, metric, *numbers, f"{spread:.5f}", f"{first:.4f}, {np.mean(others):.4f}"]


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} and more"
    return f"{low}" if low == high else f"{low} to {high}"
