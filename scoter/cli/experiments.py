"""`scoter ls | config | run`: the named experiments, what can be set in one, and running one."""

import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from scoter.cli import options as cli
from scoter.cli.options import option, say, show_rows
from scoter.cli.runs import print_run, write_run_report

if TYPE_CHECKING:  # at run time it brings numpy along, and help would be slow
    from scoter.config import Experiment
    from scoter.types import Json


@click.command()
@cli.json_option
def ls(as_json: bool) -> None:
    """List the named experiments by dataset, one line each."""
    from scoter.experiments import EXPERIMENTS

    made = [make() for make in EXPERIMENTS.values()]
    datasets = list(dict.fromkeys(named.data.name for named in made))
    rows = []
    for named in sorted(made, key=lambda named: datasets.index(named.data.name)):
        row = {"experiment": named.name, "dataset": named.data.name, "methods": [*named.methods]}
        rows.append(row | {"about": _about(named)})
    if as_json:
        show_rows(rows, as_json)
        return
    for dataset, group in groupby(rows, lambda row: row["dataset"]):
        click.echo(f"\n{dataset}")
        for row in group:
            click.echo(f"  {row['experiment']:34} {row['about']}")


def _about(experiment: "Experiment") -> str:
    """The note of an experiment; for a cell of the benchmark, its model and how it reads chains."""
    from scoter.cli.settings import settings
    from scoter.config import FusionConfig

    if experiment.note or len(experiment.methods) > 1:
        return f"{', '.join(experiment.methods)}: {experiment.note or 'all users'}"
    (method,) = experiment.methods.values()
    if method.fusion is None:
        return f"{method.model.kind}, without chains"
    usual = {row["path"]: row["value"] for row in settings(FusionConfig())}
    chosen = [row for row in settings(method.fusion) if usual.get(row["path"]) != row["value"]]
    words = ", ".join(_words(row["path"], row["value"]) for row in chosen)
    return f"{method.model.kind} with chains" + (f": {words}" if words else "")


def _words(path: str, value: "Json") -> str:
    return path if value is True else f"no {path}" if value is False else f"{path} {value}"


@click.command()
@click.argument("name")
@cli.takes(cli.ExperimentOptions)
def config(name: str, options: cli.ExperimentOptions) -> None:
    """Show what `--set` can change: every path of an experiment, its value and meaning.

    A `*` in a path stands for every method: they agree there.
    """
    from scoter.cli.settings import settings, shared

    chosen = options.named(name)
    rows = [row for row in settings(chosen) if row["path"] != "name"]
    if options.as_json:
        show_rows(rows, True)
        return
    for row in shared(rows, list(chosen.methods)):
        line = f"{row['path']}={json.dumps(row['value'])}"
        click.echo(f"{line:58}  # {row['comment']}" if row["comment"] else line)


@dataclass(frozen=True)
class RunOptions(cli.TrainingOptions):
    """How `scoter run` trains, and where its report goes."""

    report: Path | None = option("Also write an HTML report to this file")
    device: Literal["cpu", "cuda"] = option("Where models are trained", "cpu")
    data_parallel: bool = option("Train with all processes of torchrun", False)


@click.command()
@click.argument("name")
@cli.takes(RunOptions)
def run(name: str, options: RunOptions) -> None:
    """Run an experiment, or SCoTER on a dataset, and print the outcome."""
    from scoter import pipeline
    from scoter.experiments import experiment
    from scoter.stages.finished import FinishedRun

    cli.use_threads(options.threads)
    chosen = options.changed(_with_fallback(experiment(name, options.data), options.data))
    workers = None
    if options.data_parallel:
        from scoter.models.training.workers import DataParallel

        workers = DataParallel(options.device)
    speaks = workers is None or workers.is_first
    store = options.open_store()
    artefact = pipeline.run(
        chosen,
        seed=options.seed,
        store=store,
        data_dir=options.data,
        say=say if speaks else lambda line: None,
        workers=workers,
        device=options.device,
    )
    if not speaks:
        return
    finished = FinishedRun(store, artefact)
    if options.report is not None:
        write_run_report(finished, options.report)
    print_run(finished, options.as_json)


def _with_fallback(chosen: "Experiment", data_dir: Path | None) -> "Experiment":
    """The quickstart takes the simulated shop, and says so, where Beauty cannot be had."""
    from scoter.data.official.prepare import obtain
    from scoter.data.prepared import save_prepared
    from scoter.data.sources import CACHE, locate
    from scoter.errors import DataError
    from scoter.experiments import simulated_smoke

    if chosen.name != "quickstart" or data_dir is not None or locate("beauty", None) is not None:
        return chosen
    say("Beauty was not found here; trying the official download")
    try:
        save_prepared(*obtain("beauty"), CACHE / "beauty")
    except DataError as error:
        say(f"{error}\nTHE SIMULATED SHOP IS USED INSTEAD: what follows is not real data.")
        return simulated_smoke()
    return chosen
