"""`python -m benchmarks`: collected runs, the tables made from them, and measurements beside
them."""

from pathlib import Path

import click

from benchmarks.studies.commands import measurements, results_option
from benchmarks.suite.collect import collect as collect_run
from benchmarks.tables.render import FORMS, render
from benchmarks.tables.tables import cpu_hours, datasets
from scoter.cli.console import escape_what_cannot_be_shown
from scoter.errors import ScoterError


@click.group()
def main() -> None:
    """Benchmark runs as committed data, and the tables made from them."""


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@results_option
def collect(runs: tuple[Path, ...], results: Path) -> None:
    """Put the folders of finished RUNS into the results, replacing what their methods and seeds had
    there."""
    for run in runs:
        rows = collect_run(run, results)
        made = ", ".join(sorted(rows["method"].unique()))
        click.echo(
            f"{rows['dataset'].iloc[0]}, seed {rows['seed'].iloc[0]}: {len(rows)} rows of {made}"
        )


@main.command()
@click.option(
    "--only",
    multiple=True,
    metavar="DATASET/METHOD/SEED",
    help="Only these cells; `*` and missing parts match all.",
)
@click.option(
    "--budget-minutes",
    type=click.FloatRange(min=0),
    help="Stop after so many minutes; a rerun goes on from there.",
)
@click.option(
    "--list",
    "only_list",
    is_flag=True,
    help="Only show the cells, what is missing and what it may cost.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Your prepared folder, or one that holds the datasets.",
)
@click.option(
    "--methods",
    default="",
    metavar="A,B",
    help="With your own --data: which methods [default: all of the suite's].",
)
@click.option(
    "--method-class",
    default="",
    metavar="PACKAGE.MODULE:CLASS",
    help="A method of your own (docs/your-own-data.md).",
)
@click.option(
    "--epochs-share",
    default=1.0,
    help="With your own --data: every method's share of the usual epochs.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of artefacts [default: $SCOTER_STORE or artifacts/]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processor threads of a cell.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where cells are trained.",
)
@results_option
def run(
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
    results: Path,
) -> None:
    """Make the missing cells of the suite, most valuable first, and add each to the results as soon
    as it ends."""
    from benchmarks.suite.cells import chosen, requested
    from benchmarks.suite.loop import (
        in_process_of_its_own,
        line,
        run_suite,
        stopped_by_signals,
        summary,
    )
    from benchmarks.suite.plan import plan

    names = [name for name in methods.split(",") if name]
    cells = chosen(requested(data, names, method_class, epochs_share), only)
    if only_list:
        planned = plan(cells, results, data)
        click.echo("\n".join([*(line(one) for one in planned), summary(planned)]))
        return
    try:
        with stopped_by_signals():
            failed = run_suite(
                cells,
                results,
                runner=in_process_of_its_own(store, data, threads, device),
                store=store,
                data=data,
                budget_minutes=budget_minutes,
                say=lambda text: click.echo(text),
            )
    except KeyboardInterrupt:
        click.echo("stopped; run again to go on from there")
        raise SystemExit(130) from None
    if failed:
        raise SystemExit(1)


@main.command()
@click.option("--dataset", help="One dataset; by default every one that has results.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@results_option
def tables(dataset: str | None, form: str, results: Path) -> None:
    """Print the main table of each dataset; `documents` puts them into the pages that show them."""
    for name in [dataset] if dataset else datasets(results):
        heading = "" if form in ("csv", "sources") else f"{'% ' if form == 'latex' else ''}{name}\n"
        click.echo(heading + render(results, name, form))
    if form == "text":
        click.echo(
            f"training and validation of everything collected: {cpu_hours(results):.1f} CPU-hours"
        )


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--check", is_flag=True, help="Write nothing; fail where a page differs from the results."
)
@results_option
def documents(paths: tuple[Path, ...], check: bool, results: Path) -> None:
    """Renew the measured parts of the Markdown files PATHS; by default of every page of the
    project."""
    from benchmarks.documents import pages, renew

    stale = [path for path in paths or pages() if renew(path, results, check)]
    for path in () if check else stale:
        click.echo(f"renewed: {path}")
    if check and stale:
        names = " ".join(str(path) for path in stale)
        raise click.ClickException(
            f"these pages differ from {results}: {names}; run: python -m benchmarks documents "
            f"{names}"
        )


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("suite.html"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    help="Also explore users of this finished run of the store; repeatable.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of artefacts [default: $SCOTER_STORE or artifacts/]",
)
@results_option
def report(out: Path, runs: tuple[str, ...], store: Path | None, results: Path) -> None:
    """The whole suite as one HTML file: tables with intervals, figures, what is missing, where each
    number comes from."""
    from paper_figures.suite_report import write_suite_report

    explored = {}
    if runs:
        from scoter.serving.explorer import explore
        from scoter.stages.finished import find_run
        from scoter.storage.store import Store

        opened = Store(store)
        found = [find_run(opened, name) for name in runs]
        explored = {run.name: explore(opened, run.artefact).file("explorer.json") for run in found}
    write_suite_report(out, results, explored)
    click.echo(f"{out}  from {results}")


for command in measurements.commands.values():
    main.add_command(command)


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
