"""A bundle: one trained method and all that it needs to answer, as one folder without a store, data
or language model.

| file | what it holds |
|---|---|
| model.json | the method's config, the pattern, numbers of items and codes, its origin |
| weights.safetensors | the trained weights, the fusion's among them |
| semantic_ids.safetensors | codes of each item, and their trie (TIGER) |
| items.parquet, users.parquet | keys and titles; keys |
| histories.safetensors | everybody's items, the held-out ones included |
| steps.safetensors | sentence vectors, and which step of whose newest chain uses them |
| sentences.parquet | the sentences themselves, for explanations |
| manifest.json | size and sha256 of each of them, written last |
"""

import json
import shutil
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scoter.errors import ConfigError, StoreError
from scoter.models.backbones.registry import BACKBONES
from scoter.models.quantised_steps import StepType, quantise
from scoter.serving.newest_chains import NewestChains
from scoter.serving.questions import Service
from scoter.serving.service import newest_chains, run_service, served, whole_log
from scoter.stages.data import open_semantic_ids
from scoter.stages.finished import FinishedMethod, FinishedRun
from scoter.storage.arrays import save_arrays
from scoter.storage.store import MANIFEST, Artefact, Store, git_commit, hash_file
from scoter.storage.writing import write_parquet, writing
from scoter.types import SemanticIds

FORMAT = {"format": "scoter bundle", "version": 1}
MODEL, WEIGHTS, IDS, ITEMS, USERS, HISTORIES, STEPS, SENTENCES = FILES = (
    "model.json",
    "weights.safetensors",
    "semantic_ids.safetensors",
    "items.parquet",
    "users.parquet",
    "histories.safetensors",
    "steps.safetensors",
    "sentences.parquet",
)
TRIE = ("first_child", "child_count", "code", "item")


def export_run(
    store: Store,
    run: Artefact,
    method: str | None,
    out: Path,
    steps: StepType = "fp16",
    texts: bool = True,
) -> dict[str, int]:
    """Write the bundle of one method of a finished run into the new folder `out`; returns the size
    of each file in bytes.

    Each user's newest chain, that of the whole log, is written here and embedded; nothing is
    written when it is read.

    Args:
        steps: how the step table is kept: half precision, or eight bits with a scale per row.
        texts: whether the sentences come along, without which no step can be explained.

    Raises:
        StoreError: `out` exists, or cannot be written.
        ConfigError: an unknown method, a control for measuring only, or popularity, which needs no
            bundle.
    """
    if out.exists():
        raise StoreError(f"{out} exists; name a new folder, or remove that one first")
    opened = served(FinishedRun(store, run), method)
    if not BACKBONES.get(opened.config.model.kind).trains:
        raise ConfigError("popularity has no weights to export; choose another --method")
    service = run_service(opened)
    chains = (
        newest_chains(opened, whole_log(opened.run.data[0]), known=True)
        if service.pattern is not None
        else None
    )
    partial = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}")
    with writing(out):
        try:
            partial.mkdir(parents=True)
            _write(partial, opened, service, chains, steps, texts)
            sizes = _write_manifest(partial, run)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return sizes


def _write(
    folder: Path,
    method: FinishedMethod,
    service: Service,
    chains: NewestChains | None,
    kind: StepType,
    texts: bool,
) -> None:
    from scoter.models.training.loop import save_weights

    run = method.run
    log, catalog, _ = run.data
    about: dict[str, Any] = {
        **FORMAT,
        "method": service.method,
        "config": asdict(service.config),
        "dataset": run.outcome["dataset"],
        "seed": run.outcome["seed"],
        "chains_model": run.outcome.get("chains_model"),
        "items": catalog.item_count,
        "users": log.user_count,
    }
    save_weights(service.model, folder / WEIGHTS)
    if BACKBONES.get(service.config.model.kind).needs_ids:
        ids = open_semantic_ids(run.made_from("semantic-ids"))
        about["codebook_sizes"] = list(ids.codebook_sizes)
        _save_ids(folder / IDS, ids)
    write_parquet(pa.table({"key": service.item_keys, "title": service.item_names}), folder / ITEMS)
    write_parquet(pa.table({"key": log.user_keys}), folder / USERS)
    save_arrays(
        folder / HISTORIES,
        items=log.items.astype(np.int32),
        offsets=log.offsets.astype(np.int64),
    )
    if chains is not None and service.pattern is not None:
        about["pattern"] = service.pattern.to_json()
        about["step_dim"], about["step_type"] = chains.steps.dim, kind
        _save_chains(folder, chains, kind, texts)
    (folder / MODEL).write_text(json.dumps(about, indent=1))


def _save_ids(path: Path, ids: SemanticIds) -> None:
    from scoter.models.decoding.trie import build_trie

    trie = build_trie(ids)
    save_arrays(
        path,
        codes=ids.codes.astype(np.int32),
        **{f"trie_{name}": getattr(trie, name) for name in TRIE},
    )


def _save_chains(folder: Path, chains: NewestChains, kind: StepType, texts: bool) -> None:
    used, numbers = np.unique(chains.steps.indices, return_inverse=True)
    save_arrays(
        folder / STEPS,
        **quantise(chains.steps.vectors[used], kind),
        **({} if chains.steps.named is None else {"named": chains.steps.named[used]}),
        indices=numbers.astype(np.int32),
        offsets=chains.steps.offsets.astype(np.int64),
    )
    if texts:
        write_parquet(
            pa.table({"sentence": pa.array([chains.sentences[row] for row in used], pa.string())}),
            folder / SENTENCES,
        )


def _write_manifest(folder: Path, run: Artefact) -> dict[str, int]:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    files = {
        name: {"bytes": size, "sha256": hash_file(folder / name)} for name, size in sizes.items()
    }
    made = {**FORMAT, "run": run.key, "commit": git_commit(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(made, indent=1))
    return sizes
