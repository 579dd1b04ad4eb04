"""Which cells of the suite the results hold already, and what the others will cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.cells import Cell, experiment_of
from benchmarks.suite.collect import gpu_of, load_rows
from benchmarks.suite.recipes import (
    differences,
    mixes_scores,
    reads_chains,
    recipe_of,
    stored_recipe,
)
from scoter.data.sources import REGISTRY, locate

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """A cell with its state: `done`, `missing` or `older recipe` (which is missing too); `why`
    names what differs.

    `cpu_hours` is a forecast for what is missing, and None where no earlier cell of its kind tells.
    """

    cell: Cell
    state: str
    why: str = ""
    cpu_hours: float | None = None

    @property
    def done(self) -> bool:
        return self.state == "done"


def plan(cells: Sequence[Cell], results: Path, data: Path | None = None) -> list[Planned]:
    """The state of each cell against the collected results, in the order given."""
    rows = load_rows(results) if (results / "main.parquet").exists() else []
    stored = {(row["dataset"], row["method"], row["seed"]): row for row in rows}
    found = []
    for cell in cells:
        row = stored.get((cell.table, cell.method, cell.seed))
        differs = (
            []
            if row is None
            else differences(recipe_of(cell), stored_recipe(json.loads(row["config"])))
        )
        if row is not None and not differs:
            found.append(Planned(cell, "done"))
            continue
        state = "missing" if row is None else "older recipe"
        found.append(
            Planned(
                cell, state, "; ".join(differs[:3]), forecast(cell, list(stored.values()), data)
            )
        )
    return found


def forecast(cell: Cell, rows: Sequence[Row], data: Path | None = None) -> float | None:
    """CPU-hours of training a cell: those of one target and epoch in earlier cells of its kind,
    times its targets and epochs.

    Cells that a GPU trained tell nothing of that. Of the others, those of the same recipe come
    first, then those of the same method, then those of the same model, with chains or without as it
    is, then of the same model at all. Take it within a factor of 1.5: a busy machine and early
    stopping move it.
    """
    if cell.own:
        return None
    method = experiment_of(cell).methods[cell.method]
    if method.model.kind == "popularity" or method.mixed_scores:
        return 0.0  # mixed scores are those of a recommender that TIGER's cell trains
    recipe, rates = recipe_of(cell), {"recipe": [], "method": [], "kind": [], "model": []}
    for row in rows:
        config, targets = json.loads(row["config"]), training_targets(row["dataset"])
        if gpu_of(row) or targets is None or not row["epochs"] or not np.isfinite(row["cpu_hours"]):
            continue
        rate = row["cpu_hours"] / row["epochs"] / targets
        alike = config.get("model", {}).get("kind") == method.model.kind
        if alike:
            rates["model"].append(rate)
        reads = reads_chains(config) or mixes_scores(config)
        if alike and reads == (method.fusion is not None):
            rates["kind"].append(rate)
        if alike and row["method"] == cell.method:
            rates["method"].append(rate)
            if not differences(recipe, stored_recipe(config)):
                rates["recipe"].append(rate)
    best = next((found for found in rates.values() if found), None)
    targets = training_targets(cell.dataset, data)
    return (
        None
        if best is None or targets is None
        else float(np.mean(best)) * method.training.epochs * targets
    )


@lru_cache(maxsize=32)
def training_targets(dataset: str, data: Path | None = None) -> int | None:
    """How many training items of a dataset follow another one; None for a dataset that is not at
    hand."""
    name = next(
        (known for known in REGISTRY if dataset == known or dataset.startswith(f"{known}-quarter")),
        None,
    )
    if name is not None:
        return REGISTRY[name].counts.interactions - 3 * REGISTRY[name].counts.users
    if data is None:
        return None
    from scoter.data.prepared import load_prepared
    from scoter.data.split import leave_one_out

    folder = locate(dataset, data)
    return (
        None
        if folder is None
        else int(np.maximum(leave_one_out(load_prepared(folder)[0]).train.lengths - 1, 0).sum())
    )
