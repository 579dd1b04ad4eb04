"""How often the beam search of a trained TIGER finds the exact ten best items of all.

`results/exact.json` holds one row for each dataset, method, seed and beam width, over a sample of
test users of a finished run. Measuring a method again replaces its rows.
"""

import time
from pathlib import Path
from typing import cast

import click
import numpy as np

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from scoter.errors import ConfigError
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.exact import agreement, encoder_influence, log_likelihoods
from scoter.protocols import StepSource
from scoter.seeding import derive_seed
from scoter.stages.finished import FinishedRun
from scoter.storage.store import git_commit

FILE = "exact.json"
BEAMS = (10, 20, 50)


def measure(
    run: Path, method: str = "tiger", users: int = 100, seed: int = 0, results: Path = RESULTS
) -> list[Row]:
    """Measure one method of the finished run in a folder, and put its rows into `exact.json`.

    `scoter.models.decoding.exact` explains the columns; CPU-seconds are those of one user.
    """
    finished = FinishedRun.at(run)
    tiger, reader = _trained_tiger(finished, method)
    histories = finished.split.histories("test")
    rng = np.random.default_rng(derive_seed(seed, "exact"))
    sampled = histories.select(np.sort(rng.permutation(len(histories))[:users]))
    began = time.process_time()
    scores = log_likelihoods(tiger, sampled, reader)
    exact_seconds = (time.process_time() - began) / len(sampled)
    outcome = finished.outcome
    shared: Row = {"dataset": outcome["dataset"], "method": method, "seed": outcome["seed"]}
    shared |= {"run": finished.artefact.key, "commit": git_commit()}
    shared |= {"users": len(sampled), "sample_seed": seed}
    shared |= {
        "exact_cpu_seconds": exact_seconds,
        "encoder_influence": encoder_influence(tiger, sampled, reader),
        "encoder_influence_of_another": encoder_influence(tiger, sampled, reader, "another"),
    }
    rows = []
    for beams in BEAMS:
        began = time.process_time()
        items = tiger.recommend(sampled, 10, reader, beams=beams).items
        seconds = (time.process_time() - began) / len(sampled)
        row = {**shared, "beams": beams, **agreement(scores, items)}
        rows.append({**row, "beam_cpu_seconds": seconds})
    path, key = results / FILE, ("dataset", "method", "seed", "beams")
    study.write(path, study.merged(study.read(path, []), rows, key))
    return rows


def _trained_tiger(run: FinishedRun, method: str) -> tuple[Tiger, StepSource | None]:
    methods = run.experiment.methods
    tigers = [name for name, config in methods.items() if config.model.kind == "tiger"]
    if method not in tigers:
        known = ", ".join(tigers) or "none"
        raise ConfigError(f"method = {method!r} is no TIGER of this run; choose from: {known}")
    model, reader, _ = run.method(method).trained()
    return cast(Tiger, model), reader


@click.command()
@study.run_argument
@study.option("--method", default="tiger", help="Which TIGER of the run.")
@study.users_option(100)
@study.option("--sample-seed", default=0, help="Which test users.")
@study.results_option
def command(run: Path, method: str, users: int, sample_seed: int, results: Path) -> None:
    for row in measure(run, method, users, sample_seed, results):
        click.echo(
            "{beams} beams: {overlap:.4f} of the exact top ten, all ten for {identical:.4f} of "
            "{users} users; exact {exact_cpu_seconds:.3f}, beam {beam_cpu_seconds:.4f} "
            "CPU-seconds a user".format(**row)
        )
