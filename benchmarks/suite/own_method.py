"""A user's own method: a class that fits and ranks, run and kept like any other method."""

import importlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from benchmarks.suite.cells import own_name
from benchmarks.suite.recipes import own_config
from scoter.errors import ConfigError
from scoter.models.training.memory import peak_mib
from scoter.storage.store import Artefact, git_commit
from scoter.types import Catalog, Histories, Part, Rankings, Split, Targets

if TYPE_CHECKING:
    from scoter.stages.context import Context

DEPTH = 20


@runtime_checkable
class Recommender(Protocol):
    """`fit` gets training sequences and validation targets; test targets are withheld.

    `recommend` returns, for each history in its order, the `k` best items without repeats, best
    first; -1 fills the end. An attribute `epochs` is shown in the table where there is one.
    """

    def fit(self, split: Split, catalog: Catalog, *, seed: int) -> object: ...

    def recommend(self, histories: Histories, k: int) -> Rankings: ...


def load_own(own: str) -> Recommender:
    """An instance of the user's class, made without arguments."""
    own_config(own)
    module, _, name = own.partition(":")
    made = getattr(importlib.import_module(module), name, None)
    option = f"--method-class {own!r}"
    if not isinstance(made, type):
        raise ConfigError(f"{option}: the module has no class {name!r}")
    model = made()
    if not isinstance(model, Recommender):
        raise ConfigError(
            f"{option} needs fit(split, catalog, *, seed) and recommend(histories, k)"
        )
    return model


def run_own(own: str, context: "Context", data: Artefact) -> Artefact:
    """Fit and rank a user's method, and keep it as a finished run that `collect` takes."""
    from scoter.evaluation.metrics import mean_metrics
    from scoter.stages.context import PARTS
    from scoter.stages.data import open_data
    from scoter.stages.summary import measure, versions

    experiment, method, config = context.experiment, own_name(own), own_config(own)

    def build(out: Path, scratch: Path) -> None:
        log, catalog, split = open_data(data)
        nobody = Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
        model, began = load_own(own), time.process_time()
        model.fit(Split(split.train, split.valid, nobody), catalog, seed=context.seed)
        spent = time.process_time() - began
        rankings: dict[Part, Rankings] = {
            part: model.recommend(split.histories(part), DEPTH) for part in PARTS
        }
        metrics = measure(rankings, split, out / "ranks", method)
        made = {
            "metrics": {part: mean_metrics(found) for part, found in metrics.items()},
            "epochs": int(getattr(model, "epochs", 0)),
            "cpu_seconds": spent,
            "peak_mib": peak_mib(),
            "config": config,
        }
        outcome = {
            "experiment": experiment.name,
            "dataset": experiment.data.name,
            "seed": context.seed,
            "commit": git_commit(),
            "users": log.user_count,
            "items": catalog.item_count,
            "note": experiment.note,
            "full_data": True,
            "methods": {method: made},
            "versions": versions(),
            "config": {"data": {"name": experiment.data.name}},
            "artefacts": {"prepare": data.key},
        }
        (out / "run.json").write_text(json.dumps(outcome, indent=1))

    key = {**config, "seed": context.seed, "depth": DEPTH}
    return context.store.stage("own-run", 1, key, [data], build)
