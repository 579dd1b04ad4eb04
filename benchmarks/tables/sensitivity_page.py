"""The measured sensitivity of each dataset as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS

FILE = "sensitivity.json"
METRICS = ("recall@10", "ndcg@10")
LENGTHS = ((1, 4), (5, 6), (7, 10), (11, 20), (21, None))
REPEATS = ((0, 0), (1, 1))
POPULARITY = ((0, 0), (1, 4), (5, 9), (10, 19), (20, 49), (50, None))
BUCKETS: dict[str, tuple[str, tuple[tuple[int, int | None], ...]]] = {
    "history": ("items in the history", LENGTHS),
    "popularity": ("training events of the target", POPULARITY),
    "repeat": ("whether the target stands in the history", REPEATS),
}


def tables_of(results: Path = RESULTS) -> dict[str, str]:
    """The tables of every dataset measured."""
    return {
        dataset: as_markdown(measured)
        for dataset, measured in json.loads((results / FILE).read_text()).items()
    }


def as_markdown(measured: Mapping[str, Any]) -> str:
    """The tables of one dataset: drop, two kinds of buckets, ties."""
    parts = [f"Measured at commit `{measured['commit'][:12]}`."]
    parts += (
        [_drop(measured["drop"])] if measured["drop"] else ["No method has been collected yet."]
    )
    parts += [
        _buckets(measured["buckets"], kind)
        for kind in BUCKETS
        if any(row["kind"] == kind for row in measured["buckets"])
    ]
    return "\n\n".join([*parts, _ties(measured["ties"])]) + "\n"


def _drop(rows: list[Mapping[str, Any]]) -> str:
    lines = [
        "| method | metric | validation | test | test - validation | relative |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        change = row["difference"]
        relative = f"{100 * (row['test'] / row['valid'] - 1):+.1f} %" if row["valid"] else ""
        lines.append(
            f"| {row['method']} | {row['metric']} | {row['valid']:.4f} | {row['test']:.4f} | "
            f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] | {relative} |"
        )
    return "\n".join(lines)


def _buckets(rows: list[Mapping[str, Any]], kind: str) -> str:
    """One column for each bucket that has users, one row for each method."""
    what, edges = BUCKETS[kind]
    chosen = [row for row in rows if row["kind"] == kind]
    users = {(row["low"], row["high"]): row["users"] for row in chosen}
    shown = [(low, high) for low, high in edges if (low, high) in users]
    names = {pair: _range(*pair) if kind != "repeat" else ("no", "yes")[pair[0]] for pair in shown}
    heads = [f"{names[pair]} ({users[pair]:,} users)" for pair in shown]
    lines = [f"| Recall@10 by {what} | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for method in dict.fromkeys(row["method"] for row in chosen):
        found = {
            (row["low"], row["high"]): row["recall@10"] for row in chosen if row["method"] == method
        }
        cells = ["{mean:.4f} [{low:.4f}, {high:.4f}]".format(**found[pair]) for pair in shown]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ties(ties: Mapping[str, Any] | None) -> str:
    if ties is None:
        return "The data has no times, so there are no ties."
    rows = ties["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    drawn = [row for row in rows if row["draw"] is not None]
    other = np.mean([row["other_targets"] for row in drawn])
    lines = [
        f"{100 * ties['share_of_tied_steps']:.1f} % of neighbouring events of a user have one "
        f"time; shuffled, {100 * other:.1f} % of users get another test target.",
        "",
        "| method | metric | as prepared | mean of the draws | lowest | highest | deviation | "
        "validation: as prepared, draws |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for method in methods:
        for metric in METRICS:
            [prepared] = [
                row[metric] for row in rows if row["method"] == method and row["draw"] is None
            ]
            values = [row[metric] for row in drawn if row["method"] == method]
            spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
            numbers = (
                f"{prepared:.4f} | {np.mean(values):.4f} | {min(values):.4f} | {max(values):.4f} "
                f"| {spread:.5f}"
            )
            first, *others = (row[f"valid {metric}"] for row in rows if row["method"] == method)
            lines.append(
                f"| {method} | {metric} | {numbers} | {first:.4f}, {np.mean(others):.4f} |"
            )
    if "sasrec-ce" in methods:
        lines += [
            "",
            f"SASRec was trained for {ties['epochs']} epochs only, each time with seed 0: its "
            f"level is not the main table's.",
        ]
    else:
        lines += ["", "SASRec was not trained on the draws yet (`--sasrec-epochs`)."]
    return "\n".join(lines)


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} and more"
    return f"{low}" if low == high else f"{low} to {high}"
