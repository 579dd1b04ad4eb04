"""The suite's loop: each missing cell runs in its own process and is collected when it ends.

Several loops can share one folder of results and one store: one of them claims each cell, and rows
are added under a lock. Stopping (Ctrl-C, the budget, a kill) loses at most the last minute of
training of the current cell.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.suite.cells import Cell
from benchmarks.suite.collect import check_commit, collect
from benchmarks.suite.plan import Planned, plan
from scoter.errors import DataError, ScoterError
from scoter.report.page import cpu_time
from scoter.storage.store import Store, git_commit

GRACE_SECONDS = 30.0

Runner = Callable[[Cell, float | None], Path | None]


def run_suite(
    cells: Sequence[Cell],
    results: Path,
    *,
    runner: Runner,
    store: Path | None = None,
    data: Path | None = None,
    budget_minutes: float | None = None,
    say: Callable[[str], None] = print,
) -> list[Cell]:
    """Make every cell that is missing, most valuable first, and return those that failed.

    `runner` makes a cell within some seconds (None: no limit) and returns its run folder, or None
    where time was up. After `budget_minutes` of wall time the loop stops; a rerun resumes the cell.
    A dirty working tree is refused, since its runs cannot be collected.
    """
    check_commit(git_commit())
    began, failed, elsewhere = time.monotonic(), [], set()
    while True:
        planned = plan(cells, results, data)
        skipped = {*failed, *elsewhere}
        todo = [each for each in planned if not each.done and each.cell not in skipped]
        if not todo:
            done = sum(each.done for each in planned)
            say(f"{done} of {len(planned)} cells are done, {len(failed)} failed")
            return failed
        left = None if budget_minutes is None else 60 * budget_minutes - (time.monotonic() - began)
        if left is not None and left <= 0:
            spent = f"the budget of {budget_minutes:g} minutes is spent"
            say(f"{spent}. {summary(planned)}; run again to go on")
            return failed
        cell = todo[0].cell
        with claimed(cell, store) as ours:
            if not ours:
                say(f"{cell.name}: another process is at it")
                elsewhere.add(cell)
            elif not plan([cell], results, data)[0].done:
                say(f"{summary(planned)}\n{line(todo[0])}")
                try:
                    if folder := runner(cell, left):
                        say(_collect(cell, results, data, folder))
                except ScoterError as error:
                    say(f"{cell.name} FAILED: {error}")
                    failed.append(cell)


def _collect(cell: Cell, results: Path, data: Path | None, folder: Path) -> str:
    rows = collect(folder, results)
    if not (now := plan([cell], results, data)[0]).done:
        what = f"{folder} is of another recipe than asked for ({now.why})"
        raise DataError(f"{what}; was the code changed meanwhile?")
    spent = cpu_time(3600 * rows["cpu_hours"].iloc[0])
    return f"{cell.name}: {len(rows)} rows added{spent and f', {spent} of CPU time'}"


def in_process_of_its_own(
    store: Path | None, data: Path | None, threads: int, device: str = "cpu"
) -> Runner:
    """A runner that starts a fresh Python per cell, and stops it when time is up or this ends."""

    def runner(cell: Cell, seconds: float | None) -> Path | None:
        places = {"data": data and str(data), "store": store and str(store)}
        job = {"cell": asdict(cell), **places, "threads": threads, "device": device}
        command = [sys.executable, "-m", "benchmarks.suite.cell", json.dumps(job)]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "errors": "replace"}
        with subprocess.Popen(command, **options) as child:
            try:
                out, _ = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                _end(child)
                return None
            except BaseException:
                _end(child)
                raise
        if child.returncode:
            status = f"its process ended with status {child.returncode}"
            raise ScoterError(f"{status}; its messages stand above")
        return Path(json.loads(out.strip().splitlines()[-1]))

    return runner


def line(planned: Planned) -> str:
    """A cell with its state and what it may cost."""
    text = f"{planned.cell.name:44} {planned.state}{planned.why and f' ({planned.why})'}"
    if planned.done:
        return text
    if planned.cpu_hours is None:
        return f"{text}, cost unknown"
    return f"{text}, about {cpu_time(3600 * planned.cpu_hours) or '0 s'} of CPU time"


def summary(planned: Sequence[Planned]) -> str:
    """How many cells are done, and what the rest may cost."""
    left = [each for each in planned if not each.done]
    known = [each.cpu_hours for each in left if each.cpu_hours is not None]
    unknown = f", {len(left) - len(known)} of unknown cost" if len(known) < len(left) else ""
    spent = cpu_time(3600 * sum(known))
    cost = f": about {spent} of CPU time" if spent else ""
    done = f"{len(planned) - len(left)} of {len(planned)} cells done"
    return f"{done}, {len(left)} left{cost}{unknown}"


@contextmanager
def claimed(cell: Cell, store: Path | None) -> Iterator[bool]:
    """Whether this process is the only one at a cell; held until the block ends."""
    folder = Store(store).root / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"cell-{cell.name.replace('/', '-')}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    with held:
        yield True


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A request to end (SIGTERM) is treated as Ctrl-C, so that no child is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
