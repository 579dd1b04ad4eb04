"""Stages from a dataset to semantic IDs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from scoter.errors import DataError
from scoter.seeding import derive_seed
from scoter.stages.context import Context, load_arrays, save_arrays
from scoter.storage.store import Artefact
from scoter.types import Catalog, InteractionLog, SemanticIds, Split


def prepare(context: Context, data_dir: Path | None) -> Artefact:
    """The dataset as a prepared folder: a copy of the source, a fixed sample of it, or the
    simulated shop."""
    from scoter.data.datasets import open_dataset
    from scoter.data.prepared import save_prepared

    config = context.experiment.data
    dataset = open_dataset(config, data_dir, context.data_seed)

    def build(out: Path, scratch: Path) -> None:
        save_prepared(dataset.log, dataset.catalog, out)

    context.say(
        f"data: {dataset.origin}, {dataset.log.user_count:,} users, "
        f"{dataset.catalog.item_count:,} items"
    )
    return context.stage("prepare", config, [dataset.identity], build)


def open_data(data: Artefact) -> tuple[InteractionLog, Catalog, Split]:
    """Log, catalogue and leave-one-out split of a prepared artefact."""
    from scoter.data.prepared import load_prepared
    from scoter.data.split import leave_one_out

    log, catalog = load_prepared(data.folder())
    return log, catalog, leave_one_out(log)


def check_trainable(split: Split) -> None:
    """Refuse data that no model can be trained on, as no purchase there follows another one.

    Raises:
        DataError: no user has two training events.
    """
    if split.train.lengths.max(initial=0) < 2:
        raise DataError(
            "there is nothing to train on: leave-one-out keeps each user's last two events for "
            "validation and test, which leaves none of the "
            f"{split.train.user_count:,} users two events to train with. Give at least one user "
            "four events, or run popularity, which needs no training"
        )


def embed_items(context: Context, data: Artefact) -> Artefact:
    """One vector per item: from its text, from training co-occurrence, or from both (see
    `SemanticIdConfig`)."""
    from scoter.semantic_ids.build import beside, cooccurrence_vectors, directions
    from scoter.storage import sentence_vectors as text

    _, catalog, split = open_data(data)
    config, wanted = context.experiment.text, context.experiment.semantic_ids
    fields = text_fields(catalog, config.fields)
    source = wanted.source
    if source == "auto":
        source = "text" if fields else "cooccurrence"
    if source == "text+cooccurrence" and not fields:
        source = "cooccurrence"
    recipe: dict[str, Any] = {"source": source, "fields": fields}
    if source == "text+cooccurrence":
        recipe["weight"] = wanted.cooccurrence_weight
    if source == "cooccurrence":
        recipe["norm"] = "unit"

    def build(out: Path, scratch: Path) -> None:
        views: list[np.ndarray] = []
        if "text" in source:
            views.append(
                text.encode(
                    text.item_texts(catalog, fields), config, context.store.root / "sentences"
                )
            )
        if "cooccurrence" in source:
            views.append(
                cooccurrence_vectors(
                    split.train, catalog.item_count, 128, derive_seed(0, "cooccurrence")
                )
            )
        alone = directions if source == "cooccurrence" else np.asarray
        vectors = (
            alone(views[0])
            if len(views) == 1
            else beside(views[0], views[1], wanted.cooccurrence_weight)
        )
        save_arrays(out / "vectors.safetensors", vectors=vectors.astype(np.float32))
        (out / "source.json").write_text(json.dumps({"source": source, "fields": fields}))

    inputs: list[Artefact | str] = [data] + (
        [text.provenance_key(config)] if "text" in source else []
    )
    return context.stage("items", recipe, inputs, build)


def text_fields(catalog: Catalog, wanted: tuple[str, ...]) -> list[str]:
    """The wanted columns that hold something. A machine-made `phrase` stands in for a title, and is
    left out beside one."""
    fields = [name for name in wanted if catalog.has(name)]
    return [name for name in fields if name != "phrase" or "title" not in fields]


def spoken_items(catalog: Catalog, wanted: tuple[str, ...]) -> list[str]:
    """What chains are held against: each item's text, or its name in chains where none has text."""
    from scoter.reasoning.chains.table import item_names
    from scoter.storage import sentence_vectors as text

    fields = text_fields(catalog, wanted)
    return text.item_texts(catalog, fields) if fields else item_names(catalog)


def make_semantic_ids(context: Context, items: Artefact) -> Artefact:
    """Residual quantisation of the item vectors, made unique."""
    from scoter.semantic_ids.build import build_semantic_ids

    config = context.experiment.semantic_ids

    def build(out: Path, scratch: Path) -> None:
        ids, report = build_semantic_ids(
            load_arrays(items.file("vectors.safetensors"))["vectors"], config, derive_seed(0, "ids")
        )
        known = {} if ids.codebooks is None else {"codebooks": ids.codebooks}
        save_arrays(out / "codes.safetensors", codes=ids.codes.astype(np.int32), **known)
        source = json.loads(items.file("source.json").read_text())
        (out / "report.json").write_text(
            json.dumps({**report, **source, "codebook_sizes": list(ids.codebook_sizes)})
        )

    made = context.stage("semantic-ids", config, [items], build)
    report = json.loads(made.file("report.json").read_text())
    if report["collisions"] != config.collisions:
        context.say(
            f"semantic-ids: up to {report['largest_group']:,} items share all their codes (there "
            f"are {report['distinct_vectors']:,} distinct item vectors), so an extra level of "
            "codes numbers them"
        )
    return made


def codes_of(ids: Artefact | None) -> SemanticIds | None:
    """The semantic IDs, or None for a recommender that needs none."""
    return None if ids is None else open_semantic_ids(ids)


def open_semantic_ids(artefact: Artefact) -> SemanticIds:
    report = json.loads(artefact.file("report.json").read_text())
    arrays = load_arrays(artefact.file("codes.safetensors"))
    return SemanticIds(arrays["codes"], tuple(report["codebook_sizes"]), arrays.get("codebooks"))
