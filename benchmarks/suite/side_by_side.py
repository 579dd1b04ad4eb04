"""Several of the suite's loops at once on one machine or GPU, each with a log of its own.

The loops share the store and the results, and each takes cells that no other is at, so this only
starts them, waits, and ends them together.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import click

SECONDS_BETWEEN_LOOKS = 2.0


def side_by_side(
    count: int, arguments: Sequence[str], logs: Path, look: Callable[[], object] = lambda: None
) -> int:
    """The highest exit status of `count` processes of `python -m benchmarks run ARGUMENTS`.

    `look` is called every other second, and once more when all have ended. Whatever ends this (an
    error, Ctrl-C) asks the loops to stop, and waits until they have left their cells in order.
    """
    logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-u", "-m", "benchmarks", "run", *arguments]
    loops: list[subprocess.Popen[bytes]] = []
    with ExitStack() as files:
        try:
            for number in range(1, count + 1):
                log = files.enter_context((logs / f"loop-{number}.log").open("wb"))
                loops.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
            for each in loops:
                while each.poll() is None:
                    look()
                    with suppress(subprocess.TimeoutExpired):
                        each.wait(SECONDS_BETWEEN_LOOKS)
        finally:
            for each in loops:
                each.terminate()
            statuses = [each.wait() for each in loops]
            look()
    return max(map(abs, statuses))


def arguments_of(context: click.Context, **changed: object) -> list[str]:
    """The options of a command as they were given, some of them changed."""
    words = []
    for option in context.command.params:
        given = changed.get(str(option.name), context.params[str(option.name)])
        values = given if isinstance(given, tuple) else (given,)
        words += [f"{option.opts[0]}={value}" for value in values if value not in (None, "", False)]
    return words
