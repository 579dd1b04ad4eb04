"""All of scoter's work on a small scale, in a process that may be killed at any moment: what a
killed child runs.

Importing this loads all that the work needs, so that a child that is forked afterwards starts at
once.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from small_store import run_small, write_small_chains

from benchmarks.suite.cells import Cell, cells_for, experiment_of
from benchmarks.suite.loop import run_suite
from scoter import pipeline
from scoter.config import TextConfig
from scoter.data.official.prepare import obtain
from scoter.data.prepared import save_prepared
from scoter.serving.bundle import export_run
from scoter.stages import data, models, reasoning, summary  # noqa: F401
from scoter.storage import sentence_vectors as text
from scoter.storage.store import Store

OWN = "own"
SUITE = ("popularity", "sasrec-ce")

text._load(TextConfig().encoder)


def run(root: str, raw: str, clean_tree: str, announced: str) -> None:
    """Do the work in `root`, where it is not done, as a process group of its own, and say in a file
    what begins and ends."""
    os.setsid()
    os.chdir(clean_tree)
    descriptor = os.open(announced, os.O_WRONLY | os.O_APPEND)

    def announce(line: str) -> None:
        os.write(descriptor, f"{time.monotonic()} {line}\n".encode())

    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
    ):
        work(Path(root), Path(raw), announce)


def work(root: Path, raw: Path, announce: Callable[[str], object]) -> None:
    """Prepare raw files; run an experiment whose pattern is mined; write chains; export a bundle;
    make a suite's cells."""
    with _piece("data", announce):
        save_prepared(*obtain("beauty", raw, published=False), root / OWN)
    with _announced(announce):
        store = Store(root / "store")
        finished = run_small(store.root)
        with _piece("reason", announce):
            write_small_chains(store.root)
        with _piece("bundle", announce):
            if not (root / "bundle").exists():
                export_run(store, finished, "scoter", root / "bundle")
        with _piece("suite", announce):

            def runner(cell: Cell, seconds: float | None) -> Path:
                return pipeline.run(
                    experiment_of(cell), seed=cell.seed, store=store, data_dir=root / OWN
                ).path

            cells = [cell for cell in cells_for(OWN, SUITE, share=0.05) if cell.seed < 2]
            failed = run_suite(
                cells,
                root / "results",
                runner=runner,
                store=store.root,
                data=root / OWN,
                say=lambda line: None,
            )
            assert not failed, failed


@contextlib.contextmanager
def _piece(name: str, announce: Callable[[str], object]) -> Iterator[None]:
    announce(f"begin {name}")
    yield
    announce(f"end {name}")


@contextlib.contextmanager
def _announced(announce: Callable[[str], object]) -> Iterator[None]:
    """Every stage that is built meanwhile is announced by its name and key."""
    original = Store.stage

    def stage(self, name, version, config, inputs, build):  # type: ignore[no-untyped-def]
        begun: list[str] = []

        def announced(out: Path, scratch: Path) -> None:
            begun.append(out.name.rpartition("-")[0])
            announce(f"begin {begun[0]}")
            build(out, scratch)

        made = original(self, name, version, config, inputs, announced)
        if begun:
            announce(f"end {begun[0]}")
        return made

    Store.stage = stage  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        Store.stage = original
