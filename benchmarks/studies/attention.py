"""Mean gate and attention of finished runs by step, with 95 % intervals over the test users.

A run keeps one gate and one attention vector for each test user in its store, which is not
committed. `results/attention.json` keeps their means for each step and for the null slot, so that
figures need no store.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS, dataset_of
from benchmarks.tables.table import interval
from scoter.errors import DataError
from scoter.evaluation.significance import bootstrap_mean
from scoter.storage.run_files import RUN_FILE, run_at

FILE = "attention.json"


def measure(runs: Sequence[Path], results: Path = RESULTS) -> list[Row]:
    """Add the runs to `attention.json`, in place of earlier rows of equal dataset, method and seed.

    In a row `kind` is attention or gate, `slot` a step's label, "nothing" or "gate", and `place`
    its index in the chain.
    """
    path = Path(results) / FILE
    rows = study.read(path, {"rows": []})["rows"]
    for run in runs:
        made = list(_rows_of(run))
        rows = study.merged(rows, made, ("dataset", "method", "seed"), ("kind", "place"))
    about = {"unit": "share of 1", "interval": "95 % bootstrap over test users"}
    study.write(path, {**about, "rows": rows})
    return rows


def _rows_of(folder: Path) -> Iterator[Row]:
    artefact = run_at(folder)
    run = json.loads((folder / RUN_FILE).read_text())
    if run["commit"].endswith("+dirty"):
        raise DataError(f"{folder} comes from uncommitted changes; commit and run again")
    paths = sorted((folder / "attention").glob("*.safetensors"))
    if not paths:
        raise DataError(f"{folder}: no method of it reads chains, so it has no attention")
    about = {"dataset": dataset_of(run), "seed": run["seed"], "commit": run["commit"]}
    for path in paths:
        slots = json.loads(path.with_suffix(".json").read_text())["roles"]
        values = load_file(path)
        columns = [("gate", "gate", 0, values["gate"])]
        for place, slot in enumerate(slots):
            columns.append(("attention", slot, place, values["attention"][:, place]))
        for kind, slot, place, column in columns:
            row = {**about, "run": artefact.key, "method": path.stem, "kind": kind, "slot": slot}
            mean = asdict(bootstrap_mean(column.astype(np.float64), seed=0))
            yield {**row, "place": place, **mean, "users": len(column)}


@click.command()
@study.runs_argument
@study.results_option
def command(runs: tuple[Path, ...], results: Path) -> None:
    for row in measure(runs, results):
        slot = "{dataset}, {method}, seed {seed}, {kind} {slot}".format(**row)
        click.echo(f"{slot}: {interval(row, '')}")
