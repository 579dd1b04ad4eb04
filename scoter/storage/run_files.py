"""The file of a finished run, `run.json`: what it holds, and its one reader."""

import json
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from scoter.errors import DataError, StoreError
from scoter.storage.store import MANIFEST, Artefact
from scoter.storage.untrusted import parse_json
from scoter.types import Json

RUN_FILE, POINTS_FILE = "run.json", "points.json"


class MethodOutcome(TypedDict):
    """What one method of a run reached, and what training it took."""

    metrics: dict[str, dict[str, float]]  # by part and metric
    config: dict[str, Json]  # of the method, as `config.to_json` writes it
    epochs: int
    best_epoch: int
    curve: list[dict[str, float]]
    parameters: int
    cpu_seconds: float
    train: str  # key of the artefact with its weights
    trained_at: str  # git commit


class Difference(TypedDict):
    """A paired difference of two methods with its 95 % bootstrap interval."""

    better: str
    worse: str
    metric: str
    mean: float
    low: float
    high: float


RunArtefacts = TypedDict(
    "RunArtefacts",
    {
        "prepare": str,
        "train": dict[str, str],  # by method
        "semantic-ids": NotRequired[str],
        "discover": NotRequired[str],
        "chains": NotRequired[str],
    },
)
"""The keys of the artefacts that a run was made from."""


class RunOutcome(TypedDict):
    """What `run.json` holds."""

    experiment: str
    dataset: str
    seed: int
    commit: str
    users: int
    items: int
    note: str
    full_data: bool  # False for a sample of the users and for the simulated shop
    methods: dict[str, MethodOutcome]
    differences: list[Difference]
    config: dict[str, Json]  # of the experiment
    artefacts: RunArtefacts
    semantic_ids: dict[str, Json] | None  # their report
    pattern: dict[str, Json] | None  # as `pattern.json` has it
    reasoner: str | None  # who wrote the chains, and which encoder embedded them
    chains_model: NotRequired[str | None]
    versions: dict[str, str]  # of libraries, and the processor


NEEDED = (
    *("experiment", "dataset", "seed", "commit", "users", "items", "note", "full_data"),
    *("methods", "differences", "config"),
)
"""What the file of every run of this version holds."""


def run_at(folder: Path) -> Artefact:
    """The finished run in a folder of a store; a folder that holds none is a `DataError`."""
    try:
        key = parse_json((folder / MANIFEST).read_bytes())["key"]
        whole = (folder / RUN_FILE).exists() and isinstance(key, str)
    except (OSError, ValueError, KeyError, TypeError):
        whole, key = False, ""
    if not whole:
        remedy = "pass a folder below the store's run/, or run it again to its end"
        raise DataError(f"{folder} holds no finished run (a {RUN_FILE} and a {MANIFEST}); {remedy}")
    return Artefact(folder, "run", key)


def outcome_of(run: Artefact) -> RunOutcome:
    """What a run's `run.json` holds; a file of another version is a `StoreError`."""
    outcome = json.loads(run.file(RUN_FILE).read_text())
    if absent := [name for name in NEEDED if name not in outcome]:
        made = f"{run.path / RUN_FILE} has no {absent[0]!r}, so another version of scoter made it"
        raise StoreError(f"{made}; run the experiment again, or delete that folder")
    return cast(RunOutcome, outcome)
