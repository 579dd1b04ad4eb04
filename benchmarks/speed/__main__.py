"""`python -m benchmarks.speed [--quick] [--json]`: what scoter does in a CPU-second, beside what
others do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

PEERS = {"cornac": "SCOTER_BENCH_CORNAC_PYTHON", "rectools": "SCOTER_BENCH_RECTOOLS_PYTHON"}


@click.command()
@click.option("--quick", is_flag=True, help="Less work and three repeats: under a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--threads", default=1, show_default=True, help="Threads of both sides.")
@click.option("--repeats", type=int, help="Alternating repeats [default: 5, with --quick 3].")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the JSON object to this file too."
)
@click.option(
    "--cornac-python",
    envvar=PEERS["cornac"],
    help="A Python that has Cornac 3 (`pip install cornac transformers`).",
)
@click.option(
    "--rectools-python",
    envvar=PEERS["rectools"],
    help="A Python that has RecTools (`pip install 'rectools[torch]'`).",
)
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
    """Measure training, decoding, memory and the distance to the arithmetic limit, ours and theirs
    in turn.

    Cornac and RecTools pin other versions than scoter, so each is run by a Python of its own
    environment; without one its rows say so and are left out. So are they with --quick.
    """
    # The numbers of threads are read when torch is loaded.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from benchmarks.speed import memory, report, suite

    if memory_of is not None:
        click.echo(json.dumps(memory.peak(memory_of)))
        return
    count = repeats or (3 if quick else 5)
    result = suite.measure(
        quick,
        threads,
        count,
        {"cornac": cornac_python, "rectools": rectools_python},
        _memory(threads),
    )
    text = json.dumps(result, indent=1)
    if out is not None:
        out.write_text(text + "\n")
    click.echo(text if as_json else report.table(result))


def _memory(threads: int) -> Any:
    """A fresh process for each side, because a process never gives its peak back."""

    def measure(side: str) -> dict[str, float]:
        command = [
            sys.executable,
            "-m",
            "benchmarks.speed",
            "--memory-of",
            side,
            "--threads",
            str(threads),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    return measure


if __name__ == "__main__":
    main()
