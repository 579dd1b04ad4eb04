"""Networks of a run, with the chains they read, and their rankings as files."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scoter.config import MethodConfig
from scoter.recommenders.network import needs_semantic_ids
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import codes_of, open_data
from scoter.stages.reasoning import open_steps, open_table
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import Artefact
from scoter.types import Rankings, StepEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource

    Opened = tuple[Backbone, StepSource | None, StepEmbeddings | None]


@dataclass(frozen=True)
class Inputs:
    """The artefacts that methods are made from."""

    data: Artefact  # of the stage `prepare`
    ids: Artefact | None = None  # semantic IDs, where a method needs them
    steps: Artefact | None = None  # chains, where a method reads them
    pattern: Artefact | None = None  # of the chains

    def needed(self, method: MethodConfig) -> list[Artefact | str]:
        """Those that the weights of a method depend on."""
        ids = self.ids if needs_semantic_ids(method) else None
        steps = self.steps if method.fusion is not None else None
        return [artefact for artefact in (self.data, ids, steps) if artefact is not None]


def open_network(context: Context, method: MethodConfig, inputs: Inputs) -> "Opened":
    """An untrained network of a method, the reader of its chains, and the chains themselves."""
    from scoter.models.step_reader import open_reader
    from scoter.models.training.precision import resolve_device
    from scoter.recommenders.network import build_model, text_vectors
    from scoter.recommenders.step_sources import Sources, steps_as_read

    _, catalog, split = open_data(inputs.data)
    codes, fusion, table, reader = codes_of(inputs.ids), method.fusion, None, None
    if fusion is not None and inputs.steps is not None:
        text, encode = context.experiment.text, sentence_encoder(context)
        sources = Sources(catalog, split, codes, encode, text)
        sentences = open_table(inputs.steps).sentences
        table = steps_as_read(fusion, open_steps(inputs.steps), sentences, sources)
        reader = open_reader(table, resolve_device(context.device))
    texts = text_vectors(catalog, context.experiment.text, sentence_encoder(context))
    model = build_model(method, split, catalog, codes, table, context.seed, context.device, texts)
    return model, reader, table


def open_trained(
    context: Context, method: MethodConfig, inputs: Inputs, trained: Artefact
) -> "Opened":
    """The same with the weights of the artefact `trained`."""
    from scoter.models.training.loop import load_weights

    opened = open_network(context, method, inputs)
    if opened[0].trains:
        load_weights(opened[0], trained.file("weights.safetensors"))
    return opened


def save_rankings(rankings: Rankings, folder: "Path", part: str) -> None:
    save_arrays(
        folder / f"rankings-{part}.safetensors",
        users=rankings.users.astype(np.int32),
        items=rankings.items.astype(np.int32),
        scores=rankings.scores.astype(np.float32),
    )


def open_rankings(artefact: Artefact, part: str) -> Rankings:
    arrays = load_arrays(artefact.file(f"rankings-{part}.safetensors"))
    return Rankings(arrays["users"], arrays["items"], arrays["scores"])
