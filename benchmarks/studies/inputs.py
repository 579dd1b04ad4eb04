"""What the public datasets hold, and how the semantic IDs of finished runs turned out.

`results/inputs.json` holds counts only and no text of a dataset, so that notebooks can describe the
data without them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS, dataset_of
from scoter.config import DataConfig
from scoter.data.datasets import open_dataset
from scoter.data.describe import describe
from scoter.data.split import leave_one_out
from scoter.errors import DataError
from scoter.experiments import REAL_DATASETS
from scoter.storage.run_files import RUN_FILE, run_at

FILE = "inputs.json"
COUNTED = ("users", "items", "interactions", "density", "history_length", "coverage")
COUNTED += ("last_two_same_day", "test_repeats")
KEPT = ("method", "source", "codebook_size", "codebook_sizes", "perplexity", "usage")
KEPT += ("collision_rate", "largest_group")


def measure(runs: Sequence[Path] = (), results: Path = RESULTS) -> Row:
    """Write `inputs.json`: `datasets` for those that are found here, `semantic_ids` of the runs.

    Rows of other datasets and runs stay as they were.
    """
    path = Path(results) / FILE
    kept = study.read(path, {"datasets": [], "semantic_ids": []})
    kept["datasets"] = study.merged(kept["datasets"], _described(), ["dataset"])
    for run in runs:
        made = [_semantic_ids(Path(run))]
        kept["semantic_ids"] = study.merged(kept["semantic_ids"], made, ("dataset", "run"))
    study.write(path, kept)
    return kept


def _described() -> list[Row]:
    rows = []
    for name in REAL_DATASETS:
        try:
            data = open_dataset(DataConfig(name))
        except DataError:
            continue
        counts = describe(data.log, data.catalog, leave_one_out(data.log), samples=0)
        rows.append({"dataset": name, **{key: counts[key] for key in COUNTED}})
    return rows


def _semantic_ids(folder: Path) -> Row:
    artefact = run_at(folder)
    run = json.loads((artefact.path / RUN_FILE).read_text())
    if not (ids := run.get("semantic_ids")):
        raise DataError(f"{folder} has no semantic IDs; name a run with a TIGER")
    about = {"dataset": dataset_of(run), "run": artefact.key, "commit": run["commit"]}
    about |= {"seed": run["seed"], "items": run["items"]}
    return {**about, **{name: ids.get(name) for name in KEPT}}


@click.command()
@click.argument("runs", nargs=-1, type=study.PATH)
@study.results_option
def command(runs: tuple[Path, ...], results: Path) -> None:
    kept = measure(runs, results)
    for row in kept["datasets"]:
        counts = "{users:,} users, {items:,} items, {interactions:,} interactions".format(**row)
        click.echo(f"{row['dataset']}: {counts}")
    for row in kept["semantic_ids"]:
        ids = "semantic IDs of {dataset}, seed {seed}: {codebook_sizes}, from {source}"
        click.echo(ids.format(**row))
