"""`python -m benchmarks`: collected runs, the tables made from them, and the studies."""

import linecache
import time
from importlib import import_module
from importlib.util import find_spec
from inspect import getdoc
from pathlib import Path
from typing import Any

import click

from benchmarks.studies import study
from benchmarks.suite.collect import collect as collect_run
from benchmarks.tables.render import FORMS, render
from benchmarks.tables.tables import cpu_hours, datasets
from scoter.cli.console import escape_what_cannot_be_shown
from scoter.errors import ScoterError

STUDIES = {
    path.stem.replace("_", "-"): f"benchmarks.studies.{path.stem}"
    for path in (Path(__file__).parent / "studies").glob("*.py")
    if path.stem not in ("__init__", "study", "battery")
} | {"chains": "benchmarks.scale.chains", "stages": "benchmarks.scale.stages"}
"""Name of a command -> the module that holds it, and whose docstring is its help."""

_ONLY = "Only these cells; `*` and missing parts match all."
_BUDGET = "Stop after so many minutes; the next call goes on."
_METHODS = "With your own --data: which methods [default: all of the suite's]."
_CLASS = "A method of your own (docs/your-own-data.md)."
_EXPLORED = "Also explore users of this finished run of the store; repeatable."
_SHARE = "With your own --data: every method's share of the usual epochs."


class Commands(click.Group):
    """The commands below, and one for each study, imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *STUDIES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in STUDIES:
            return super().get_command(ctx, cmd_name)
        module = import_module(STUDIES[cmd_name])
        command: click.Command = module.command
        command.name, command.help = cmd_name, getdoc(module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        helps = {name: command.help or "" for name, command in self.commands.items()}
        for name, module in STUDIES.items():
            spec = find_spec(module)  # the docstring's first line, read without an import
            helps[name] = linecache.getline(str(spec and spec.origin), 1).strip('"\n')
        with formatter.section("Commands"):
            formatter.write_dl([(name, helps[name].split("\n\n")[0]) for name in sorted(helps)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Benchmark runs as committed data, tables made from them, and studies.

    A RUN is the folder of a finished run, below the store's run/.
    """


@main.command()
@click.argument("runs", nargs=-1, required=True, type=study.PATH)
@study.results_option
def collect(runs: tuple[Path, ...], results: Path) -> None:
    """Put the folders of finished RUNS into the results, in place of equal methods and seeds."""
    for run in runs:
        rows = collect_run(run, results)
        methods, first = ", ".join(sorted(rows["method"].unique())), rows.iloc[0]
        click.echo(f"{first['dataset']}, seed {first['seed']}: {len(rows)} rows of {methods}")


@main.command()
@click.option("--only", multiple=True, metavar="DATASET/METHOD/SEED", help=_ONLY)
@click.option("--budget-minutes", type=click.FloatRange(min=0), help=_BUDGET)
@click.option("--list", "only_list", is_flag=True, help="Show the cells and what they may cost.")
@study.data_option
@click.option("--methods", default="", metavar="A,B", help=_METHODS)
@click.option("--method-class", default="", metavar="PACKAGE.MODULE:CLASS", help=_CLASS)
@click.option("--epochs-share", default=1.0, help=_SHARE)
@study.store_option
@study.option("--threads", type=click.IntRange(1), default=1, help="Processor threads of a cell.")
@study.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where cells are trained."
)
@study.option(
    "--at-once", type=click.IntRange(1), default=1, help="Cells at a time, each with a log."
)
@click.option("--logs", type=study.PATH, help="Folder of these logs  [default: logs/ of the store]")
@study.results_option
@click.pass_context
def run(
    context: click.Context,
    only: tuple[str, ...],
    budget_minutes: float | None,
    only_list: bool,
    data: Path | None,
    methods: str,
    method_class: str,
    epochs_share: float,
    store: Path | None,
    threads: int,
    device: str,
    at_once: int,
    logs: Path | None,
    results: Path,
) -> None:
    """Run the missing cells of the suite, most valuable first; each is collected when it ends."""
    from benchmarks.suite import loop
    from benchmarks.suite.cells import chosen, requested
    from benchmarks.suite.plan import plan
    from benchmarks.suite.side_by_side import arguments_of, side_by_side
    from scoter.storage.store import Store

    names = [name for name in methods.split(",") if name]
    cells = chosen(requested(data, names, method_class, epochs_share), only)
    if only_list:
        planned = plan(cells, results, data)
        click.echo("\n".join([*map(loop.line, planned), loop.summary(planned)]))
        return
    try:
        with loop.stopped_by_signals():
            if at_once > 1:
                logs = logs or Store(store).root / "logs"
                click.echo(f"{at_once} cells at once; their logs are in {logs}")
                words = arguments_of(context, at_once=1)
                raise SystemExit(side_by_side(at_once, words, logs))
            runner = loop.in_process_of_its_own(store, data, threads, device)
            options: dict[str, Any] = {
                "store": store,
                "data": data,
                "budget_minutes": budget_minutes,
            }
            failed = loop.run_suite(cells, results, runner=runner, say=click.echo, **options)
    except KeyboardInterrupt:
        click.echo("stopped; run again to go on from there")
        raise SystemExit(130) from None
    if failed:
        raise SystemExit(1)


@main.command()
@click.argument("row", required=False, metavar="DATASET/METHOD/SEED")
@click.option("--draw", type=click.IntRange(1), help="Run nothing; draw rows of docs/results.md.")
@study.option("--out", type=study.PATH, default=Path("artifacts/reruns"), help="Folder.")
@study.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where.")
@study.data_option
@study.store_option
@study.results_option
def rerun(
    row: str | None,
    draw: int | None,
    out: Path,
    device: str,
    data: Path | None,
    store: Path | None,
    results: Path,
) -> None:
    """Run a committed row by its own recipe; status 1 where a metric is not within its tolerance.

    Seed 0 draws, so that nobody chooses the rows.
    """
    from benchmarks import rerun
    from scoter import pipeline
    from scoter.cli.options import say, use_threads
    from scoter.models.training.memory import peak_mib
    from scoter.storage.store import Store

    if draw or not row:
        click.echo("\n".join(rerun.drawn(draw or 3)))
        return
    use_threads(None)
    before = rerun.committed(row, results)
    options: dict[str, Any] = {"store": Store(store), "data_dir": data, "device": device}
    rerun.check_reasons(before)
    chosen, began = rerun.experiment_of_row(before), time.process_time()
    folder = pipeline.run(chosen, seed=before["seed"], say=say, **options).path
    cost = {"cpu_hours": (time.process_time() - began) / 3600, "peak_mib": peak_mib()}
    found = rerun.record(before, folder, cost, out, results)
    click.echo(rerun.report(found).text())
    raise SystemExit(0 if found["within"] else 1)


@main.command()
@click.option("--dataset", help="One dataset [default: all that have results].")
@study.option("--format", "form", type=click.Choice(FORMS), default="text")
@study.results_option
def tables(dataset: str | None, form: str, results: Path) -> None:
    """Print the main table of each dataset; `documents` puts them into the pages."""
    for name in [dataset] if dataset else datasets(results):
        heading = {"csv": "", "sources": "", "latex": f"% {name}\n"}.get(form, f"{name}\n")
        click.echo(heading + render(results, name, form))
    if form == "text":
        hours = cpu_hours(results)
        click.echo(f"training and validation of everything collected: {hours:.1f} CPU-hours")


@main.command()
@study.option("--dataset", default="beauty-quarter", help="Whose results.")
@study.results_option
def controls(dataset: str, results: Path) -> None:
    """Print every control beside TIGER and SCoTER: parameters, and differences with intervals."""
    from benchmarks.tables.controls import page

    click.echo(page(results, dataset).markdown())


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing; fail where a page is out of date.")
@study.results_option
def documents(paths: tuple[Path, ...], check: bool, results: Path) -> None:
    """Renew the measured parts of the Markdown files PATHS [default: all pages of the project]."""
    from benchmarks.documents import pages, renew

    stale = [str(path) for path in paths or pages() if renew(path, results, check)]
    if check and stale:
        names = " ".join(stale)
        remedy = f"run: python -m benchmarks documents {names}"
        raise click.ClickException(f"these pages differ from {results}: {names}; {remedy}")
    for path in stale:
        click.echo(f"renewed: {path}")


@main.command()
@study.option("--out", type=study.PATH, default=Path("suite.html"), help="The file to write.")
@click.option("--run", "runs", multiple=True, metavar="RUN", help=_EXPLORED)
@study.store_option
@study.results_option
def report(out: Path, runs: tuple[str, ...], store: Path | None, results: Path) -> None:
    """Write the suite as one HTML file: tables, figures, gaps and the source of each number."""
    from paper_figures.suite_report import write_suite_report

    explored = {}
    if runs:
        from scoter.serving.explorer import explore
        from scoter.stages.finished import find_run
        from scoter.storage.store import Store

        opened = Store(store)
        chosen = [find_run(opened, name) for name in runs]
        explored = {run.name: explore(opened, run.artefact).file("explorer.json") for run in chosen}
    write_suite_report(out, results, explored)
    click.echo(f"{out}  from {results}")


if __name__ == "__main__":
    escape_what_cannot_be_shown()
    try:
        main(standalone_mode=False)
    except ScoterError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
