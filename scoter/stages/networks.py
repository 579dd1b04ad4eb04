"""Networks of a run, with the chains they read, and their rankings as files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoter.config import FusionConfig, MethodConfig, to_json
from scoter.plugins import BACKBONES
from scoter.reasoning.chains.table import load_chains
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import codes_of, open_data
from scoter.stages.reasoning import open_steps
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import Artefact
from scoter.types import Rankings, StepEmbeddings

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource


def open_network(
    context: Context,
    method: MethodConfig,
    data: Artefact,
    ids: Artefact | None,
    steps: Artefact | None,
) -> tuple["Backbone", "StepSource | None", StepEmbeddings | None]:
    """An untrained network of a method, the reader of its chains, and the chains themselves."""
    from scoter.recommenders.network import build_model

    _, catalog, split = open_data(data)
    table, reader = step_reader(context, method.fusion, data, ids, steps)
    codes, seed = codes_of(ids), context.seed
    return build_model(method, split, catalog, codes, table, seed, context.device), reader, table


def step_reader(
    context: Context,
    fusion: FusionConfig | None,
    data: Artefact,
    ids: Artefact | None,
    steps: Artefact | None,
) -> "tuple[StepEmbeddings | None, StepSource | None]":
    """The chains that a fusion reads, and their reader; None and None where it reads none.

    Raises:
        ConfigError: grounded chains without `ids`.
    """
    if fusion is None or steps is None:
        return None, None
    from scoter.models.step_reader import StepReader
    from scoter.models.training.precision import resolve_device
    from scoter.recommenders.step_sources import Sources, steps_as_read

    _, catalog, split = open_data(data)
    codes = codes_of(ids) if fusion.grounded else None
    encode = sentence_encoder(context)
    sources = Sources(catalog, split, codes, encode, context.experiment.text)
    sentences = load_chains(steps.folder()).sentences if fusion.grounded else []
    table = steps_as_read(fusion, open_steps(steps), sentences, sources)
    return table, StepReader(table, resolve_device(context.device))


def method_recipe(method: MethodConfig, device: str) -> dict[str, Any]:
    """What of a method and of this machine decides its numbers, for the key of a stage.

    `auto` is left out, and what it comes to here is named: an artefact in fp32 never stands for one
    in bf16, nor a GPU's for a processor's. Library versions and the numbers of threads and of
    processes are not in the key; a run records the versions, and training its processes.
    """
    config = json.loads(to_json(method))
    del config["training"]["precision"]
    return {"method": config, **computation(method, device)}


def computation(method: MethodConfig, device: str) -> dict[str, str]:
    """The kind of device and the precision of a method's computations; popularity has neither.

    Raises:
        ConfigError: `device` is unknown, or there is none here.
    """
    from scoter.models.training.precision import resolve_device, resolve_precision

    if not BACKBONES.get(method.model.kind).trains:
        return {}
    where = resolve_device(device)
    precision = resolve_precision(method.training.precision, where)
    return {"device": where.type, "precision": precision}


def needs_semantic_ids(method: MethodConfig) -> bool:
    """Whether a method generates semantic IDs, or reads those of the items that its chains name."""
    grounded = method.fusion is not None and method.fusion.grounded
    return grounded or BACKBONES.get(method.model.kind).needs_ids


def save_rankings(rankings: Rankings, folder: Path, part: str) -> None:
    save_arrays(
        folder / f"rankings-{part}.safetensors",
        users=rankings.users.astype(np.int32),
        items=rankings.items.astype(np.int32),
        scores=rankings.scores.astype(np.float32),
    )


def open_rankings(artefact: Artefact, part: str) -> Rankings:
    arrays = load_arrays(artefact.file(f"rankings-{part}.safetensors"))
    return Rankings(arrays["users"], arrays["items"], arrays["scores"])
