"""What a training step with a chain costs beside the same step without one, in processor time.

Both models take their steps in turn, on the same batches of a finished run's data.
`results/training_cost.json` holds the last measurement.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from benchmarks.speed.timing import machine
from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from scoter.config import MethodConfig, TigerConfig
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.models.training.loop import Descent
from scoter.models.training.precision import resolve_precision
from scoter.recommenders.fitting import total_loss
from scoter.seeding import derive_seed
from scoter.stages.finished import FinishedMethod, find_methods

FILE = "training_cost.json"
STEPS, WARM_UP, DRAWS = 60, 3, 2000

steps_option = study.option("--steps", type=click.IntRange(1), default=STEPS, help="Of each model.")


def measure(run: Path, arm: str, steps: int = STEPS, results: Path = RESULTS) -> Row:
    """Time training steps of `arm` of a finished run; write `training_cost.json` and return it."""
    method = find_methods([run], (arm,))[arm]
    measured = {
        "dataset": method.run.outcome["dataset"],
        "run": method.run.artefact.key,
        "machine": machine(1),
        "training": step_costs(method, steps),
    }
    study.write(results / FILE, measured)
    return measured


def step_costs(method: FinishedMethod, steps: int) -> Row:
    """CPU-seconds of training steps of the method, and of the same method without a chain."""
    split, config = method.run.split, method.config.training
    windows = cut_windows(split.train, cast(TigerConfig, method.config.model).max_items)
    order = derive_seed(0, "training")
    epoch = training_batches(split.train, windows, config.batch_targets, order)
    advance = {"tiger": _stepper(method, replace(method.config, fusion=None))}
    advance[method.name] = _stepper(method, method.config)
    spent: dict[str, list[float]] = {name: [] for name in advance}
    for number in range(-WARM_UP, min(steps, len(epoch) - WARM_UP)):
        for name in sorted(advance, reverse=number % 2 == 1):
            began = time.process_time()
            advance[name](epoch[number])
            if number >= 0:
                spent[name].append(time.process_time() - began)
    return {
        "arm": method.name,
        "steps": len(spent["tiger"]),
        "batch_targets": config.batch_targets,
        "precision": resolve_precision(config.precision),
        **{name: {"cpu_seconds_a_step": float(np.mean(times))} for name, times in spent.items()},
        "cost_ratio": ratio(spent[method.name], spent["tiger"], np.mean),
    }


def ratio(a: Sequence[float], b: Sequence[float], of: Callable[..., Any]) -> dict[str, float]:
    """`of(a) / of(b)` with its 95 % interval, by a bootstrap that resamples pairs (a[i], b[i]).

    >>> ratio([2.0, 4.0], [1.0, 2.0], np.mean)
    {'mean': 2.0, 'low': 2.0, 'high': 2.0}
    """
    x, y = np.array(a), np.array(b)
    chosen = np.random.default_rng(0).integers(0, len(x), (DRAWS, len(x)))
    draws = of(x[chosen], axis=1) / of(y[chosen], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(of(x) / of(y)), "low": float(low), "high": float(high)}


def spread(ratio: Mapping[str, float]) -> str:
    return "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**ratio)


def as_text(costs: Row) -> str:
    what = "training step ({precision}, {steps} of each)".format(**costs)
    return f"{what}: {spread(costs['cost_ratio'])} times TIGER's processor time"


def _stepper(method: FinishedMethod, config: MethodConfig) -> Callable[[ItemBatch], float]:
    model, reader, _ = method.untrained(config)
    model.train()
    descent = Descent(model, config.training, total_steps=1)
    smoothing = config.training.label_smoothing
    return lambda batch: descent.step(
        0, lambda placed: total_loss(model, placed, reader, smoothing), batch
    )


@click.command()
@study.run_argument
@study.arm_option
@steps_option
@study.results_option
def command(run: Path, arm: str, steps: int, results: Path) -> None:
    click.echo(as_text(measure(run, arm, steps, results=results)["training"]))
