"""Which cells of the suite the results hold already, and what the others will cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.collect import load_rows
from benchmarks.own_method import own_config
from benchmarks.suite import Cell, experiment_of
from scoter.config import DiscoverConfig, MethodConfig, SemanticIdConfig, from_json, to_json
from scoter.data.sources import REGISTRY, locate
from scoter.errors import ConfigError

Row = Mapping[str, Any]
_KINDS = {"method": MethodConfig, "semantic_ids": SemanticIdConfig, "discover": DiscoverConfig}


@dataclass(frozen=True)
class Planned:
    """A cell with its state: `done`, `missing` or `older recipe` (which is missing too); `why` names what differs.

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
        differs = [] if row is None else differences(recipe_of(cell), stored_recipe(json.loads(row["config"])))
        if row is not None and not differs:
            found.append(Planned(cell, "done"))
            continue
        state = "missing" if row is None else "older recipe"
        found.append(Planned(cell, state, "; ".join(differs[:3]), forecast(cell, list(stored.values()), data)))
    return found


def recipe_of(cell: Cell) -> dict[str, Any]:
    """What a cell's numbers depend on besides data and seed: method, and semantic IDs and discovery where it uses them."""
    if cell.own:
        return own_config(cell.own)
    experiment = experiment_of(cell)
    method = experiment.methods[cell.method]
    parts = {"method": method}
    parts |= {"semantic_ids": experiment.semantic_ids} if method.model.kind == "tiger" else {}
    parts |= {"discover": experiment.discover} if method.fusion is not None else {}
    return {name: json.loads(to_json(part)) for name, part in parts.items()}


def stored_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a collected row. Options that came later have their defaults, which leave every number as it was."""
    if config.get("model", {}).get("kind") == "own":
        return dict(config)
    parts = {"method": {name: config.get(name) for name in ("model", "training", "fusion")}}
    parts |= {name: config[name] for name in ("semantic_ids", "discover") if config.get(name)}
    try:
        return {name: json.loads(to_json(from_json(json.dumps(part), _KINDS[name]))) for name, part in parts.items()}
    except ConfigError:  # an option that is gone: whatever it meant, it is not today's recipe
        return parts


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any], place: str = "") -> list[str]:
    """One line per value that is not what is wanted: `method.training.epochs 20, now 30`.

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
        ['a.c was 3, now 2']
    """
    lines = []
    for name in sorted({*wanted, *found}):
        now, was = wanted.get(name), found.get(name)
        if isinstance(now, Mapping) and isinstance(was, Mapping):
            lines += differences(now, was, f"{place}{name}.")
        elif now != was:
            brief = ["not kept" if value is None else "other" if isinstance(value, Mapping) else value for value in (was, now)]
            lines.append(f"{place}{name} was {brief[0]}, now {brief[1]}")
    return lines


def forecast(cell: Cell, rows: Sequence[Row], data: Path | None = None) -> float | None:
    """CPU-hours of training a cell: those of one target and epoch in earlier cells of its kind, times its targets and epochs.

    Earlier cells of the same recipe come first, then those of the same method, then those of the same model, with chains or
    without as it is, then of the same model at all. Take it within a factor of 1.5: a busy machine and early stopping move it.
    """
    if cell.own:
        return None
    method = experiment_of(cell).methods[cell.method]
    if method.model.kind == "popularity":
        return 0.0
    recipe, rates = recipe_of(cell), {"recipe": [], "method": [], "kind": [], "model": []}
    for row in rows:
        config, targets = json.loads(row["config"]), training_targets(row["dataset"])
        if targets is None or not row["epochs"] or not np.isfinite(row["cpu_hours"]):
            continue
        rate = row["cpu_hours"] / row["epochs"] / targets
        alike = config.get("model", {}).get("kind") == method.model.kind
        if alike:
            rates["model"].append(rate)
        if alike and (config.get("fusion") is None) == (method.fusion is None):
            rates["kind"].append(rate)
        if alike and row["method"] == cell.method:
            rates["method"].append(rate)
            if not differences(recipe, stored_recipe(config)):
                rates["recipe"].append(rate)
    best = next((found for found in rates.values() if found), None)
    targets = training_targets(cell.dataset, data)
    return None if best is None or targets is None else float(np.mean(best)) * method.training.epochs * targets


@lru_cache(maxsize=32)
def training_targets(dataset: str, data: Path | None = None) -> int | None:
    """How many training items of a dataset follow another one; None for a dataset that is not at hand."""
    name = next((known for known in REGISTRY if dataset == known or dataset.startswith(f"{known}-quarter")), None)
    if name is not None:
        return REGISTRY[name].counts.interactions - 3 * REGISTRY[name].counts.users
    if data is None:
        return None
    from scoter.data.prepared import load_prepared
    from scoter.data.split import leave_one_out

    folder = locate(dataset, data)
    return None if folder is None else int(np.maximum(leave_one_out(load_prepared(folder)[0]).train.lengths - 1, 0).sum())
