"""The command line. Every command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scoter.cli.data import data as data_group
from scoter.cli.discover import discover as discover_command
from scoter.cli.options import (
    Commands,
    experiment_options,
    interval,
    json_option,
    say,
    store_option,
    use_threads,
)
from scoter.cli.reason import reason as reason_command
from scoter.cli.runs import find_run, open_store, outcome_of, run_name_of
from scoter.cli.serving import export as export_command
from scoter.cli.serving import recommend as recommend_command
from scoter.errors import ScoterError, closest

if TYPE_CHECKING:
    from scoter.storage.store import Artefact, Store

_COLUMNS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="scoter")
def main() -> None:
    """Structured chain-of-thought transfer for recommendation: run it, measure it, look inside."""


main.add_command(data_group)
main.add_command(reason_command)
main.add_command(discover_command)
main.add_command(recommend_command)
main.add_command(export_command)


@main.command()
def ls() -> None:
    """List the named experiments."""
    from scoter.experiments import EXPERIMENTS

    for name, make in EXPERIMENTS.items():
        click.echo(f"{name:28} {', '.join(make().methods)}")


@main.command()
@click.argument("name")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--report", type=click.Path(path_type=Path), help="Also write a self-contained HTML report here"
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where models are trained",
)
@click.option(
    "--data-parallel",
    is_flag=True,
    help="Train with all processes that torchrun started (extra 'distributed')",
)
@experiment_options
def run(
    name: str,
    seed: int,
    report: Path | None,
    device: str,
    data_parallel: bool,
    store: Path | None,
    data: Path | None,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Run an experiment, or SCoTER on a dataset, and print the outcome; `scoter ls` names them."""
    from scoter import pipeline
    from scoter.config import with_overrides
    from scoter.experiments import experiment

    chosen = with_overrides(_with_fallback(experiment(name, data), data), overrides)
    opened = open_store(store)
    workers = None
    if data_parallel:
        from scoter.models.training.workers import DataParallel

        workers = DataParallel(device)
    speaks = workers is None or workers.is_first
    artefact = pipeline.run(
        chosen,
        seed=seed,
        store=opened,
        data_dir=data,
        say=say if speaks else lambda line: None,
        workers=workers,
        device=device,
    )
    if not speaks:
        return
    if report is not None:
        _write_report(opened, artefact, report)
    _print_run(artefact, as_json)


@main.command()
@click.argument("run_name", metavar="RUN")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Also write a self-contained HTML report here"
)
@store_option
@json_option
def show(run_name: str, report: Path | None, store: Path | None, as_json: bool) -> None:
    """Print a finished run again: its name, the start of its key, or 'latest'."""
    opened = open_store(store)
    artefact = find_run(opened, run_name)
    if report is not None:
        use_threads(None)
        _write_report(opened, artefact, report)
    _print_run(artefact, as_json)


@main.command()
@click.argument("name")
@store_option
def table(name: str, store: Path | None) -> None:
    """Every finished full run of a dataset side by side, one row per method and seed."""
    rows, known = [], []
    for artefact in open_store(store).artefacts("run"):
        outcome = outcome_of(artefact)
        known += [outcome["dataset"], outcome["experiment"]]
        if name in (outcome["dataset"], outcome["experiment"]):
            for method, entry in outcome["methods"].items():
                stored = (
                    outcome["config"].get("chains", {}).get("source") and entry["config"]["fusion"]
                )
                method = f"{method}, chains by {outcome['chains_model']}" if stored else method
                label = (
                    f"{method} (seed {outcome['seed']}, "
                    f"{'all users' if outcome['full_data'] else 'sample or simulated'})"
                )
                rows.append((label, entry))
    if not rows:
        raise ScoterError(
            f"no finished run of {name!r} in the store; `scoter run` makes one, `scoter ls` names "
            f"the experiments{closest(name, known)}"
        )
    _print_metrics(rows)


@main.command()
@click.argument("run_name", metavar="RUN")
@click.option(
    "--sample", type=click.IntRange(1), default=5000, show_default=True, help="Users per part"
)
@store_option
def leakage(run_name: str, sample: int, store: Path | None) -> None:
    """How often each step of a run's chains names the target, in training, validation and test:
    they should agree."""
    import numpy as np

    from scoter.errors import StoreError
    from scoter.reasoning.chains.leakage import mention_table
    from scoter.reasoning.chains.table import load_chains
    from scoter.stages.data import open_data

    opened = open_store(store)
    outcome = outcome_of(find_run(opened, run_name))
    keys = outcome["artefacts"]
    if "chains" not in keys:
        raise StoreError(
            f"the run {run_name!r} has no chains: none of its methods reads them; name one with "
            f"scoter in it"
        )
    _, catalog, split = open_data(opened.find("prepare", keys["prepare"]))
    chains = load_chains(opened.find("chains", keys["chains"]).folder())
    found = mention_table(chains, split, catalog, outcome["seed"], sample)
    counts = dict(zip(found["part"], found["chains"], strict=True))
    meanings = {
        "item": "item",
        "item_alike": "item, for one mix of frequent and rare items",
        "category": "category",
    }
    if not np.any(found["item"]):
        meanings.pop("item_alike")  # no mix makes more of none
    for column, meaning in meanings.items():
        if np.isnan(found[column]).all():
            click.echo(f"\nthe items have no {column}, so no step can name the target's")
        elif not np.any(found[column]):
            steps = ", ".join(dict.fromkeys(found["step"]))
            looked_at = f"{sum(counts.values()):,} chains: {steps}"
            click.echo(f"\nno step names the target's {meaning} in any of {looked_at}")
        else:
            click.echo(f"\nshare of chains whose step names the target's {meaning}")
            table = found.pivot(index="step", columns="part", values=column)[list(counts)]
            click.echo(table.round(4).to_string())


@main.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@store_option
def verify(run_name: str | None, store: Path | None) -> None:
    """Hash every file of every artefact, cache and folder of chains (or of one run) again and name
    what was altered."""
    from scoter.stages.verification import verify_store

    opened = open_store(store)
    if run_name is None:
        count, problems = verify_store(opened)
    else:
        count, problems = 1, opened.verify(find_run(opened, run_name))
    for problem in problems:
        click.echo(problem)
    click.echo(f"{count} artefacts checked, {len(problems)} problems")
    if problems:
        sys.exit(1)


def _with_fallback(chosen: Any, data_dir: Path | None) -> Any:
    """The quickstart uses the simulated shop, and says so, where Beauty can be neither found nor
    downloaded."""
    from scoter.data.official.obtain import obtain
    from scoter.data.prepared import save_prepared
    from scoter.data.sources import CACHE, locate
    from scoter.errors import DataError
    from scoter.experiments import simulated_smoke

    if chosen.name != "quickstart" or data_dir is not None or locate("beauty", None) is not None:
        return chosen
    say("Beauty was not found here; trying the official download")
    try:
        save_prepared(*obtain("beauty"), CACHE / "beauty")
        return chosen
    except DataError as error:
        say(f"{error}\nTHE SIMULATED SHOP IS USED INSTEAD: what follows is not real data.")
        return simulated_smoke()


def _write_report(store: Store, run: Artefact, out: Path) -> None:
    """The run's report, with the explorer and the discovery's picture where the store has them."""
    from tempfile import TemporaryDirectory

    from scoter.errors import StoreError
    from scoter.report import write_report
    from scoter.serving.explorer import explore
    from scoter.storage.store import Store

    picture = None
    outcome = outcome_of(run)
    if (outcome.get("pattern") or {}).get("picture_of"):  # a pattern that was given has none
        try:
            mined = store.find("discover", outcome["artefacts"]["discover"])
            picture = mined.file("picture.svg")
        except StoreError as error:
            say(f"the report lacks the picture of the discovery: {error}")
    with TemporaryDirectory() as folder:
        explored = None
        for into in (store, Store(folder)):  # the second is for a store that cannot be written
            try:
                explored = explore(store, run, into).file("explorer.json")
                break
            except StoreError as error:
                problem = error
        else:
            say(
                f"the report shows the run's own few examples, and no step's contribution: "
                f"{problem}"
            )
        write_report(run.folder(), out, explored, picture)
    say(f"report: {out}")


def _print_run(artefact: Artefact, as_json: bool) -> None:
    outcome = outcome_of(artefact)
    if as_json:
        brief = {key: outcome[key] for key in ("experiment", "dataset", "seed", "note", "commit")}
        methods = {name: entry["metrics"]["test"] for name, entry in outcome["methods"].items()}
        click.echo(
            json.dumps(
                {
                    **brief,
                    "run": run_name_of(artefact),
                    "methods": methods,
                    "differences": outcome["differences"],
                }
            )
        )
        return
    click.echo(
        f"\n{run_name_of(artefact)}: {outcome['dataset']}, {outcome['users']:,} users, "
        f"{outcome['items']:,} items, test"
    )
    if outcome["note"]:
        click.echo(f"({outcome['note']})")
    if outcome.get("chains_model"):
        click.echo(f"chains by {outcome['chains_model']}")
    _print_metrics(list(outcome["methods"].items()))
    if outcome["differences"]:
        click.echo("\ndifferences with 95 % intervals, paired over users")
    for row in outcome["differences"]:
        if row["metric"] in ("recall@10", "ndcg@10"):
            click.echo(
                f"{row['better'] + ' - ' + row['worse']:42} {row['metric']:10} {interval(row)}"
            )


def _print_metrics(rows: list[tuple[str, dict[str, Any]]]) -> None:
    from scoter.report.page import cpu_time

    width = max(len(label) for label, _ in rows) + 2
    heads = "".join(f"{column:>11}" for column in _COLUMNS)
    click.echo(f"{'':{width}}{heads}{'epochs':>8}{'CPU time':>10}")
    for label, entry in rows:
        values = "".join(f"{entry['metrics']['test'][column]:11.4f}" for column in _COLUMNS)
        spent = cpu_time(entry.get("cpu_seconds"))
        click.echo(f"{label:{width}}{values}{entry['epochs']:8}{spent:>10}".rstrip())


if __name__ == "__main__":
    main()
