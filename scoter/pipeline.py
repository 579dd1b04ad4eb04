"""The whole method as one list of stages, top to bottom.

    prepare -> item vectors -> semantic IDs -> discover -> chains -> train -> rank -> run

Every stage is a cached function of files, so a second run takes seconds. Data, semantic IDs,
pattern and chains are made with seed 0 (for the simulated shop: with the run's seed), so that runs
of several seeds differ in training alone.

Protocol B runs the stages twice. The first time is protocol A up to training, which chooses the
pattern and each method's best epoch. The second time validation items are known: semantic IDs and
chains count them, and training sees them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scoter.config import Experiment
from scoter.errors import ConfigError
from scoter.plugins import BACKBONES
from scoter.stages.context import Context
from scoter.storage.store import Artefact, Store

if TYPE_CHECKING:
    from scoter.models.training.workers import DataParallel
    from scoter.stages.networks import Inputs


def run(
    experiment: Experiment,
    *,
    seed: int = 0,
    store: Store | None = None,
    data_dir: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    workers: "DataParallel | None" = None,
    device: str = "cpu",
) -> Artefact:
    """Run an experiment, from interactions to a run folder: `run.json`, `ranks/`, `examples.json`.

    `scoter.run` explains the arguments; each of the `workers` that train together calls this.
    """
    from scoter.stages import models, summary

    if not experiment.methods:
        nothing = f"{experiment.name}: methods = {{}} leaves nothing to run"
        raise ConfigError(f"{nothing}; keep one of those that `scoter config` shows")
    context = Context(experiment, store or Store(), seed, say, workers, device)
    pattern, chosen = choose(context, data_dir) if experiment.data.protocol == "B" else (None, {})
    inputs, made = make_inputs(context, data_dir, pattern), {}
    for name, method in experiment.methods.items():
        trained = models.train(context, name, method, inputs, chosen.get(name))
        made[name] = summary.Made(trained, models.rank(context, method, trained, inputs))
    return summary.summarise(context, inputs, made)


def choose(
    context: Context, data_dir: Path | None = None
) -> tuple[Artefact | None, dict[str, Artefact]]:
    """What protocol A chooses for the same run: a pattern, and the best epoch of each training."""
    from scoter.stages import models

    data = replace(context.experiment.data, protocol="A")
    first = replace(context, experiment=replace(context.experiment, data=data))
    inputs, methods = make_inputs(first, data_dir), first.experiment.methods.items()
    trained = {name: models.train(first, name, method, inputs) for name, method in methods}
    return inputs.pattern, trained


def make_inputs(
    context: Context, data_dir: Path | None = None, pattern: Artefact | None = None
) -> "Inputs":
    """What the methods of an experiment are made from: the stages before training.

    A `pattern` that was chosen already is not mined again.
    """
    from scoter.data.split import check_trainable
    from scoter.stages import data, networks, reasoning

    prepared = data.prepare(context, data_dir)
    methods = context.experiment.methods.values()
    if any(BACKBONES.get(method.model.kind).trains for method in methods):
        check_trainable(data.open_data(prepared)[2])
    ids = steps = None
    if any(networks.needs_semantic_ids(method) for method in methods):
        ids = data.make_semantic_ids(context, data.embed_items(context, prepared))
    if any(method.fusion for method in methods):
        pattern, steps = reasoning.pattern_and_chains(context, prepared, pattern)
    return networks.Inputs(prepared, ids, steps, pattern)
