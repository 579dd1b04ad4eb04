"""Stages from semantic IDs and chains to trained models and their rankings."""

import json
from dataclasses import replace
from pathlib import Path

from scoter.config import MethodConfig
from scoter.data.split import check_trainable
from scoter.plugins import BACKBONES
from scoter.stages import networks
from scoter.stages.context import PARTS, Context
from scoter.stages.data import open_data
from scoter.stages.mixed_scores import rank_mixed
from scoter.stages.networks import Inputs
from scoter.storage import sentence_vectors
from scoter.storage.arrays import save_arrays
from scoter.storage.store import Artefact

UNTRAINED = {"epochs": 0, "best_epoch": 0, "curve": [], "parameters": 0, "cpu_seconds": 0.0}
"""The training log of a method that only counts."""


def train(context: Context, name: str, method: MethodConfig, inputs: Inputs) -> Artefact:
    """Weights of the best validation epoch, and the learning curve."""
    if method.mixed_scores:  # which only ranks: the recommender is trained, and shared, as it is
        name, method = method.model.kind, replace(method, mixed_scores=False)

    def build(out: Path, scratch: Path) -> None:
        _train(context, name, method, inputs, out, scratch)

    needed = inputs.needed(method)
    if method.fusion is not None and method.fusion.source == "item-text":
        text = context.experiment.text
        needed += [sentence_vectors.provenance_key(text), ",".join(text.fields)]
    recipe = {
        **networks.method_recipe(method, context.device),
        "name": name,  # which the seed of dropout is derived from
        "seed": context.seed,
        "depth": context.experiment.depth,
    }
    return context.stage("train", recipe, needed, build)


def _train(
    context: Context, name: str, method: MethodConfig, inputs: Inputs, out: Path, scratch: Path
) -> None:
    from scoter.models.training.loop import save_weights
    from scoter.recommenders.fitting import Training, fit_network

    if not BACKBONES.get(method.model.kind).trains:
        (out / "training.json").write_text(json.dumps(UNTRAINED))
        return
    split = open_data(inputs.data)[2]
    check_trainable(split)
    model, reader, _ = networks.open_network(context, method, inputs)
    training = Training(context.seed, context.experiment.depth, name, scratch, context.workers)
    log = fit_network(model, split, reader, method.training, training)
    save_weights(model, out / "weights.safetensors")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    (out / "training.json").write_text(json.dumps({**vars(log), "parameters": parameters}))


def rank(context: Context, method: MethodConfig, trained: Artefact, inputs: Inputs) -> Artefact:
    """The best items for every validation and test user, and what was read of their chains."""
    if method.mixed_scores:
        return rank_mixed(context, method, trained, inputs)

    def build(out: Path, scratch: Path) -> None:
        from scoter.recommenders.network import rank_with_readings

        split, depth = open_data(inputs.data)[2], context.experiment.depth
        model, reader, _ = networks.open_trained(context, method, inputs, trained)
        for part in PARTS:
            if reader is None:
                rankings = model.recommend(split.histories(part), depth)
            else:
                rankings, readings = rank_with_readings(model, split.histories(part), depth, reader)
                save_arrays(out / f"readings-{part}.safetensors", **readings)
            networks.save_rankings(rankings, out, part)

    recipe = {"depth": context.experiment.depth, **networks.computation(method, context.device)}
    needed = [trained, inputs.data]
    if method.fusion is not None and inputs.steps is not None:
        needed.append(inputs.steps)
    return context.stage("rank", recipe, needed, build)
