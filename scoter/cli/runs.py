"""How commands find a finished run by the name that a person types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoter.errors import StoreError, closest

if TYPE_CHECKING:  # at run time the store would bring numpy along, and help would be slow
    from scoter.storage.store import Artefact, Store

_NEEDED = (
    "experiment",
    "dataset",
    "seed",
    "commit",
    "users",
    "items",
    "note",
    "full_data",
    "methods",
    "differences",
    "config",
)


def open_store(folder: Path | None) -> Store:
    """The store in that folder, or the usual one."""
    from scoter.storage.store import Store

    return Store(folder)


def find_run(store: Store, name: str) -> Artefact:
    """The newest finished run of that name, start of its key, or experiment; `latest` is the newest
    of all."""
    runs = list(store.artefacts("run"))
    named = [
        artefact
        for artefact in runs
        if name
        in (run_name_of(artefact), artefact.key[: len(name)], outcome_of(artefact)["experiment"])
    ]
    named = runs if name == "latest" else named
    if not named:
        names = [run_name_of(artefact) for artefact in runs]
        like = closest(name, [*names, *(outcome_of(artefact)["experiment"] for artefact in runs)])
        newest = f"the newest runs are: {', '.join(names[-5:]) or 'none yet'}"
        raise StoreError(f"there is no run {name!r} in {store.root}; {newest}{like}")
    return named[-1]


def outcome_of(artefact: Artefact) -> dict[str, Any]:
    """What stands in its run.json.

    Raises:
        StoreError: it lacks what runs of this version have, because another version made it.
    """
    outcome = json.loads(artefact.file("run.json").read_text())
    if absent := [name for name in _NEEDED if name not in outcome]:
        raise StoreError(
            f"{artefact.path / 'run.json'} has no {absent[0]!r}, so another version of scoter "
            "made it; run the experiment again, or delete that folder"
        )
    return outcome


def run_name_of(artefact: Artefact) -> str:
    """Experiment, seed and the start of the key."""
    outcome = outcome_of(artefact)
    return f"{outcome['experiment']}-s{outcome['seed']}-{artefact.key[:8]}"
