"""A bundle: one trained method and all that it needs to answer, in one folder.

| file | what it holds |
|---|---|
| model.json | the method's config, the pattern, numbers of items and codes, its origin |
| weights.safetensors | the trained weights, the fusion's among them |
| semantic_ids.safetensors | codes of each item, and their trie (TIGER) |
| items.parquet, users.parquet | keys and titles; keys |
| histories.safetensors | each user's items, with the held-out ones |
| steps.safetensors | sentence vectors, and which step of each newest chain uses them |
| sentences.parquet | the sentences themselves, for explanations |
| manifest.json | size and sha256 of each of them, written last |
"""

import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from scoter.errors import ConfigError, StoreError
from scoter.models.quantised_steps import StepType, quantise
from scoter.progress import silent
from scoter.recommenders.estimators import Estimator
from scoter.recommenders.fitted import requests_of
from scoter.serving.service import open_method
from scoter.stages.finished import FinishedRun
from scoter.storage.arrays import save_arrays
from scoter.storage.store import MANIFEST, Artefact, Store, git_commit, hash_file
from scoter.storage.writing import write_parquet, writing

FORMAT = {"format": "scoter bundle", "version": 1}
MODEL, WEIGHTS, IDS = "model.json", "weights.safetensors", "semantic_ids.safetensors"
ITEMS, USERS, HISTORIES = "items.parquet", "users.parquet", "histories.safetensors"
STEPS, SENTENCES = "steps.safetensors", "sentences.parquet"
ALWAYS = (MODEL, WEIGHTS, ITEMS, USERS, HISTORIES)
FILES = (*ALWAYS, IDS, STEPS, SENTENCES)
TRIE = ("first_child", "child_count", "code", "item")


def export_run(
    store: Store,
    run: Artefact,
    method: str | None,
    out: Path,
    steps: StepType = "fp16",
    texts: bool = True,
    begin: Callable[[str], None] = silent,
) -> dict[str, int]:
    """Write the bundle of one method into the new folder `out`; returns each file's bytes.

    Args:
        steps: how the step table is kept: half precision, or eight bits with a scale per row.
        texts: whether the sentences come along, without which no step can be explained.
        begin: called with the name of each of three parts.

    Raises:
        StoreError: `out` exists, or cannot be written.
        ConfigError: an unknown method, a control, or a method that only counts.
    """
    if out.exists():
        raise StoreError(f"{out} exists; name a new folder, or remove that one first")
    begin("opening the model")
    finished = FinishedRun(store, run)
    model = open_method(finished, method)
    if not model.network.trains:
        raise ConfigError(f"{method} has no weights to export; choose another --method")
    about: dict[str, object] = {
        **FORMAT,
        "method": model.name,
        "config": asdict(model.config),
        "dataset": finished.outcome["dataset"],
        "seed": finished.seed,
        "chains_model": finished.outcome.get("chains_model"),
    }
    partial = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}")
    with writing(out):
        try:
            partial.mkdir(parents=True)
            begin("writing everybody's newest chain")
            _write(partial, about, model, steps, texts)
            begin("hashing")
            sizes = _write_manifest(partial, run)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return sizes


def _write(
    folder: Path, about: dict[str, object], model: Estimator, kind: StepType, texts: bool
) -> None:
    from scoter.models.decoding.trie import build_trie
    from scoter.models.training.loop import save_weights

    log, catalog, ids = model.dataset.log, model.dataset.catalog, model.fitted_parts.ids
    about |= {"items": catalog.item_count, "users": log.user_count}
    save_weights(model.network, folder / WEIGHTS)
    if ids is not None and model.network.needs_ids:
        about["codebook_sizes"] = list(ids.codebook_sizes)
        trie = build_trie(ids)
        tables = {f"trie_{name}": getattr(trie, name) for name in TRIE}
        save_arrays(folder / IDS, codes=ids.codes.astype(np.int32), **tables)
    write_parquet(pa.table({"key": catalog.keys, "title": model.item_names}), folder / ITEMS)
    write_parquet(pa.table({"key": log.user_keys}), folder / USERS)
    items, offsets = log.items.astype(np.int32), log.offsets.astype(np.int64)
    save_arrays(folder / HISTORIES, items=items, offsets=offsets)
    if model.pattern is not None:
        about |= {"pattern": model.pattern.to_json(), "step_type": kind}
        about["step_dim"] = _save_chains(folder, model, kind, texts)
    (folder / MODEL).write_text(json.dumps(about, indent=1))


def _save_chains(folder: Path, model: Estimator, kind: StepType, texts: bool) -> int:
    """Everybody's newest chain; returns how many numbers a sentence's vector has."""
    steps, sentences = model.steps_of(requests_of(model.dataset, None, None))
    used, numbers = np.unique(steps.indices, return_inverse=True)
    save_arrays(
        folder / STEPS,
        **quantise(steps.vectors[used], kind),
        **({} if steps.named is None else {"named": steps.named[used]}),
        **({} if steps.certainty is None else {"certainty": steps.certainty.astype(np.float32)}),
        indices=numbers.astype(np.int32),
        offsets=steps.offsets.astype(np.int64),
    )
    if texts:
        kept = pa.array([sentences[row] for row in used], pa.string())
        write_parquet(pa.table({"sentence": kept}), folder / SENTENCES)
    return steps.dim


def _write_manifest(folder: Path, run: Artefact) -> dict[str, int]:
    paths = sorted(folder.iterdir())
    sizes = {path.name: path.stat().st_size for path in paths}
    files = {path.name: {"bytes": sizes[path.name], "sha256": hash_file(path)} for path in paths}
    made = {**FORMAT, "run": run.key, "commit": git_commit(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(made, indent=1))
    return sizes
