"""A finished run as one HTML file that opens anywhere: no network, no script, light and dark.

Everything shown is read from the run's folder; the intervals are computed here from its ranks. All text of the data
(titles, sentences) passes through jinja2's autoescape.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import bootstrap_mean
from scoter.untrusted import parse_json

METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
PLOTTED = "ndcg@10"
OPEN = ("recall@10", "ndcg@10")
Number = int | float
_TEMPLATE = Path(__file__).with_name("report_template.html")
_RUN_KEYS = ("experiment", "dataset", "seed", "commit", "users", "items", "note", "full_data", "methods", "differences")


def write_report(run_folder: Path, out: Path) -> None:
    """Write the run in `run_folder` (`run.json`, `ranks/`, and where there are any `attention/`, `examples.json`) to `out`.

    The page holds the comparison table and the differences with their intervals, learning curves, gate and attention
    of each reasoning step, a few users with their chains and recommendations, semantic-ID diagnostics and the pattern.

    Raises:
        DataError: a folder that is not a finished run, or whose ranks are missing.
    """
    run = _read_json(run_folder / "run.json")
    if absent := [key for key in _RUN_KEYS if key not in run]:
        raise DataError(f"{run_folder / 'run.json'} has no {', '.join(absent)}; make the run again with this version")
    run["run"] = _read_json(run_folder / "manifest.json")["key"]
    examples = run_folder / "examples.json"
    attention = {name: run_folder / "attention" / f"{name}.json" for name in run["methods"]}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "plain": _plain, "signed": "{:+.4f}".format, "thousands": _thousands}
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        metrics=METRICS,
        **_methods(run, run_folder),
        differences=_differences(run["differences"]),
        curves=_curves(run["methods"]),
        attention={name: _attention(_read_json(path), path) for name, path in attention.items() if path.exists()},
        examples=_read_json(examples) if examples.exists() else [],
        semantic_ids=_flat(run.get("semantic_ids") or {}),
        pattern=_pattern(run.get("pattern")),
        versions=_flat(run.get("versions") or {}),
        reasoner=run.get("reasoner", "a reasoner that the run does not name"),
        plotted=PLOTTED,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.partial")
        partial.write_text(page, encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise DataError(f"--report {out} cannot be written ({error.strerror or error}); name a place that can be") from None


def _methods(run: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One row per method: its metrics with intervals, its cost, and where its whiskers go on one scale with `ticks`."""
    rows = []
    for index, (name, made) in enumerate(run["methods"].items()):
        kept = load_user_metrics(folder / "ranks" / f"{name}-test.parquet")
        cells = {metric: bootstrap_mean(per_user(kept, metric), seed=0) for metric in METRICS}
        rows.append({"name": name, "colour": index % 8, "cells": cells, "made": made})
    scale = _Scale(0.0, max(row["cells"]["recall@10"].high for row in rows), 8, 192)
    for row in rows:
        row["whisker"] = {key: scale(getattr(row["cells"]["recall@10"], key)) for key in ("low", "mean", "high")}
    return {"methods": rows, "ticks": scale.ticks(4)}


def _differences(differences: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table for each metric, each with its own scale; the one that is open on the page comes first."""
    found = {one["metric"] for one in differences}
    order = sorted(found, key=lambda metric: (metric not in OPEN, OPEN.index(metric) if metric in OPEN else 0, metric))
    return [{"metric": metric, **_compared([one for one in differences if one["metric"] == metric])} for metric in order]


def _compared(differences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ends = [one[key] for one in differences for key in ("low", "high")]
    scale = _Scale(min([0.0, *ends]), max([0.0, *ends]), 8, 252)
    rows = []
    for one in differences:
        verdict = "above zero" if one["low"] > 0 else "below zero" if one["high"] < 0 else "includes zero"
        rows.append({**one, "verdict": verdict, "whisker": {key: scale(one[key]) for key in ("low", "mean", "high")}})
    return {"rows": rows, "zero": scale(0.0), "ticks": scale.ticks(4)}


def _curves(methods: Mapping[str, Any]) -> dict[str, Any]:
    """One chart of the validation metric for all methods, and a loss chart for each (their losses have different units)."""
    indexed = [(index % 8, name, made["curve"]) for index, (name, made) in enumerate(methods.items())]
    validation = [(colour, name, _points(curve, PLOTTED)) for colour, name, curve in indexed]
    losses = [[(colour, name, _points(curve, "loss"))] for colour, name, curve in indexed]
    return {
        "validation": _chart([one for one in validation if one[2]], 680, 270, from_zero=True),
        "losses": [_chart(one, 220, 130) for one in losses if len(one[0][2]) > 1],
    }


def _points(curve: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    found = [(float(entry["epoch"]), float(entry[key])) for entry in curve if entry.get(key) is not None]
    return [point for point in found if math.isfinite(point[1])]


def _chart(
    series: Sequence[tuple[int, str, list[tuple[float, float]]]], width: int, height: int, *, from_zero: bool = False
) -> Any:
    """The geometry of a line chart in SVG units, or None without a point: ticks, and one polyline per series."""
    xs = [x for _, _, points in series for x, _ in points]
    ys = [y for _, _, points in series for _, y in points]
    if not xs:
        return None
    left, bottom = 52, height - 26
    across = _Scale(min(xs), max(xs), left + 8, width - 12)
    levels = _tick_values(0.0 if from_zero else min(ys), max(ys), 4)
    up = _Scale(levels[0], levels[-1], bottom, 12)
    lines = []
    for colour, name, points in series:
        places = [(across(x), up(y)) for x, y in points]
        best = max(points, key=lambda point: point[1])
        last = (
            f"{name}: {_number(points[0][1])} at epoch {points[0][0]:.0f}, {_number(points[-1][1])} at epoch {points[-1][0]:.0f}"
        )
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append({"colour": colour, "name": name, "path": path, "places": places, "best": best, "told": last})
    box = {"left": left, "bottom": bottom, "width": width, "height": height}
    ticks = {"x": across.ticks(6 if width > 400 else 3, whole=True), "y": [(up(level), f"{level:.6g}") for level in levels]}
    return {**box, **ticks, "lines": lines, "told": "; ".join(line["told"] for line in lines)}


def _attention(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Bars of the mean attention on each step (the slot for nothing last) and of the mean gate of each layer."""
    steps, roles = list(found["attention_mean"]), [str(role) for role in found["roles"]]
    if len(steps) == len(roles) + 1:
        roles = [*roles, "nothing"]
    if len(steps) != len(roles):
        raise DataError(
            f"{path} has {len(steps)} attention_mean values for {len(roles)} roles; give one for each role and one for nothing"
        )
    gates = [(f"layer {layer}", value) for layer, value in enumerate(found["gate_mean"], 1)]
    return {"steps": _bars(list(zip(roles, steps, strict=True))), "gates": _bars(gates)}


def _bars(values: Sequence[tuple[str, Number]]) -> list[dict[str, Any]]:
    largest = max([1e-12, *(value for _, value in values)])
    return [{"label": label, "value": value, "width": 180 * max(0.0, value) / largest} for label, value in values]


def _pattern(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    rest = {key: value for key, value in found.items() if key != "steps"}
    return {"steps": [_step(step) for step in found.get("steps", ())], "rest": _flat(rest)}


def _step(step: Any) -> str:
    if not isinstance(step, Mapping):
        return str(step)
    inside = ", ".join(f"{key}={value}" for key, value in sorted(step.get("parameters", {}).items()))
    return f"{step['role']}({inside})" if inside else str(step["role"])


class _Scale:
    """Values in [low, high] to places in [start, end], linearly; a range without width lies in the middle."""

    def __init__(self, low: Number, high: Number, start: Number, end: Number) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: Number) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, count: int, *, whole: bool = False) -> list[tuple[float, str]]:
        slack = 1e-9 * (self.high - self.low)
        values = _tick_values(self.low, self.high, count, whole)
        return [(self(value), f"{value:.6g}") for value in values if self.low - slack <= value <= self.high + slack]


def _tick_values(low: Number, high: Number, count: int, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if high - low < 1e-6 * max(abs(low), abs(high)):
        low, high = low - 0.05 * abs(low), high + 0.05 * abs(high)
    return [float(value) for value in MaxNLocator(count, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Nested keys as `a / b`, with readable values."""
    rows = []
    for key, value in tree.items():
        name = f"{above} / {key}" if above else str(key)
        rows += _flat(value, name) if isinstance(value, Mapping) else [(name, _plain(value))]
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value)
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: Number) -> str:
    return f"{value:.4f}" if abs(value) < 100 else _thousands(value)


def _thousands(value: Number) -> str:
    return f"{value:,.0f}"


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); pass the folder of a finished run") from None
