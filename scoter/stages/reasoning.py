"""Stages from a split to a mined pattern and the chains written with it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from scoter.seeding import derive_seed
from scoter.stages.context import Context, load_arrays, save_arrays
from scoter.stages.data import open_data, text_fields
from scoter.store import Artefact
from scoter.types import ReasoningPattern, StepEmbeddings


def discover_pattern(context: Context, data: Artefact) -> Artefact:
    """Generate, validate and mine a reasoning pattern, on training events alone."""
    from scoter import text
    from scoter.reasoning.mine import discover

    experiment = context.experiment

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        encode = sentence_encoder(context)
        vectors = encode(text.item_texts(catalog, text_fields(catalog, experiment.text.fields)))
        found = discover(split, catalog, experiment.discover, encode, vectors, derive_seed(context.data_seed, "discover"))
        (out / "pattern.json").write_text(found.to_json())

    return context.stage("discover", experiment.discover, [data, text.provenance_key(experiment.text)], build)


def given_pattern(context: Context) -> Artefact:
    """The experiment's own pattern, in the form of a mined one."""

    def build(out: Path, scratch: Path) -> None:
        steps = [{"role": step.role, "parameters": dict(step.parameters)} for step in context.experiment.pattern]
        (out / "pattern.json").write_text(json.dumps({"pattern": {"steps": steps, "origin": "given, not mined"}}))

    steps = [[step.role, dict(step.parameters)] for step in context.experiment.pattern]
    return context.stage("discover", {"given": steps}, [], build)


def write_chains(context: Context, data: Artefact, pattern: Artefact) -> Artefact:
    """Chains of every training, validation and test prefix, written afresh with the pattern, and their sentences' vectors."""
    from scoter import text
    from scoter.reasoning import chains

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        table = chains.write_chains(split, catalog, open_pattern(pattern), derive_seed(context.data_seed, "folds"))
        vectors = sentence_encoder(context)(table.sentences)
        chains.save_chains(table, out)
        save_arrays(out / "vectors.safetensors", vectors=vectors.astype(np.float16))
        (out / "encoder.json").write_text(json.dumps(text.provenance(context.experiment.text)))

    return context.stage("chains", {}, [data, pattern, text.provenance_key(context.experiment.text)], build)


def open_pattern(artefact: Artefact) -> ReasoningPattern:
    from scoter.reasoning.mine import pattern_from_json

    return pattern_from_json(artefact.file("pattern.json").read_text())


def open_steps(artefact: Artefact) -> StepEmbeddings:
    from scoter.reasoning import chains

    encoder = json.loads(artefact.file("encoder.json").read_text())["encoder"]
    return chains.load_chains(artefact.path).embed(load_arrays(artefact.file("vectors.safetensors"))["vectors"], encoder)


def sentence_encoder(context: Context) -> Callable[[list[str]], np.ndarray]:
    """Sentences to vectors, cached by content in the store."""
    from scoter import text

    return lambda sentences: text.encode(sentences, context.experiment.text, context.store.root / "sentences")
