"""Stages from semantic IDs and chains to trained models and their rankings."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoter.config import MethodConfig
from scoter.data.split import check_trainable
from scoter.plugins import BACKBONES
from scoter.stages.context import PARTS, Context
from scoter.stages.data import open_data
from scoter.stages.mixed_scores import rank_mixed
from scoter.stages.networks import (
    computation,
    method_recipe,
    needs_semantic_ids,
    open_network,
    save_rankings,
)
from scoter.storage import sentence_vectors
from scoter.storage.arrays import save_arrays
from scoter.storage.store import Artefact
from scoter.types import Rankings

if TYPE_CHECKING:
    pass

UNTRAINED = {"epochs": 0, "best_epoch": 0, "curve": [], "parameters": 0, "cpu_seconds": 0.0}
"""The training log of a method that only counts."""


def train(
    context: Context,
    name: str,
    method: MethodConfig,
    data: Artefact,
    ids: Artefact | None,
    steps: Artefact | None,
) -> Artefact:
    """Weights of the best validation epoch, and the learning curve. Mixed scores train nothing but
    the recommender."""
    if method.mixed_scores:
        name, method = method.model.kind, replace(method, mixed_scores=False)

    def build(out: Path, scratch: Path) -> None:
        from scoter.models.training import loop
        from scoter.recommenders.fitting import fit_network

        if not BACKBONES.get(method.model.kind).trains:
            (out / "training.json").write_text(json.dumps(UNTRAINED))
            return
        split = open_data(data)[2]
        check_trainable(split)
        model, reader, _ = open_network(context, method, data, ids, steps)
        log = fit_network(
            model,
            split,
            reader,
            method.training,
            seed=context.seed,
            depth=context.experiment.depth,
            label=name,
            scratch=scratch,
            workers=context.workers,
        )
        loop.save_weights(model, out / "weights.safetensors")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        (out / "training.json").write_text(json.dumps({**vars(log), "parameters": parameters}))

    inputs: list[Artefact | str] = [data]
    inputs += [ids] if ids is not None and needs_semantic_ids(method) else []
    inputs += [steps] if method.fusion is not None and steps is not None else []
    if method.fusion is not None and method.fusion.source == "item-text":
        inputs += [
            sentence_vectors.provenance_key(context.experiment.text),
            ",".join(context.experiment.text.fields),
        ]
    recipe = {
        **method_recipe(method, context.device),
        "name": name,  # which the seed of dropout is derived from
        "seed": context.seed,
        "depth": context.experiment.depth,
    }
    return context.stage("train", recipe, inputs, build)


def rank(
    context: Context,
    method: MethodConfig,
    trained: Artefact,
    data: Artefact,
    ids: Artefact | None,
    steps: Artefact | None,
) -> Artefact:
    """The best items for every validation and test user, with gate and attention per user where
    there is a fusion."""
    if method.mixed_scores:
        return rank_mixed(context, method, trained, data, ids)

    def build(out: Path, scratch: Path) -> None:
        split = open_data(data)[2]
        model, reader, _ = open_network(context, method, data, ids, steps)
        if model.trains:
            from scoter.models.training.loop import load_weights

            load_weights(model, trained.file("weights.safetensors"))
        for part in PARTS:
            histories = split.histories(part)
            if method.fusion is None:
                rankings = model.recommend(histories, context.experiment.depth)
            else:
                rankings, readings = _rank_with_readings(
                    model, histories, context.experiment.depth, reader
                )
                save_arrays(out / f"readings-{part}.safetensors", **readings)
            save_rankings(rankings, out, part)

    inputs: list[Artefact | str] = [
        trained,
        data,
        *([steps] if steps is not None and method.fusion is not None else []),
    ]
    recipe = {"depth": context.experiment.depth, **computation(method, context.device)}
    return context.stage("rank", recipe, inputs, build)


def _rank_with_readings(
    model: Any, histories: Any, depth: int, reader: Any
) -> tuple[Rankings, dict[str, np.ndarray]]:
    slots = model.fusion.slot_count + 1
    gate, attention = (
        np.zeros(len(histories), np.float32),
        np.zeros((len(histories), slots), np.float32),
    )

    def note(rows: np.ndarray) -> None:
        gates, weights = model.fusion.take_readings()
        gate[rows], attention[rows] = gates.cpu().numpy(), weights.cpu().numpy()

    model.fusion.start_recording()
    return model.recommend(histories, depth, reader, note), {"gate": gate, "attention": attention}
