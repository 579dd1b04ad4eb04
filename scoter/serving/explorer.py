"""Test users for the report: what each method recommends, and what each step contributes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from scoter.serving.explanation import contributions
from scoter.stages.data import open_data
from scoter.stages.finished import FinishedMethod, FinishedRun
from scoter.stages.networks import open_rankings
from scoter.stages.summary import Example, evenly, examples, measured_rankings
from scoter.storage.arrays import load_arrays
from scoter.storage.store import Artefact, Store
from scoter.types import Rankings

SHOWN = 60  # evenly spaced test users
ITEMS = 10  # items of each list


def explore(store: Store, run: Artefact, into: Store | None = None) -> Artefact:
    """`explorer.json`, which `scoter.report.run_report` shows, for at most `SHOWN` test users.

    The lists are the measured ones; contributions are those of `scoter.serving.explanation`, for
    the chain that the method read in the test. `into` is another store that takes the artefact.
    """
    finished = FinishedRun(store, run)
    context = finished.context
    data, chains = finished.made_from("prepare"), finished.if_made("chains")
    methods = {name: finished.method(name) for name in context.experiment.methods}
    trained = [method.weights for method in methods.values()]

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        rows = np.array(evenly(len(split.targets("test")), SHOWN))
        ranked = measured_rankings(store, run)
        rankings = {name: open_rankings(ranked[name], "test") for name in methods}
        shown = examples(rankings, split, catalog, chains, rows.tolist())
        truth = split.targets("test").items[rows]
        for name, lists in rankings.items():
            for example, row, item in zip(shown, rows, truth, strict=True):
                for place, listed in enumerate(example["recommendations"][name]):
                    listed["truth"] = bool(lists.items[row, place] == item)
        for name, method in methods.items():
            if method.config.fusion is not None and method.answers:
                _explain(method, rankings[name], rows, shown)
        (out / "explorer.json").write_text(json.dumps(shown))

    context = replace(context, store=into or store)
    recipe = {"shown": SHOWN, "items": ITEMS}
    return context.stage("explorer", recipe, [run, *trained], build)


def _explain(
    method: FinishedMethod,
    rankings: Rankings,
    rows: Int[np.ndarray, " rows"],
    shown: Sequence[Example],
) -> None:
    """Add what the method read, and what each step did for its items and for the truth."""
    name, run, split = method.name, method.run.artefact, method.run.split
    network, steps, table = method.trained()
    assert steps is not None
    assert table is not None
    network.precision = "fp32"  # as answers are computed
    histories, targets = split.histories("test").select(rows), split.targets("test")
    items = np.concatenate([rankings.items[rows, :ITEMS], targets.items[rows, None]], axis=1)
    parts = contributions(network, histories, items, steps, table.step_count + 1).round(4)
    readings = load_arrays(run.file(f"attention/{name}.safetensors"))
    slots = json.loads(run.file(f"attention/{name}.json").read_text())["roles"]
    for number, (example, row) in enumerate(zip(shown, rows, strict=True)):
        for place, item in enumerate(example["recommendations"][name]):
            item["contributions"] = parts[number, :, place].tolist()
        at = np.flatnonzero(rankings.items[row] == targets.items[row])
        attention = readings["attention"][row].astype(float).round(4).tolist()
        example.setdefault("read", {})[name] = {
            "gate": float(readings["gate"][row]),
            "attention": dict(zip(slots, attention, strict=True)),
            "steps": [step.label() for step in table.pattern.steps],
            "truth": parts[number, :, -1].tolist(),
            "rank": int(at[0]) + 1 if len(at) else None,
        }
