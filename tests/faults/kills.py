"""SIGKILL at random moments across every stage, rerun, and compare with what an uninterrupted run
leaves.

Each kill waits for one piece of work to begin (in turn, so that the short ones get as many as the
long ones) and falls at a random moment of it. After each, every artefact that looks finished is
hashed again; at the end all files are compared byte by byte with those of a run that nobody
disturbed. What cannot be equal is named in `TIMED` and compared without it.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from raw_files import write_raw_amazon

from benchmarks.studies.reliability import Section
from scoter.errors import ScoterError
from scoter.storage.store import MANIFEST, Store

TIMED = ("cpu_seconds", "cpu_hours", "peak_mib", "created", "digest")
"""Fields that say when, how long and with how much memory; `digest` is the manifest's hash of
itself."""

PATIENCE_S = 900.0


def measure(quick: bool = False, kills: int = 50, seed: int = 0) -> Section:
    """Kill `kills` times (5 with `quick`) and compare."""
    with tempfile.TemporaryDirectory() as folder:
        found = kill_and_compare(Path(folder), 5 if quick else kills, seed)
    kinds = Counter(unit.rpartition("-")[0] or unit for unit in found["killed"])
    rows = [[name, count] for name, count in sorted(kinds.items())]
    said = (
        f"{len(found['killed'])} times a process that prepares raw files, runs an experiment with "
        "a mined pattern, writes chains, exports a bundle and makes the cells of a benchmark "
        f"suite was sent SIGKILL (with its children) at a random moment (seed {seed}), and "
        f"started again. It ended with {found['files']} files: {found['identical']} are identical "
        f"byte for byte to those of an undisturbed run, {found['timed']} differ in "
        f"{', '.join(TIMED)} alone, {len(found['different'])} differ otherwise. "
        f"{found['verified']} times a finished artefact was hashed again after a kill; "
        f"{len(found['damaged'])} were damaged. {found['left']} half-written folders were left at "
        "the end."
    )
    passed = not (found["different"] or found["damaged"] or found["crashed"] or found["left"])
    return Section(
        "Kills",
        said,
        ("stage", "kills"),
        rows,
        passed,
        [*found["different"], *found["damaged"], *found["crashed"]],
    )


def kill_and_compare(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """The count of kills by piece of work, and what differs from an undisturbed run; needs `folder`
    empty."""
    rng = random.Random(seed)
    raw, tree = folder / "raw", folder / "tree"
    write_raw_amazon(raw)
    _clean_tree(tree)
    whole, torn = folder / "whole", folder / "torn"
    timeline = _Child(whole, raw, tree).to_the_end()
    order = list(timeline)
    places = range(len(order))
    wanted = (
        rng.sample(places, kills)
        if kills < len(order)
        else [*places, *rng.choices(places, k=kills - len(order))]
    )
    found: dict[str, Any] = {"killed": [], "crashed": [], "damaged": [], "verified": 0}
    for place in sorted(wanted):
        unit = order[place]
        child = _Child(torn, raw, tree)
        hit = child.kill_in(unit, order[place:], rng.random() * timeline[unit])
        if hit is None:
            found["crashed"] += (
                [] if child.status == 0 else [f"status {child.status} while waiting for {unit}"]
            )
            continue
        found["killed"].append(hit)
        count, problems = Store(torn / "store").verify_all()
        found["verified"] += count
        found["damaged"] += problems
    last = _Child(torn, raw, tree)
    last.to_the_end()
    return {**found, **compare(whole, torn)}


def compare(whole: Path, torn: Path) -> dict[str, Any]:
    """How many files two folders have, how many are identical, and which differ in more than
    `TIMED`."""
    ours, theirs = _files(whole), _files(torn)
    different = [f"{name}: only in one of the two" for name in sorted(set(ours) ^ set(theirs))]
    identical = timed = 0
    for name in sorted(set(ours) & set(theirs)):
        if ours[name].read_bytes() == theirs[name].read_bytes():
            identical += 1
        elif _untimed(ours[name]) == _untimed(theirs[name]):
            timed += 1
        else:
            different.append(f"{name}: differs")
    left = [path for path in (torn / "store" / "partial").iterdir() if path.suffix != ".lock"]
    return {
        "files": len(ours),
        "identical": identical,
        "timed": timed,
        "different": different,
        "left": len(left),
    }


def _files(root: Path) -> dict[str, Path]:
    return {
        str(path.relative_to(root)): path
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def _untimed(path: Path) -> Any:
    """A file's content without `TIMED`; in a manifest also without the hashes of files that hold
    such fields."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.drop_columns(
            [name for name in TIMED if name in table.column_names]
        ).to_pylist()
    if path.suffix != ".json":
        return path.read_bytes()
    told = _without(json.loads(path.read_text()))
    if path.name == MANIFEST:
        told["files"] = {
            name: known
            for name, known in told["files"].items()
            if not _holds_times(path.parent / name)
        }
    return told


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(part) for name, part in value.items() if name not in TIMED}
    return [_without(part) for part in value] if isinstance(value, list) else value


def _holds_times(path: Path) -> bool:
    return path.suffix == ".json" and any(f'"{name}"' in path.read_text() for name in TIMED)


class _Child:
    """The work of `killed_work` in a process group of its own, and what it announced so far."""

    def __init__(self, root: Path, raw: Path, tree: Path) -> None:
        import killed_work  # loaded once, here: children start at once

        root.mkdir(exist_ok=True)
        self.announced = root.parent / "announced"
        self.announced.write_text("")
        given = tuple(str(path) for path in (root, raw, tree, self.announced))
        self.process = multiprocessing.get_context("fork").Process(
            target=killed_work.run, args=given, daemon=True
        )
        self.process.start()
        self.status: int | None = None

    def to_the_end(self) -> dict[str, float]:
        """Wait for it, and return the seconds that each piece of work took, in order."""
        self.process.join(PATIENCE_S)
        if self.process.exitcode != 0:
            raise ScoterError(
                f"the work ended with status {self.process.exitcode}; run it by hand to see why"
            )
        begun: dict[str, float] = {}
        took: dict[str, float] = {}
        for moment, what, unit in self._lines():
            if what == "begin":
                begun[unit] = moment
                took[unit] = 0.0
            else:
                took[unit] = moment - begun[unit]
        return took

    def kill_in(self, unit: str, following: list[str], after: float) -> str | None:
        """Kill it so long after that unit, or the first of the following, begins; None where it
        ended before."""
        begins = time.monotonic()
        while time.monotonic() - begins < PATIENCE_S:
            alive = self.process.is_alive()
            here = next(
                (name for _, what, name in self._lines() if what == "begin" and name in following),
                None,
            )
            if here is not None:
                time.sleep(after)
                self._kill()
                return here
            if not alive:
                self.status = self.process.exitcode
                return None
            time.sleep(0.002)
        self._kill()
        raise ScoterError(f"{unit} did not begin within {PATIENCE_S:g} seconds")

    def _kill(self) -> None:
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()
        self.process.join()

    def _lines(self) -> list[tuple[float, str, str]]:
        whole = self.announced.read_text().split("\n")[:-1]
        found = [line.split(" ", 2) for line in whole]
        return [(float(moment), what, unit) for moment, what, unit in found]


def _clean_tree(tree: Path) -> None:
    """A git repository without changes: results of a dirty one are refused."""
    tree.mkdir(parents=True)
    who = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    fixed = {
        "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
    }
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "empty"]):
        subprocess.run(["git", *words], cwd=tree, check=True, env={**os.environ, **who, **fixed})
