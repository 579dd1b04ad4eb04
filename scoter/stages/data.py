"""Stages from a dataset to semantic IDs."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from scoter.config import DataConfig, from_json
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import Artefact
from scoter.types import Catalog, EvaluationProtocol, InteractionLog, SemanticIds, Split


def prepare(context: Context, data_dir: Path | None) -> Artefact:
    """The dataset as a prepared folder: the source, a fixed sample of it, or the simulated shop."""
    from scoter.data.datasets import open_dataset
    from scoter.data.prepared import save_prepared

    config = context.experiment.data
    dataset = open_dataset(config, data_dir, context.data_seed)

    def build(out: Path, scratch: Path) -> None:
        save_prepared(dataset.log, dataset.catalog, out)

    users, items = dataset.log.user_count, dataset.catalog.item_count
    context.say(f"data: {dataset.origin}, {users:,} users, {items:,} items")
    return context.stage("prepare", config, [dataset.identity], build)


Opened = tuple[InteractionLog, Catalog, Split]


def open_data(data: Artefact) -> Opened:
    """Log, catalogue and leave-one-out split of a prepared artefact, read once in a process."""
    config = from_json(json.dumps(data.manifest()["config"]), DataConfig)
    return _read(data.folder(), data.key, config.protocol)


@lru_cache(maxsize=4)
def _read(folder: Path, key: str, protocol: EvaluationProtocol) -> Opened:
    from scoter.data.prepared import load_prepared
    from scoter.data.split import leave_one_out

    log, catalog = load_prepared(folder)
    return log, catalog, leave_one_out(log, protocol)


def embed_items(context: Context, data: Artefact) -> Artefact:
    """One vector per item: from its text, training co-occurrence, or both (`SemanticIdConfig`)."""
    from scoter.semantic_ids.vectors import item_vectors, text_fields, vector_source
    from scoter.storage import sentence_vectors

    _, catalog, split = open_data(data)
    config, wanted = context.experiment.text, context.experiment.semantic_ids
    fields = text_fields(catalog, config.fields)
    source = vector_source(wanted, fields)
    recipe: dict[str, object] = {"source": source, "fields": fields}
    if source == "text+cooccurrence":
        recipe["weight"] = wanted.cooccurrence_weight
    if source == "cooccurrence":
        recipe["norm"] = "unit"

    def build(out: Path, scratch: Path) -> None:
        vectors = item_vectors(split.train, catalog, wanted, fields, sentence_encoder(context))
        save_arrays(out / "vectors.safetensors", vectors=vectors)
        (out / "source.json").write_text(json.dumps({"source": source, "fields": fields}))

    encoder = [sentence_vectors.provenance_key(config)] if "text" in source else []
    return context.stage("items", recipe, [data, *encoder], build)


def make_semantic_ids(context: Context, items: Artefact) -> Artefact:
    """Residual quantisation of the item vectors, made unique."""
    from scoter.semantic_ids.build import build_semantic_ids

    config = context.experiment.semantic_ids

    def build(out: Path, scratch: Path) -> None:
        vectors = load_arrays(items.file("vectors.safetensors"))["vectors"]
        ids, report = build_semantic_ids(vectors, config, derive_seed(0, "ids"))
        known = {} if ids.codebooks is None else {"codebooks": ids.codebooks}
        save_arrays(out / "codes.safetensors", codes=ids.codes.astype(np.int32), **known)
        source = json.loads(items.file("source.json").read_text())
        about = {**report, **source, "codebook_sizes": list(ids.codebook_sizes)}
        (out / "report.json").write_text(json.dumps(about))

    made = context.stage("semantic-ids", config, [items], build)
    report = json.loads(made.file("report.json").read_text())
    if report["collisions"] != config.collisions:
        group, distinct = report["largest_group"], report["distinct_vectors"]
        shared = f"up to {group:,} items share all their codes ({distinct:,} distinct vectors)"
        context.say(f"semantic-ids: {shared}; one more level tells them apart")
    return made


def codes_of(ids: Artefact | None) -> SemanticIds | None:
    """The semantic IDs, or None for a recommender that needs none."""
    return None if ids is None else open_semantic_ids(ids)


def open_semantic_ids(artefact: Artefact) -> SemanticIds:
    report = json.loads(artefact.file("report.json").read_text())
    arrays = load_arrays(artefact.file("codes.safetensors"))
    return SemanticIds(arrays["codes"], tuple(report["codebook_sizes"]), arrays.get("codebooks"))
