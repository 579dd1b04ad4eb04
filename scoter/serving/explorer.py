"""Test users to look at: what each method recommended them, and for methods that read a chain what
each step contributed.

A stage of its own, made when a report asks for it: nothing that a table shows depends on it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.serving.explanation import contributions
from scoter.serving.questions import Question
from scoter.serving.service import is_served, run_service
from scoter.stages.data import open_data
from scoter.stages.finished import FinishedMethod, FinishedRun
from scoter.stages.networks import open_rankings
from scoter.stages.summary import evenly, examples, measured_rankings
from scoter.storage.arrays import load_arrays
from scoter.storage.store import Artefact, Store
from scoter.types import Rankings

SHOWN = 60
ITEMS = 10


def explore(store: Store, run: Artefact, into: Store | None = None) -> Artefact:
    """`explorer.json`: for at most `SHOWN` evenly spaced test users what `scoter.report.shoppers`
    describes.

    The lists are those that were measured; a step's contribution to an item is its exact score
    minus that with the step hidden (`scoter.serving.explanation`), from the chain that the method
    read in the test. The artefact is put `into` another store where this one cannot be written.

    Raises:
        StoreError: an artefact that the run was made from is no longer in the store.
    """
    finished = FinishedRun(store, run)
    context = finished.context
    data, chains = finished.made_from("prepare"), finished.if_made("chains")
    methods = context.experiment.methods
    trained = {name: finished.method(name).weights for name in methods}

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        rows = np.array(evenly(len(split.targets("test")), SHOWN))
        ranked = measured_rankings(store, run)
        rankings = {name: open_rankings(ranked[name], "test") for name in methods}
        shown = examples(rankings, split, catalog, chains, rows.tolist())
        truth = split.targets("test").items[rows]
        for name, found in rankings.items():
            for entry, row, item in zip(shown, rows, truth, strict=True):
                for place, listed in enumerate(entry["recommendations"][name]):
                    listed["truth"] = bool(found.items[row, place] == item)
        for name, method in methods.items():
            if method.fusion is not None and is_served(method):
                _explain(finished.method(name), rankings[name], rows, shown)
        (out / "explorer.json").write_text(json.dumps(shown))

    context = replace(context, store=into or store)
    return context.stage(
        "explorer", {"shown": SHOWN, "items": ITEMS}, [run, *trained.values()], build
    )


def _explain(
    method: FinishedMethod,
    rankings: Rankings,
    rows: Int[np.ndarray, " rows"],
    shown: Sequence[dict[str, Any]],
) -> None:
    """Add to the entries in `shown` what the method read and what each step did for its items and
    for the truth."""
    name, run, split = method.name, method.run.artefact, method.run.split
    service = run_service(method)
    assert service.pattern is not None
    _, reader, _ = method.untrained()
    histories, targets = split.histories("test").select(rows), split.targets("test")
    items = np.concatenate([rankings.items[rows, :ITEMS], targets.items[rows, None]], axis=1)
    question = Question([str(row) for row in rows], histories, reader)
    parts = contributions(service, question, items).round(4)
    readings = load_arrays(run.file(f"attention/{name}.safetensors"))
    slots = json.loads(run.file(f"attention/{name}.json").read_text())["roles"]
    labels = [step.label() for step in service.pattern.steps]
    for number, (entry, row) in enumerate(zip(shown, rows, strict=True)):
        for place, item in enumerate(entry["recommendations"][name]):
            item["contributions"] = parts[number, :, place].tolist()
        at = np.flatnonzero(rankings.items[row] == targets.items[row])
        entry.setdefault("read", {})[name] = {
            "gate": float(readings["gate"][row]),
            "attention": dict(
                zip(slots, readings["attention"][row].astype(float).round(4).tolist(), strict=True)
            ),
            "steps": labels,
            "truth": parts[number, :, -1].tolist(),
            "rank": int(at[0]) + 1 if len(at) else None,
        }
