"""`scoter runs | show | table`: the finished runs of a store, and their tables and reports."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from scoter.cli.lesson import lesson
from scoter.cli.options import StoreOptions, interval, option, say, show_rows, takes, use_threads
from scoter.errors import ScoterError, StoreError, closest
from scoter.progress import parts

if TYPE_CHECKING:  # at run time it brings numpy along, and help would be slow
    from scoter.stages.finished import FinishedRun
    from scoter.storage.run_files import MethodOutcome

HEADLINE = "recall@10"


@click.command()
@takes(StoreOptions)
def runs(options: StoreOptions) -> None:
    """List the finished runs, oldest first, with the best method of each."""
    from scoter.stages.finished import finished_runs

    rows = []
    for run in finished_runs(options.open_store()):
        methods = run.outcome["methods"]
        reached = {name: made["metrics"]["test"][HEADLINE] for name, made in methods.items()}
        best = max(reached, key=lambda name: reached[name])
        row = {"run": run.name, "dataset": run.outcome["dataset"], "seed": run.seed}
        row |= {"finished": run.artefact.manifest()["created"], "best": best}
        rows.append({**row, HEADLINE: reached[best], "methods": list(reached)})
    show_rows(rows, options.as_json, "no finished runs; `scoter run simulated-smoke` makes one")


@dataclass(frozen=True)
class ShowOptions(StoreOptions):
    """Where a run's report goes."""

    report: Path | None = option("Also write an HTML report to this file")


@click.command()
@click.argument("run_name", metavar="RUN")
@takes(ShowOptions)
def show(run_name: str, options: ShowOptions) -> None:
    """Print a finished run again: its name, the start of its key, or 'latest'."""
    run = options.find_run(run_name)
    if options.report is not None:
        use_threads(None)
        write_run_report(run, options.report)
    print_run(run, options.as_json)


@click.command()
@click.argument("name")
@takes(StoreOptions)
def table(name: str, options: StoreOptions) -> None:
    """Compare finished runs of a dataset, one row per method and seed."""
    from scoter.stages.finished import finished_runs

    rows, known = [], []
    for run in finished_runs(options.open_store()):
        outcome = run.outcome
        known += [outcome["dataset"], outcome["experiment"]]
        if name in known[-2:]:
            size = "all users" if outcome["full_data"] else "sample or simulated"
            size += ", protocol B" if run.experiment.data.protocol == "B" else ""
            writer = outcome.get("chains_model") if run.experiment.chains.source else None
            for method, made in outcome["methods"].items():
                by = f", chains by {writer}" if writer and made["config"]["fusion"] else ""
                rows.append(_row(f"{method}{by} (seed {run.seed}, {size})", made))
    if not rows:
        raise ScoterError(
            f"no finished run of {name!r} in the store; `scoter run` makes one, `scoter ls` names "
            f"the experiments{closest(name, known)}"
        )
    show_rows(rows, options.as_json)


def print_run(run: "FinishedRun", as_json: bool) -> None:
    """The metrics of each method on test users, and the paired differences."""
    outcome = run.outcome
    if as_json:
        brief = {key: outcome[key] for key in ("experiment", "dataset", "seed", "note", "commit")}
        methods = {name: made["metrics"]["test"] for name, made in outcome["methods"].items()}
        told = {"run": run.name, "methods": methods, "differences": outcome["differences"]}
        click.echo(json.dumps(brief | told))
        return
    sizes = f"{outcome['users']:,} users, {outcome['items']:,} items"
    click.echo(f"\n{run.name}: {outcome['dataset']}, {sizes}, test")
    if outcome["note"]:
        click.echo(f"({outcome['note']})")
    if model := outcome.get("chains_model"):
        click.echo(f"chains by {model}")
    show_rows([_row(name, made) for name, made in outcome["methods"].items()], False)
    if outcome["differences"]:
        click.echo("\ndifferences with 95 % intervals, paired over users")
    for row in outcome["differences"]:
        if row["metric"] in ("recall@10", "ndcg@10"):
            pair = f"{row['better']} - {row['worse']}"
            click.echo(f"{pair:42} {row['metric']:10} {interval(row)}")
    if lines := lesson(run):
        click.echo("\n" + "\n".join(lines))


def write_run_report(run: "FinishedRun", out: Path) -> None:
    """The run's report, with the explorer and the discovery's picture where the store has them."""
    picture = explored = None
    with parts("report", 3) as begin, TemporaryDirectory() as folder:
        begin("loading")
        from scoter.report.run_report import write_report
        from scoter.serving.explorer import explore
        from scoter.storage.store import Store

        if (run.outcome.get("pattern") or {}).get("picture_of"):  # one that was given has none
            try:
                picture = run.made_from("discover").file("picture.svg")
            except StoreError as error:
                say(f"the report lacks the picture of the discovery: {error}")
        begin("explaining some users' lists")
        problem = None
        for into in (run.store, Store(folder)):  # the second is for a store that cannot be written
            try:
                explored = explore(run.store, run.artefact, into).file("explorer.json")
                break
            except StoreError as error:
                problem = error
        if explored is None:
            say(f"the report shows the run's own few examples, without contributions: {problem}")
        begin("writing the page")
        write_report(run.artefact.folder(), out, explored, picture)
    say(f"report: {out}")


def _row(label: str, made: "MethodOutcome") -> dict[str, object]:
    from scoter.evaluation.metrics import SHOWN
    from scoter.report.page import cpu_time

    values = {column: made["metrics"]["test"][column] for column in SHOWN}
    spent = cpu_time(made.get("cpu_seconds"))
    return {"method": label, **values, "epochs": made["epochs"], "CPU time": spent}
