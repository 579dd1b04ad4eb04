"""Equal seeds, equal bytes? The same run in fresh processes with other hash seeds and other numbers
of threads.

Promised are equal bytes for equal seeds on one machine with one number of threads, whatever the
hash seed. With another number of threads sums may be added up in another order; how far the numbers
then differ is measured here.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from kills import compare

from benchmarks.studies.reliability import Section
from scoter.storage.arrays import load_arrays

FIRST = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
PROMISED: dict[str, dict[str, str]] = {
    "another process": FIRST,
    "hash seed 1": {**FIRST, "PYTHONHASHSEED": "1"},
    "random hash seed": {**FIRST, "PYTHONHASHSEED": "random"},
}
NOT_PROMISED = {"two threads": {**FIRST, "OMP_NUM_THREADS": "2"}}

_RUN = """
import sys, torch
from pathlib import Path
from small_store import run_small, write_small_chains
torch.set_num_threads(int(sys.argv[2]))
run_small(Path(sys.argv[1]) / "store")
write_small_chains(Path(sys.argv[1]) / "store")
"""


def measure(quick: bool = False) -> Section:
    """Make the small store again under each setting, and compare every file with those of the
    first."""
    with tempfile.TemporaryDirectory() as folder:
        first = _made(Path(folder) / "first", FIRST)
        rows, broken = [], []
        for number, (name, setting) in enumerate({**PROMISED, **NOT_PROMISED}.items()):
            again = _made(Path(folder) / str(number), setting)
            found = compare(first, again)
            rows.append(
                [
                    name,
                    found["identical"],
                    found["timed"],
                    len(found["different"]),
                    _largest(first, again),
                ]
            )
            broken += [f"{name}: {line}" for line in found["different"]] if name in PROMISED else []
    said = (
        "A run of every stage with a mined pattern, and `scoter reason`, in fresh processes. "
        "Promised are equal bytes for equal seeds on one machine with one number of threads. "
        "Files whose times alone differ hold CPU seconds, peak memory or dates."
    )
    columns = (
        "compared with hash seed 0, one thread",
        "files identical",
        "times alone differ",
        "differ",
        "largest difference of a score",
    )
    return Section("Determinism", said, columns, rows, not broken, broken)


def _made(root: Path, setting: dict[str, str]) -> Path:
    root.mkdir()
    here = Path(__file__).parent
    home = str(here.parents[1])
    environment = {**os.environ, **setting, "PYTHONPATH": os.pathsep.join([home, str(here)])}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(root), setting["OMP_NUM_THREADS"]],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the run under {setting} failed: {done.stderr[-500:]}")
    return root


def _largest(first: Path, again: Path) -> float:
    """The largest difference between scores of the same item for the same user, over the methods of
    both runs."""
    found = [0.0]
    for ours, theirs in zip(*(_rankings(root) for root in (first, again)), strict=True):
        for user, items in enumerate(ours["items"]):
            known = dict(zip(items.tolist(), ours["scores"][user].tolist(), strict=True))
            both = zip(theirs["items"][user].tolist(), theirs["scores"][user].tolist(), strict=True)
            found += [
                abs(known[item] - score) for item, score in both if item >= 0 and item in known
            ]
    return float(np.max(found))


def _rankings(root: Path) -> list[dict[str, Any]]:
    """The test rankings of each method of the run, in its order."""
    run = json.loads(next((root / "store" / "run").glob("*/run.json")).read_text())
    manifests = [
        (path.parent, json.loads(path.read_text()))
        for path in (root / "store" / "rank").glob("*/manifest.json")
    ]
    folders = {manifest["inputs"][0]: folder for folder, manifest in manifests}
    return [
        load_arrays(folders[key] / "rankings-test.safetensors")
        for key in run["artefacts"]["train"].values()
    ]
