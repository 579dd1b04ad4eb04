"""The file of a finished run, `run.json`, read in one place."""

import json
from pathlib import Path
from typing import Any

from scoter.errors import DataError, StoreError
from scoter.storage.store import MANIFEST, Artefact
from scoter.storage.untrusted import parse_json

RUN_FILE = "run.json"
NEEDED = (
    *("experiment", "dataset", "seed", "commit", "users", "items", "note", "full_data"),
    *("methods", "differences", "config"),
)
"""What the file of every run of this version holds."""


def run_at(folder: Path) -> Artefact:
    """The finished run in a folder of a store.

    Raises:
        DataError: the folder holds no finished run.
    """
    try:
        key = parse_json((folder / MANIFEST).read_bytes())["key"]
        whole = (folder / RUN_FILE).exists() and isinstance(key, str)
    except (OSError, ValueError, KeyError, TypeError):
        whole, key = False, ""
    if not whole:
        remedy = "pass a folder below the store's run/, or run it again to its end"
        raise DataError(f"{folder} holds no finished run (a {RUN_FILE} and a {MANIFEST}); {remedy}")
    return Artefact(folder, "run", key)


def outcome_of(run: Artefact) -> dict[str, Any]:
    """What stands in a run's `run.json`.

    Raises:
        StoreError: it lacks what runs of this version have.
    """
    outcome = json.loads(run.file(RUN_FILE).read_text())
    if absent := [name for name in NEEDED if name not in outcome]:
        made = f"{run.path / RUN_FILE} has no {absent[0]!r}, so another version of scoter made it"
        raise StoreError(f"{made}; run the experiment again, or delete that folder")
    return outcome


def run_name(run: Artefact) -> str:
    """Experiment, seed and the start of the key."""
    outcome = outcome_of(run)
    return f"{outcome['experiment']}-s{outcome['seed']}-{run.key[:8]}"
