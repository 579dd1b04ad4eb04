"""`python -m benchmarks inputs RUN...`: what the datasets hold, and how runs' semantic IDs turned
out, as one committed file.

Notebooks tell about the data from it, so that they need none. No text of a dataset is kept, only
counts.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS, dataset_of
from scoter.errors import DataError
from scoter.storage.run_files import RUN_FILE, run_at

FILE = "inputs.json"
COUNTED = (
    "users",
    "items",
    "interactions",
    "density",
    "history_length",
    "coverage",
    "last_two_same_day",
    "test_repeats",
)
KEPT = (
    "method",
    "source",
    "codebook_size",
    "codebook_sizes",
    "perplexity",
    "usage",
    "collision_rate",
    "largest_group",
)


def measure(runs: Sequence[Path] = (), results: Path = RESULTS) -> dict[str, Any]:
    """Write `inputs.json`: `datasets` for each public dataset that is found here, `semantic_ids` of
    the runs.

    Rows of datasets that are not found here, and of runs that are not named, stay as they were.

    Raises:
        DataError: a folder without a finished run that has semantic IDs.
    """
    path = Path(results) / FILE
    before = json.loads(path.read_text()) if path.exists() else {"datasets": [], "semantic_ids": []}
    datasets = {row["dataset"]: row for row in [*before["datasets"], *_described()]}
    ids = {
        (row["dataset"], row["run"]): row for row in [*before["semantic_ids"], *map(_ids_of, runs)]
    }
    found = {
        "datasets": [datasets[name] for name in sorted(datasets)],
        "semantic_ids": [ids[key] for key in sorted(ids)],
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return found


def _described() -> list[dict[str, Any]]:
    from scoter.config import DataConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.describe import describe
    from scoter.data.split import leave_one_out
    from scoter.experiments import REAL_DATASETS

    rows = []
    for name in REAL_DATASETS:
        try:
            found = open_dataset(DataConfig(name))
        except DataError:
            continue
        told = describe(found.log, found.catalog, leave_one_out(found.log), samples=0)
        rows.append({"dataset": name, **{key: told[key] for key in COUNTED}})
    return rows


def _ids_of(run: Path) -> dict[str, Any]:
    found = run_at(Path(run))
    told = json.loads((found.path / RUN_FILE).read_text())
    if not told.get("semantic_ids"):
        raise DataError(f"{run} has no semantic IDs; name a run with a TIGER")
    about = {
        "dataset": dataset_of(told),
        "run": found.key,
        "commit": told["commit"],
        "seed": told["seed"],
    }
    return {
        **about,
        "items": told["items"],
        **{name: told["semantic_ids"].get(name) for name in KEPT},
    }
