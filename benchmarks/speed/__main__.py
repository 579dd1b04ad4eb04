"""`python -m benchmarks.speed [--quick] [--json]`: work of scoter and others in a CPU-second.

`python -m benchmarks.speed gpu` measures training on a GPU.
"""

import json
import os
import time
from pathlib import Path

import click

from benchmarks.studies import study
from scoter.errors import ScoterError


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Less work and three repeats: under a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--threads", default=1, show_default=True, help="Threads of both sides.")
@click.option("--repeats", type=int, help="Alternating repeats [default: 5, with --quick 3].")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON to this file.")
@click.option("--cornac-python", envvar="SCOTER_BENCH_CORNAC_PYTHON", help="One with Cornac 3.")
@click.option("--rectools-python", envvar="SCOTER_BENCH_RECTOOLS_PYTHON", help="One with RecTools.")
@click.pass_context
def main(
    context: click.Context,
    quick: bool,
    as_json: bool,
    threads: int,
    repeats: int | None,
    out: Path | None,
    cornac_python: str | None,
    rectools_python: str | None,
) -> None:
    """Measure training, decoding, memory and the distance to the arithmetic limit, in turn.

    Cornac and RecTools pin other versions than scoter, so each is run by a Python of its own
    environment; without one its rows say so and are left out. So are they with --quick.
    """
    if context.invoked_subcommand is not None:
        return
    # The numbers of threads are read when torch is loaded.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from benchmarks.speed import report, suite

    pythons = {"cornac": cornac_python, "rectools": rectools_python}
    settings = suite.Settings(quick, threads, repeats or (3 if quick else 5), pythons)
    result = suite.measure(settings, lambda side: study.in_a_process(suite.peak, side))
    text = json.dumps(result, indent=1)
    if out is not None:
        out.write_text(text + "\n")
    click.echo(text if as_json else report.table(result))


@main.command()
@click.option("--minutes", default=10.0, show_default=True, help="When to be done with everything.")
@study.option("--device", type=click.Choice(["cpu", "cuda"]), default="cuda")
@study.option("--dataset", default="beauty", help="One of the suite, or simulated.")
@study.option("--methods", default="tiger,scoter,sasrec-ce,sasrec-ce-scoter", metavar="A,B")
@study.option("--equal-steps", default=200, help="Steps whose losses are compared.")
@study.option("--timed-steps", default=60, help="Steps of each of three repeats.")
@click.option("--only", multiple=True, metavar="DATASET/METHOD/SEED", help="Cells to train.")
@study.option("--at-once", default=4, help="Cells at a time; 0 trains none.")
@study.store_option
@study.data_option
@study.option("--out", type=study.PATH, default=Path("gpu"), help="Folder of what is made.")
def gpu(
    minutes: float,
    device: str,
    dataset: str,
    methods: str,
    equal_steps: int,
    timed_steps: int,
    only: tuple[str, ...],
    at_once: int,
    store: Path | None,
    data: Path | None,
    out: Path,
) -> None:
    """Training on a GPU: losses and steps a second of recorded steps, then cells of the suite."""
    began = time.monotonic()
    from benchmarks.speed import gpu as training
    from benchmarks.suite.loop import stopped_by_signals

    settings = training.Settings(dataset, device, store, data, equal_steps, timed_steps)
    training.measure(settings, methods.split(","), out, click.echo)
    left = 60 * minutes - (time.monotonic() - began) - training.GRACE_SECONDS
    if at_once and left > 0:
        with stopped_by_signals():
            training.train_cells(settings, only, at_once, left / 60, out, click.echo)


if __name__ == "__main__":
    try:
        main()
    except ScoterError as error:
        raise SystemExit(f"error: {error}") from None
