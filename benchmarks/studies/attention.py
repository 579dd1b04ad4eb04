"""`python -m benchmarks attention RUN...`: what finished runs read of their chains, as one small
committed file.

A run keeps one gate and one attention vector for each test user in its store, which is not
committed. Kept here are their means over users with 95 % intervals, for each step (and the slot for
nothing), so that a figure needs no store.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS, dataset_of
from scoter.errors import DataError
from scoter.evaluation.significance import bootstrap_mean
from scoter.storage.run_files import RUN_FILE, run_at

FILE = "attention.json"


def summarise(runs: Sequence[Path], results: Path = RESULTS) -> list[dict[str, Any]]:
    """Add the runs' rows to `attention.json`, where the last run of a dataset, method and seed
    stands; return all rows.

    A row has dataset, method, seed, run, commit, `kind` (attention or gate), `slot` (a step's
    label, "nothing", or "gate"), `place` (0, 1, ... in the chain's order) and mean, low, high over
    the test users.

    Raises:
        DataError: a folder without a finished run, or a run none of whose methods reads chains.
    """
    path = Path(results) / FILE
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    groups = {
        key: found
        for run in [None, *runs]
        for key, found in _grouped(before if run is None else _of_run(run)).items()
    }
    order = ("dataset", "method", "seed", "kind", "place")
    merged = sorted(
        (row for found in groups.values() for row in found),
        key=lambda row: tuple(row[name] for name in order),
    )
    about = {"unit": "share of 1", "interval": "95 % bootstrap over test users", "rows": merged}
    path.with_suffix(".partial").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    os.replace(path.with_suffix(".partial"), path)
    return merged


def _grouped(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["method"], row["seed"]), []).append(row)
    return groups


def _of_run(folder: Path) -> list[dict[str, Any]]:
    from safetensors.numpy import load_file

    artefact = run_at(folder)
    run = json.loads((folder / RUN_FILE).read_text())
    if run["commit"].endswith("+dirty"):
        raise DataError(
            f"{folder} was made from uncommitted changes ({run['commit']}); commit them and run "
            f"again"
        )
    found = (
        sorted((folder / "attention").glob("*.safetensors"))
        if (folder / "attention").exists()
        else []
    )
    if not found:
        raise DataError(
            f"{folder}: no method of it reads chains, so it has no gate and no attention"
        )
    shared = {"dataset": dataset_of(run), "seed": run["seed"], "commit": run["commit"]}
    shared["run"] = artefact.key
    rows = []
    for path in found:
        slots = json.loads(path.with_suffix(".json").read_text())["roles"]
        values = load_file(path)
        columns = [("gate", "gate", 0, values["gate"])]
        columns += [
            ("attention", slot, place, values["attention"][:, place])
            for place, slot in enumerate(slots)
        ]
        for kind, slot, place, column in columns:
            mean = bootstrap_mean(column.astype(np.float64), seed=0)
            row = {**shared, "method": path.stem, "kind": kind, "slot": slot, "place": place}
            rows.append(
                {**row, "mean": mean.mean, "low": mean.low, "high": mean.high, "users": len(column)}
            )
    return rows
