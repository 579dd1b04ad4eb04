"""The report of a finished run: everything shown is read from the run's folder, its intervals are
computed from its ranks."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import Estimate, bootstrap_mean
from scoter.report.charts import bars, line_chart, verdict, whiskers
from scoter.report.page import flat, write_page
from scoter.report.pattern import described
from scoter.report.shoppers import shoppers
from scoter.storage.untrusted import parse_json

METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
PLOTTED = "ndcg@10"
OPEN = ("recall@10", "ndcg@10")
_RUN_KEYS = (
    "experiment",
    "dataset",
    "seed",
    "commit",
    "users",
    "items",
    "note",
    "full_data",
    "methods",
    "differences",
)


def write_report(
    run_folder: Path,
    out: Path,
    explored: Path | None = None,
    picture: Path | None = None,
) -> None:
    """Write the run in `run_folder` (`run.json`, `ranks/`, and where there are any `attention/`,
    `examples.json`) to `out`.

    The page holds the comparison table and the differences with their intervals, learning curves,
    gate and attention of each reasoning step, an explorer of users with their chains and
    recommendations, semantic-ID diagnostics and the pattern.

    Args:
        explored: an `explorer.json` of `scoter.serving.explorer`, with more users and what each
            step contributed; without it the explorer shows the run's own few examples.
        picture: the `picture.svg` of the discovery that mined the pattern.

    Raises:
        DataError: a folder that is not a finished run, or whose ranks are missing.
    """
    run = _read_json(run_folder / "run.json")
    if absent := [key for key in _RUN_KEYS if key not in run]:
        raise DataError(
            f"{run_folder / 'run.json'} has no {', '.join(absent)}; make the run again with this "
            f"version"
        )
    run["run"] = _read_json(run_folder / "manifest.json")["key"]
    kept = explored or run_folder / "examples.json"
    attention = {name: run_folder / "attention" / f"{name}.json" for name in run["methods"]}
    write_page(
        out,
        "run.html",
        run=run,
        metrics=METRICS,
        methods=_methods(run, run_folder),
        differences=_differences(run["differences"]),
        curves=_curves(run["methods"]),
        attention={
            name: _attention(_read_json(path), path)
            for name, path in attention.items()
            if path.exists()
        },
        shoppers=shoppers(_read_json(kept)) if kept.exists() else [],
        semantic_ids=flat(run.get("semantic_ids") or {}),
        pattern=described(run.get("pattern"), picture),
        versions=flat(run.get("versions") or {}),
        reasoner=run.get("reasoner") or "a reasoner that the run does not name",
        plotted=PLOTTED,
    )


def _methods(run: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One row per method: its metrics with intervals and its cost; and where its whiskers go."""
    rows = []
    for index, (name, made) in enumerate(run["methods"].items()):
        kept = load_user_metrics(folder / "ranks" / f"{name}-test.parquet")
        cells = {metric: bootstrap_mean(per_user(kept, metric), seed=0) for metric in METRICS}
        rows.append({"name": name, "colour": index % 8, "cells": cells, "more": [], "made": made})
    return {"rows": rows, "whiskers": whiskers([row["cells"]["recall@10"] for row in rows], 200)}


def _differences(differences: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table for each metric, each with its own scale; the one that is open on the page comes
    first."""
    found = {one["metric"] for one in differences}
    order = sorted(
        found,
        key=lambda metric: (
            metric not in OPEN,
            OPEN.index(metric) if metric in OPEN else 0,
            metric,
        ),
    )
    return [
        compared(metric, [one for one in differences if one["metric"] == metric])
        for metric in order
    ]


def compared(metric: str, differences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of differences in one metric: each has `better`, `worse`, `mean`, `low`, `high`,
    and perhaps `p`, corrected."""
    intervals = [Estimate(one["mean"], one["low"], one["high"]) for one in differences]
    rows = [
        {**one, "verdict": verdict(interval)}
        for one, interval in zip(differences, intervals, strict=True)
    ]
    tested = any("p" in one for one in differences)
    return {"metric": metric, "rows": rows, "whiskers": whiskers(intervals, 260), "tested": tested}


def _curves(methods: Mapping[str, Any]) -> dict[str, Any]:
    """One chart of the validation metric for all methods, and a loss chart for each (their losses
    have different units)."""
    indexed = [
        (index % 8, name, made["curve"]) for index, (name, made) in enumerate(methods.items())
    ]
    validation = [(colour, name, _points(curve, PLOTTED)) for colour, name, curve in indexed]
    losses = [[(colour, name, _points(curve, "loss"))] for colour, name, curve in indexed]
    return {
        "validation": line_chart([one for one in validation if one[2]], 680, 270, from_zero=True),
        "losses": [line_chart(one, 220, 130) for one in losses if len(one[0][2]) > 1],
    }


def _points(curve: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    found = [
        (float(entry["epoch"]), float(entry[key])) for entry in curve if entry.get(key) is not None
    ]
    return [point for point in found if math.isfinite(point[1])]


def _attention(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Bars of the mean attention on each step (the slot for nothing last) and of the mean gate of
    each layer."""
    steps, roles = list(found["attention_mean"]), [str(role) for role in found["roles"]]
    if len(steps) == len(roles) + 1:
        roles = [*roles, "nothing"]
    if len(steps) != len(roles):
        raise DataError(
            f"{path} has {len(steps)} attention_mean values for {len(roles)} roles; give one for "
            f"each role and one for nothing"
        )
    gates = [(f"layer {layer}", value) for layer, value in enumerate(found["gate_mean"], 1)]
    return {"steps": bars(list(zip(roles, steps, strict=True))), "gates": bars(gates, highest=1.0)}


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); pass the folder of a finished run"
        ) from None
