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
    """A cell with its state."""

    cell: Cell
    state: str  # "done", "missing" or "older recipe", which is missing too
    why: str = ""  # what differs from today's recipe
    cpu_hours: float | None = None  # forecast of what is missing; None: no earlier cell is like it

    @property
    def done(self) -> bool:
        return self.state == "done"


def plan(cells: Sequence[Cell], results: Path, data: Path | None = None) -> list[Planned]:
    """The state of each cell against the collected results, in the order given."""
    rows = load_rows(results) if (results / "main.parquet").exists() else []
    stored = {(row["dataset"], row["method"], row["seed"]): row for row in rows}
    planned = []
    for cell in cells:
        row = stored.get((cell.table, cell.method, cell.seed))
        state, differs = "missing", []
        if row is not None:
            differs = differences(recipe_of(cell), stored_recipe(json.loads(row["config"])))
            state = "older recipe" if differs else "done"
        hours = None if state == "done" else forecast(cell, list(stored.values()), data)
        planned.append(Planned(cell, state, "; ".join(differs[:3]), hours))
    return planned


def forecast(cell: Cell, rows: Sequence[Row], data: Path | None = None) -> float | None:
    """CPU-hours of training a cell: per target and epoch of earlier cells like it, times its own.

    Cells trained on a GPU are left out. Of the others, those of the same recipe come first, then
    those of the same method, then those of the same model and use of chains, then all of the same
    model. A busy machine and early stopping change it by up to a factor of 1.5.
    """
    if cell.own:
        return None
    method = experiment_of(cell).methods[cell.method]
    if method.mixed_scores or not method.model.dim:
        return 0.0  # mixed scores use a recommender that is trained already; counting takes minutes
    recipe = recipe_of(cell)
    rates: list[list[float]] = [[], [], [], []]  # alike in recipe, else method, chains or model
    for row in rows:
        config, targets = json.loads(row["config"]), training_targets(row["dataset"])
        if gpu_of(row) or targets is None or not row["epochs"] or not np.isfinite(row["cpu_hours"]):
            continue
        if config.get("model", {}).get("kind") != method.model.kind:
            continue
        same_method = row["method"] == cell.method
        alike = (
            same_method and not differences(recipe, stored_recipe(config)),
            same_method,
            (reads_chains(config) or mixes_scores(config)) == (method.fusion is not None),
            True,
        )
        rates[alike.index(True)].append(row["cpu_hours"] / row["epochs"] / targets)
    targets, best = training_targets(cell.dataset, data), next(filter(None, rates), None)
    if best is None or targets is None:
        return None
    return float(np.mean(best)) * method.training.epochs * targets


@lru_cache(maxsize=32)
def training_targets(dataset: str, data: Path | None = None) -> int | None:
    """The number of training items that follow another one; None for a dataset not at hand."""
    for name, known in REGISTRY.items():
        if dataset == name or dataset.startswith(f"{name}-quarter"):
            return known.counts.interactions - 3 * known.counts.users
    folder = None if data is None else locate(dataset, data)
    if folder is None:
        return None
    from scoter.data.prepared import load_prepared
    from scoter.data.split import leave_one_out

    lengths = leave_one_out(load_prepared(folder)[0]).train.lengths
    return int(np.maximum(lengths - 1, 0).sum())
