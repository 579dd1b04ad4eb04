"""`python -m benchmarks.speed [--quick] [--json]`: work of scoter and others in a CPU-second."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Less work and three repeats: under a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--threads", default=1, show_default=True, help="Threads of both sides.")
@click.option("--repeats", type=int, help="Alternating repeats [default: 5, with --quick 3].")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON to this file.")
@click.option("--cornac-python", envvar="SCOTER_BENCH_CORNAC_PYTHON", help="One with Cornac 3.")
@click.option("--rectools-python", envvar="SCOTER_BENCH_RECTOOLS_PYTHON", help="One with RecTools.")
@click.option("--memory-of", type=click.Choice(["ours", "theirs"]), hidden=True)
def main(
    quick: bool,
    as_json: bool,
    threads: int,
    repeats: int | None,
    out: Path | None,
    cornac_python: str | None,
    rectools_python: str | None,
    memory_of: str | None,
) -> None:
    """Measure training, decoding, memory and the distance to the arithmetic limit, in turn.

    Cornac and RecTools pin other versions than scoter, so each is run by a Python of its own
    environment; without one its rows say so and are left out. So are they with --quick.
    """
    # The numbers of threads are read when torch is loaded.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from benchmarks.speed import report, suite

    if memory_of is not None:
        click.echo(json.dumps(suite.peak(memory_of)))
        return
    pythons = {"cornac": cornac_python, "rectools": rectools_python}
    settings = suite.Settings(quick, threads, repeats or (3 if quick else 5), pythons)
    result = suite.measure(settings, lambda side: _memory(side, threads))
    text = json.dumps(result, indent=1)
    if out is not None:
        out.write_text(text + "\n")
    click.echo(text if as_json else report.table(result))


def _memory(side: str, threads: int) -> dict[str, float]:
    # In a fresh process, because a process never gives its peak back.
    command = [sys.executable, "-m", "benchmarks.speed", "--memory-of", side]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
