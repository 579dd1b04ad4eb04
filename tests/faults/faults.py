"""Full disks, lost permissions, damaged files, two processes at once, stores of older versions: an
error that says so, or the result that there would have been.

Everything happens to a small store that a real run of the simulated shop made, with a bundle, a
folder of chains, a sentence cache and stored replies beside it.
"""

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.studies.reliability import Section
from scoter.errors import ScoterError, StoreError
from scoter.storage.store import MANIFEST, Artefact, Store

NOBODY = 65534
OLD_VERSIONS = ("2521bb0", "5663106", "851987b")
"""Commits whose stores this version must understand or refuse: the first results, grounded steps,
voting steps."""


@dataclass
class Tried:
    """What was tried of one kind, how it ended, and what went wrong."""

    tried: int = 0
    refused: int = 0
    unchanged: int = 0
    wrong: list[str] = field(default_factory=list)


def measure(quick: bool = False, seed: int = 0) -> Section:
    """Make the small store, and try everything on copies of it."""
    from small_store import make_small_store

    found: dict[str, Tried] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        whole = make_small_store(root / "whole")
        for name, damage in DAMAGES.items():
            found[f"a file {name}"] = damage_every_file(whole, root / "damaged", damage, seed)
        found["file-size limit"] = limited(root, _file_size_limits)
        found["full disk (tmpfs)"] = limited(root, _small_disks)
        found["read-only store, finished"] = as_nobody(whole, _rerun_finished)
        found["read-only store, new work"] = as_nobody(whole, _new_work)
        found["file that may not be read"] = as_nobody(whole, _unreadable, hide=True)
        found["two processes, one store"] = two_processes(root / "shared")
        if not quick:
            found |= {
                f"store of {commit}": old_store(commit, root / commit) for commit in OLD_VERSIONS
            }
    rows = [
        [name, one.tried, one.refused, one.unchanged, len(one.wrong)] for name, one in found.items()
    ]
    wrong = [f"{name}: {problem}" for name, one in found.items() for problem in one.wrong]
    skipped = [f"{name} could not be tried here" for name, one in found.items() if not one.tried]
    said = (
        "Every file of every artefact (and of a bundle, a folder of chains, the sentence cache "
        "and the stored replies) was damaged in turn; `scoter verify` had to name it, or the "
        "bundle's reader, and whoever read it had to refuse it or give the same result. Disks "
        "and limits were filled at many sizes, then freed, and the run had to end as an "
        "undisturbed one."
    )
    return Section(
        "Faults",
        said,
        ("fault", "tried", "refused by name", "same result", "wrong"),
        rows,
        not wrong,
        [*wrong, *skipped],
    )


# Damages


def _cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def _remove(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGES = {
    "cut in half": _cut,
    "with one bit flipped": _flip,
    "emptied": _empty,
    "removed": _remove,
}


def damage_every_file(
    whole: Path, copy: Path, damage: Callable[[Path, random.Random], None], seed: int
) -> Tried:
    """Damage each file of a copy in turn, see that it is named and refused, and mend it."""
    rng, told = random.Random(seed), Tried()
    shutil.copytree(whole, copy)
    for name in sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()):
        if "/partial/" in name or name.endswith(".lock") or not (whole / name).stat().st_size:
            continue
        told.tried += 1
        damage(copy / name, rng)
        try:
            _named_and_refused(whole, copy, name, told)
        except Exception as error:  # anything but a ScoterError is what is looked for
            told.wrong.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        shutil.copy2(whole / name, copy / name)
    shutil.rmtree(copy)
    return told


def _named_and_refused(whole: Path, copy: Path, name: str, told: Tried) -> None:
    from scoter.serving.bundle_reader import open_bundle
    from scoter.stages.verification import verify_store

    damaged = str(copy / name)
    if name.startswith("bundle"):
        try:
            open_bundle(copy / "bundle")
        except StoreError as error:
            told.refused += damaged in str(error)
            told.wrong += [] if damaged in str(error) else [f"{name} is not named: {error}"]
            return
        told.wrong.append(f"{name}: the bundle was opened")
        return
    named = any(damaged in problem for problem in verify_store(Store(copy / "store"))[1])
    gone = _only_lacks(whole / name, copy / name)
    if not named and not gone:
        told.wrong.append(f"{name}: `scoter verify` does not name it")
    if (
        not (whole / name).parents[0].joinpath(MANIFEST).exists()
        and not (whole / name).parents[1].joinpath(MANIFEST).exists()
    ):
        told.refused += named
        told.unchanged += gone
        return
    try:
        again = read_artefact(copy, name)
    except ScoterError:
        told.refused += 1
        return
    told.unchanged += 1
    if again != read_artefact(whole, name):
        told.wrong.append(f"{name}: what was read differs, without an error")


def _only_lacks(whole: Path, damaged: Path) -> bool:
    """Whether it looks as a kill may leave it: a cache without a shard, replies without their end,
    a job unfinished."""
    if not damaged.exists():
        return (
            whole.parent.name == "replies"
            or whole.parents[1].name == "sentences"
            or whole.name == "finished.json"
        )
    return whole.parent.name == "replies" and whole.read_bytes().startswith(damaged.read_bytes())


def read_artefact(root: Path, name: str) -> str:
    """A digest of what a stage's readers give, of the artefact that the file `name` belongs to."""
    from scoter.stages.context import PARTS
    from scoter.stages.data import open_data, open_semantic_ids
    from scoter.stages.networks import open_rankings
    from scoter.stages.reasoning import open_pattern, open_steps
    from scoter.storage.arrays import load_arrays
    from scoter.storage.run_files import outcome_of

    def weights(artefact: Artefact) -> Any:
        told = json.loads(artefact.file("training.json").read_text())
        return told, load_arrays(artefact.file("weights.safetensors")) if told[
            "parameters"
        ] else None

    readers: dict[str, Callable[[Artefact], Any]] = {
        "prepare": open_data,
        "items": lambda one: (
            load_arrays(one.file("vectors.safetensors")),
            one.file("source.json").read_text(),
        ),
        "semantic-ids": open_semantic_ids,
        "discover": lambda one: (open_pattern(one), one.folder().name),
        "chains": open_steps,
        "train": weights,
        "rank": lambda one: [open_rankings(one, part) for part in PARTS] + [one.folder().name],
        "run": lambda one: (outcome_of(one), _page(one.folder())),
    }
    _, stage, key = Path(name).parts[:3]
    return _digest(readers[stage](Store(root / "store").find(stage, key)))


def _page(folder: Path) -> str:
    from scoter.report.run_report import write_report

    with tempfile.TemporaryDirectory() as place:
        write_report(folder, Path(place) / "page.html")
        return (Path(place) / "page.html").read_text()


def _digest(value: Any) -> str:
    import hashlib

    import numpy as np

    def plain(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            return [str(part.dtype), part.shape, hashlib.sha256(part.tobytes()).hexdigest()]
        if isinstance(part, dict):
            return {str(name): plain(one) for name, one in part.items()}
        if isinstance(part, list | tuple):
            return [plain(one) for one in part]
        return plain(vars(part)) if hasattr(part, "__dict__") else repr(part)

    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


# Disks and limits


def limited(root: Path, limits: Callable[[Path], Generator[None, None, None]]) -> Tried:
    """Run under one limit after the other, each wider; every end but the last must be an error that
    says so."""
    from small_store import run_small

    told, place = Tried(), root / "limited"
    place.mkdir()
    try:
        with contextlib.closing(limits(place)) as sizes:
            for _ in sizes:
                told.tried += 1
                try:
                    run_small(place / "store")
                    told.unchanged += not Store(place / "store").verify_all()[1]
                    break
                except ScoterError as error:
                    told.refused += 1
                    if "could not be written" not in str(error) and "cannot be written" not in str(
                        error
                    ):
                        told.wrong.append(f"the error does not say so: {error}")
                except Exception as error:  # anything but a ScoterError is what is looked for
                    told.wrong.append(f"{type(error).__name__}: {str(error)[:200]}")
        if told.tried and not told.unchanged:
            told.wrong.append("it never ended")
    except PermissionError:
        return Tried()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return told


def _file_size_limits(place: Path) -> Generator[None, None, None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for size in (100, 1_000, 4_000, 16_000, 64_000, 250_000, before[0]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _small_disks(place: Path) -> Generator[None, None, None]:
    """A disk in memory that grows; needs the right to mount one."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)], capture_output=True
    ).returncode:
        raise PermissionError(errno.EPERM, "mount")
    try:
        for size in ("32k", "128k", "512k", "1m", "2m", "64m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
            yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


# Permissions


def as_nobody(whole: Path, attempt: Callable[[Path, Tried], None], hide: bool = False) -> Tried:
    """Try in a child without rights, on a copy that it may read and not write; with `hide` not even
    read what artefacts hold."""
    copy = whole.with_name("read-only")
    shutil.copytree(whole, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0 if hide and _held(path) else 0o444)
    told = Tried()
    try:
        if os.geteuid() == 0:
            _forked(lambda: attempt(copy, told), told)
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(copy)
    return told


def _held(path: Path) -> bool:
    """Whether a file is one of an artefact's, its manifest aside."""
    return (path.parent / MANIFEST).exists() and path.name != MANIFEST


def _forked(attempt: Callable[[], None], told: Tried) -> None:
    """Run the attempt as nobody in a child, and take over what it counted."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            attempt()
            os.write(writing, json.dumps(vars(told)).encode())
            status = 0
        except BaseException as error:
            os.write(
                writing,
                json.dumps(
                    {"tried": 1, "wrong": [f"{type(error).__name__}: {str(error)[:300]}"]}
                ).encode(),
            )
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        counted = json.loads(pipe.read() or '{"tried": 1, "wrong": ["the child died"]}')
    os.waitpid(child, 0)
    for name, value in counted.items():
        setattr(told, name, value)


def _rerun_finished(root: Path, told: Tried) -> None:
    from small_store import run_small

    told.tried = 1
    told.unchanged = int(run_small(root / "store").reused)


def _new_work(root: Path, told: Tried) -> None:
    from small_store import run_small

    told.tried = 1
    try:
        run_small(root / "store", "data.simulated.users=90")
    except StoreError as error:
        told.refused = int("permission" in str(error).lower())
        return
    told.wrong.append("a store that may not be written took an artefact")


def _unreadable(root: Path, told: Tried) -> None:
    from scoter.stages.verification import verify_store

    hidden = [
        path
        for path in (root / "store").rglob("*")
        if path.is_file() and not path.stat().st_mode & 0o444
    ]
    problems = verify_store(Store(root / "store"))[1]
    told.tried = len(hidden)
    told.refused = sum(any(str(path) in problem for problem in problems) for path in hidden)
    told.wrong = [
        f"{path.name} is not named"
        for path in hidden
        if not any(str(path) in problem for problem in problems)
    ]


# Two at once


def two_processes(root: Path) -> Tried:
    """Two processes that do the same at the same time in one store: both end, and each stage is
    made once."""
    from small_store import run_small

    root.mkdir()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_small(root / "store", say=lambda line: _append(root / "said", line))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    told = Tried(tried=2, unchanged=statuses.count(0))
    made = [line for line in (root / "said").read_text().splitlines() if ": made " in line]
    if statuses != [0, 0] or len(made) != len(set(made)) or Store(root / "store").verify_all()[1]:
        told.wrong.append(
            f"statuses {statuses}, {len(made)} made, {len(set(made))} of them different"
        )
    return told


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


# Older versions


def old_store(commit: str, root: Path) -> Tried:
    """Let an older version make a store, and try this version's commands on it: each works, or
    refuses in one line."""
    home, tree = Path(__file__).parents[2], root / "tree"
    told = Tried()
    root.mkdir()
    if subprocess.run(
        ["git", "worktree", "add", "--detach", str(tree), commit], cwd=home, capture_output=True
    ).returncode:
        return told
    try:
        settings = [part for one in _OLD_SETTINGS for part in ("--set", one)]
        made = _scoter(tree, root, "run", "simulated-smoke", *settings)
        if made.returncode:
            told.tried, told.wrong = 1, [f"the old version failed: {made.stderr[-200:]}"]
            return told
        for words in (
            ("verify",),
            ("show", "latest"),
            ("table", "simulated"),
            ("recommend", "latest"),
            ("leakage", "latest"),
        ):
            done = _scoter(home, root, *words)
            told.tried += 1
            told.unchanged += done.returncode == 0
            told.refused += done.returncode == 1 and done.stderr.strip().splitlines()[-1:][
                0
            ].startswith("Error: ")
            if "Traceback" in done.stderr or done.returncode not in (0, 1):
                told.wrong.append(
                    f"scoter {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}"
                )
    finally:
        subprocess.run(
            ["git", "worktree", "remove", "--force", str(tree)], cwd=home, capture_output=True
        )
    return told


_OLD_SETTINGS = (
    "data.simulated.users=120",
    "methods.*.training.epochs=1",
    "methods.*.training.evaluate_every=1",
    "discover.users=60",
    "discover.fresh_users=40",
)


def _scoter(home: Path, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scoter.cli.main", *words, "--store", str(root / "store")]
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
    )
