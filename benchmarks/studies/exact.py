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
from scoter.config import from_json
from scoter.errors import ConfigError, DataError
from scoter.seeding import derive_seed
from scoter.storage.store import MANIFEST, Store, git_commit

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

    if not (run / MANIFEST).exists() or not (run / "run.json").exists():
        raise DataError(
            f"{run} holds no finished run (a run.json and a {MANIFEST}); pass a folder below the "
            f"store's run/"
        )
    outcome = json.loads((run / "run.json").read_text())
    model, reader, histories = _open(Store(run.parent.parent), outcome, method)
    rng = np.random.default_rng(derive_seed(sample_seed, "exact"))
    some = histories.select(np.sort(rng.permutation(len(histories))[:users]))
    began = time.process_time()
    scores = log_likelihoods(model, some, reader)
    exact_seconds = (time.process_time() - began) / len(some)
    shared = {
        "dataset": outcome["dataset"],
        "method": method,
        "seed": outcome["seed"],
        "run": json.loads((run / MANIFEST).read_text())["key"],
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


def _open(store: Store, outcome: dict[str, Any], method: str) -> tuple[Any, Any, Any]:
    """The trained model, its users' chains if it reads any, and the test histories."""
    from scoter.models.training.loop import load_weights
    from scoter.stages.data import open_data, open_semantic_ids
    from scoter.stages.models import build_model, step_reader

    methods, keys = from_json(json.dumps(outcome["config"])).methods, outcome["artefacts"]
    tigers = [name for name, config in methods.items() if config.model.kind == "tiger"]
    if method not in tigers:
        raise ConfigError(
            f"method = {method!r} is no TIGER of this run; choose from: "
            f"{', '.join(tigers) or 'none'}"
        )
    data, ids = (
        store.find("prepare", keys["prepare"]),
        store.find("semantic-ids", keys["semantic-ids"]),
    )
    _, catalog, split = open_data(data)
    chains = store.find("chains", keys["chains"]) if methods[method].fusion is not None else None
    table, reader = step_reader(methods[method].fusion, chains, data=data, ids=ids)
    model = build_model(
        methods[method], split, catalog, open_semantic_ids(ids), table, outcome["seed"]
    )
    load_weights(model, store.find("train", keys["train"][method]).file("weights.safetensors"))
    return model, reader, split.histories("test")


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
