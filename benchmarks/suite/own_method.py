"""A user's own method: a class that fits and ranks, run and kept like any other method."""

import importlib
import json
import time
from pathlib import Path

from benchmarks.suite.cells import own_name
from benchmarks.suite.recipes import own_config
from scoter.config import to_json
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError
from scoter.evaluation.answers import check_recommender, rankings_of
from scoter.evaluation.metrics import mean_metrics
from scoter.models.training.memory import peak_mib
from scoter.protocols import Recommender
from scoter.stages.context import Context
from scoter.stages.data import open_data
from scoter.stages.summary import described, measure, versions
from scoter.storage.store import Artefact
from scoter.types import Part, Rankings

DEPTH = 20


def load_own(own: str) -> Recommender:
    """An instance of the user's class, made without arguments; a `scoter.protocols.Recommender`."""
    own_config(own)
    module, _, name = own.partition(":")
    made = getattr(importlib.import_module(module), name, None)
    option = f"--method-class {own!r}"
    if not isinstance(made, type):
        raise ConfigError(f"{option}: the module has no class {name!r}")
    model = made()
    check_recommender(model, DEPTH)
    return model


def run_own(own: str, context: Context, data: Artefact) -> Artefact:
    """Fit and rank a user's method, and keep it as a finished run that `collect` takes.

    What it is fitted on is the same in both protocols: the log without test items, and a split that
    says which of these may choose its epochs. In B it is asked for more items than `DEPTH`, and
    those of the user's history are left out.
    """
    experiment, method, config = context.experiment, own_name(own), own_config(own)

    def build(out: Path, scratch: Path) -> None:
        log, catalog, split = open_data(data)
        name, in_b = experiment.data.name, experiment.data.protocol == "B"
        dataset = Dataset(log, catalog, data.key, name, name, context.data_seed)
        model, began = load_own(own), time.process_time()
        model.fit(dataset.without_test(), seed=context.seed)
        spent = time.process_time() - began
        rankings: dict[Part, Rankings] = {}
        for part in split.parts:
            histories = split.histories(part)
            more = int(histories.lengths.max()) if in_b else 0
            ranked = rankings_of(model, method, dataset, histories, DEPTH + more)
            rankings[part] = ranked.unseen(histories, DEPTH) if in_b else ranked
        metrics = measure(rankings, split, out / "ranks", method)
        made = {
            "metrics": {part: mean_metrics(found) for part, found in metrics.items()},
            "epochs": int(getattr(model, "epochs", 0)),
            "cpu_seconds": spent,
            "peak_mib": peak_mib(),
            "config": config,
        }
        outcome = {
            **described(context, data),
            "methods": {method: made},
            "versions": versions(),
            "config": {"data": json.loads(to_json(experiment.data))},
            "artefacts": {"prepare": data.key},
        }
        (out / "run.json").write_text(json.dumps(outcome, indent=1))

    key = {**config, "seed": context.seed, "depth": DEPTH}
    return context.store.stage("own-run", 3, key, [data], build)
