"""The report of a finished run, from its files alone; intervals are computed from its ranks."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import SHOWN, per_user
from scoter.evaluation.significance import Estimate, bootstrap_mean
from scoter.report.charts import Bars, bars, colour, line_chart, verdict, whiskers
from scoter.report.page import Number, flat, write_page
from scoter.report.pattern import described, in_brief
from scoter.storage.run_files import NEEDED, Difference, MethodOutcome, RunOutcome
from scoter.storage.untrusted import parse_json

PLOTTED = "ndcg@10"
OPEN = ("recall@10", "ndcg@10")
SHOWN_STEPS = 10  # of a chain, where what each contributed stands side by side


def write_report(
    run_folder: Path, out: Path, explored: Path | None = None, picture: Path | None = None
) -> None:
    """Write the report of the run in `run_folder` to `out`.

    Args:
        explored: an `explorer.json` of `scoter.serving.explorer`, with more users and what each
            step contributed; by default the run's own few examples.
        picture: the `picture.svg` of the discovery that mined the pattern.
    """
    run = _read_json(run_folder / "run.json")
    if absent := [key for key in NEEDED if key not in run]:
        lacks = f"{run_folder / 'run.json'} has no {', '.join(absent)}"
        raise DataError(f"{lacks}; make the run again with this version")
    run["run"] = _read_json(run_folder / "manifest.json")["key"]
    examples = explored or run_folder / "examples.json"
    attention = {name: run_folder / "attention" / f"{name}.json" for name in run["methods"]}
    readings = {name: _attention(path) for name, path in attention.items() if path.exists()}
    write_page(
        out,
        "run.html",
        run=run,
        metrics=SHOWN,
        methods=_methods(run, run_folder),
        differences=_differences(run["differences"]),
        curves=_curves(run["methods"]),
        attention=readings,
        shoppers=shoppers(_read_json(examples)) if examples.exists() else [],
        semantic_ids=flat(run.get("semantic_ids") or {}),
        pattern=described(run.get("pattern"), picture),
        versions=flat(run.get("versions") or {}),
        reasoner=run.get("reasoner") or "a reasoner that the run does not name",
        plotted=PLOTTED,
    )


def shoppers(entries: Sequence[Mapping]) -> list[dict[str, object]]:
    """Users of an explorer (`scoter.serving.explorer`), or of a run's few examples.

    `found_by` names the methods that recommended what came next; the first user whom only a method
    with a chain served `opens` the page.

    >>> listed = [{"title": "soap", "score": -1.0}, {"title": "comb", "score": -2.0}]
    >>> entry = {"user": "u7", "history": ["gel"], "steps": [], "truth": "comb"}
    >>> (user,) = shoppers([entry | {"recommendations": {"tiger": listed, "scoter": []}}])
    >>> user["found_by"], [item["truth"] for item in user["recommendations"]["tiger"]]
    (['tiger'], [False, True])
    """
    users = [_shopper(entry) for entry in entries]
    helped = [user for user in users if user["found_by"] and all(map(_reads, user["found_by"]))]
    return [{**user, "opens": user is next(iter(helped), users[0])} for user in users]


def _reads(method: str) -> bool:
    return "scoter" in method


def _shopper(entry: Mapping) -> dict[str, Any]:
    plain, truth = {"contributions": None}, entry["truth"]
    lists = {
        method: [{"truth": item["title"] == truth, **plain, **item} for item in items]
        for method, items in entry["recommendations"].items()
    }
    read = {name: _scaled(part, lists[name]) for name, part in entry.get("read", {}).items()}
    found_by = [name for name, items in lists.items() if any(item["truth"] for item in items)]
    names = in_brief([step["role"] for step in entry["steps"]])
    steps = [{**step, "role": name} for step, name in zip(entry["steps"], names, strict=True)]
    return {**entry, "steps": steps, "recommendations": lists, "read": read, "found_by": found_by}


def _scaled(read: Mapping, items: Sequence[dict[str, Any]]) -> dict[str, object]:
    """The same in words, with the steps that changed most; `largest` is what the longest bar means.

    The contributions of `items` are cut to these steps.
    """
    rows = [item["contributions"] for item in items if item["contributions"]]
    rows += [read["truth"]] if read["truth"] else []
    sizes = [max(map(abs, column)) for column in zip(*rows, strict=True)]
    first = sorted(range(len(sizes)), key=lambda step: -sizes[step])[:SHOWN_STEPS]
    for item in items:
        item["contributions"] = _at(item["contributions"], sorted(first))
    attention = zip(in_brief(list(read["attention"])), read["attention"].values(), strict=True)
    return {
        **read,
        "truth": _at(read["truth"], sorted(first)),
        "attention": sorted(attention, key=lambda pair: -pair[1])[:SHOWN_STEPS],
        "steps": _at(in_brief(read["steps"]), sorted(first)),
        "all": len(read["steps"]),
        "largest": max([1e-9, *sizes]),
    }


def _at(values: Sequence[Any] | None, places: Sequence[int]) -> list[Any] | None:
    return None if values is None else [values[place] for place in places]


def _methods(run: RunOutcome, folder: Path) -> dict[str, object]:
    """One row per method: its metrics with intervals and its cost; and where its whiskers go."""
    rows = []
    for name, made in run["methods"].items():
        ranks = load_user_metrics(folder / "ranks" / f"{name}-test.parquet")
        cells = {metric: bootstrap_mean(per_user(ranks, metric), seed=0) for metric in SHOWN}
        rows.append({"name": name, "colour": colour(name), "about": "", "made": made})
        rows[-1] |= {"cells": cells, "more": []}
    return {"rows": rows, "whiskers": whiskers([row["cells"]["recall@10"] for row in rows], 200)}


def _differences(differences: Sequence[Difference]) -> list[dict[str, object]]:
    """One table for each metric, on its own scale; the metric that is open on the page is first."""
    tables: dict[str, list[Difference]] = {}
    for row in differences:
        tables.setdefault(row["metric"], []).append(row)
    order = [*OPEN, *sorted(tables.keys() - set(OPEN))]
    return [compared(metric, tables[metric]) for metric in order if metric in tables]


def compared(metric: str, differences: Sequence[Mapping]) -> dict[str, object]:
    """The table of differences in one metric, with corrected `p` where they were tested."""
    intervals = [Estimate(row["mean"], row["low"], row["high"]) for row in differences]
    pairs = zip(differences, intervals, strict=True)
    rows = [{**row, "verdict": verdict(interval)} for row, interval in pairs]
    tested = any("p" in row for row in differences)
    return {"metric": metric, "rows": rows, "whiskers": whiskers(intervals, 260), "tested": tested}


def _curves(methods: Mapping[str, MethodOutcome]) -> dict[str, object]:
    """One chart of the validation metric; a loss chart per method, as losses differ in unit."""
    named = [(colour(name), name, made["curve"]) for name, made in methods.items()]
    validation = [(colour, name, _points(curve, PLOTTED)) for colour, name, curve in named]
    losses = [(colour, name, _points(curve, "loss")) for colour, name, curve in named]
    shown = [series for series in validation if series[2]]
    return {
        "validation": line_chart(shown, 680, 270, from_zero=True),
        "losses": [line_chart([one], 220, 130) for one in losses if len(one[2]) > 1],
    }


def _points(curve: Sequence[Mapping[str, Number | None]], key: str) -> list[tuple[float, float]]:
    known = ((entry["epoch"], entry.get(key)) for entry in curve)
    points = [(float(x), float(y)) for x, y in known if x is not None and y is not None]
    return [point for point in points if math.isfinite(point[1])]


def _attention(path: Path) -> dict[str, Bars]:
    """The mean attention on each step (the empty slot last) and the mean gate of each layer."""
    read = _read_json(path)
    steps, roles = list(read["attention_mean"]), in_brief([str(role) for role in read["roles"]])
    if len(steps) == len(roles) + 1:
        roles = [*roles, "nothing"]
    if len(steps) != len(roles):
        counts = f"{path} has {len(steps)} attention_mean values for {len(roles)} roles"
        raise DataError(f"{counts}; give one for each role and one for nothing")
    gates = [(f"layer {layer}", value) for layer, value in enumerate(read["gate_mean"], 1)]
    return {"steps": bars(list(zip(roles, steps, strict=True))), "gates": bars(gates, highest=1.0)}


def _read_json(path: Path):
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read ({error}); pass the folder of a finished run"
        raise DataError(message) from None
