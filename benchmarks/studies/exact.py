"""How far a trained TIGER's beam search is from the truth: its exact top ten over the whole
catalogue, for a sample of users.

`results/exact.json` holds one row for each dataset, method, seed and beam width. Measuring a method
again replaces its rows.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.stages.finished import FinishedRun
from scoter.storage.store import git_commit

KEY = ("dataset", "method", "seed", "beams")


def measure(
    run: Path,
    method: str = "tiger",
    users: int = 100,
    sample_seed: int = 0,
    results: Path = RESULTS,
) -> list[dict[str, Any]]:
    """Measure one method of a finished run's folder, put the rows into `results/exact.json` and
    return them.

    The users are a sample of the test users by `sample_seed`. `overlap`, `identical` and `first`
    are explained at `scoter.models.decoding.exact.agreement`; `exact_cpu_seconds` is what the exact
    scores of one user took, `beam_cpu_seconds` what a search took. `encoder_influence` is explained
    there too: near zero, the decoder ignores its encoder.

    Raises:
        DataError: the folder holds no finished run.
        ConfigError: the run has no such method, or it is no TIGER.
    """
    from scoter.models.decoding.exact import agreement, encoder_influence, log_likelihoods

    finished = FinishedRun.at(run)
    model, reader, histories = _open(finished, method)
    rng = np.random.default_rng(derive_seed(sample_seed, "exact"))
    some = histories.select(np.sort(rng.permutation(len(histories))[:users]))
    began = time.process_time()
    scores = log_likelihoods(model, some, reader)
    exact_seconds = (time.process_time() - began) / len(some)
    shared = {
        "dataset": finished.outcome["dataset"],
        "method": method,
        "seed": finished.outcome["seed"],
        "run": finished.artefact.key,
        "commit": git_commit(),
        "users": len(some),
        "sample_seed": sample_seed,
        "exact_cpu_seconds": exact_seconds,
        "encoder_influence": encoder_influence(model, some, reader),
        "encoder_influence_of_another": encoder_influence(model, some, reader, instead="another"),
    }
    rows = []
    for beams in (10, 20, 50):
        began = time.process_time()
        found = model.recommend(some, 10, reader, beams=beams).items
        seconds = (time.process_time() - began) / len(some)
        rows.append(
            {**shared, "beams": beams, **agreement(scores, found), "beam_cpu_seconds": seconds}
        )
    _merge(rows, results / "exact.json")
    return rows


def _open(run: FinishedRun, method: str) -> tuple[Any, Any, Any]:
    """The trained model, its users' chains if it reads any, and the test histories."""
    methods = run.experiment.methods
    tigers = [name for name, config in methods.items() if config.model.kind == "tiger"]
    if method not in tigers:
        raise ConfigError(
            f"method = {method!r} is no TIGER of this run; choose from: "
            f"{', '.join(tigers) or 'none'}"
        )
    model, reader, _ = run.method(method).trained()
    return model, reader, run.split.histories("test")


def _merge(rows: list[dict[str, Any]], path: Path) -> None:
    before = json.loads(path.read_text()) if path.exists() else []
    made = {tuple(row[name] for name in KEY) for row in rows}
    kept = [row for row in before if tuple(row[name] for name in KEY) not in made]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(
        json.dumps(sorted([*kept, *rows], key=lambda row: [row[name] for name in KEY]), indent=1)
        + "\n"
    )
    partial.replace(path)
