"""Stages from a split to a mined pattern and the chains written with it."""

import json
from pathlib import Path

import numpy as np

from scoter.errors import ConfigError
from scoter.reasoning.chains.table import ChainTable, load_chains, save_chains
from scoter.reasoning.chains.table import write_chains as write_table
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import open_data
from scoter.stages.discovery import discover_pattern
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import Artefact
from scoter.types import ReasoningPattern, StepEmbeddings


def pattern_and_chains(context: Context, data: Artefact) -> tuple[Artefact, Artefact]:
    """A pattern and the chains with it: read from the folder that `chains.source` names, or made
    here."""
    if context.experiment.chains.source:
        return stored_chains(context, data)
    pattern = (
        given_pattern(context, data)
        if context.experiment.pattern
        else discover_pattern(context, data)
    )
    return pattern, write_chains(context, data, pattern)


def given_pattern(context: Context, data: Artefact) -> Artefact:
    """The experiment's own pattern, in the form of a mined one, without the steps that need columns
    which the items lack."""
    from scoter.reasoning.catalogue.reasoner import lacking

    catalog = open_data(data)[1]
    absent = [(step, lacking(step, catalog)) for step in context.experiment.pattern]
    for step, column in absent:
        if column is not None:
            context.say(f"pattern: {step.label()} is left out, since the items have no {column!r}")
    steps = tuple(step for step, column in absent if column is None)
    return _unmined(context, "given", ReasoningPattern(steps), "given, not mined")


def write_chains(context: Context, data: Artefact, pattern: Artefact) -> Artefact:
    """Chains of every training, validation and test prefix, written afresh with the pattern, and
    their sentences' vectors."""
    from scoter.storage import sentence_vectors as text

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        _save(
            context,
            write_table(
                split, catalog, open_pattern(pattern), derive_seed(context.data_seed, "folds")
            ),
            out,
        )

    return context.stage(
        "chains", {}, [data, pattern, text.provenance_key(context.experiment.text)], build
    )


def stored_chains(context: Context, data: Artefact) -> tuple[Artefact, Artefact]:
    """The pattern and the chains of a folder that `scoter reason` wrote; their key holds the
    folder's content, not its name.

    A relative `chains.source` is sought in the working folder, then in the store.

    Raises:
        ConfigError: the experiment names a pattern of its own besides.
        DataError: there are no finished chains, or they were written from other data.
    """
    from scoter.reasoning.writing.folder import ChainFolder
    from scoter.reasoning.writing.reader import folder_pattern, read_folder
    from scoter.storage import sentence_vectors as text

    source = context.experiment.chains.source
    if context.experiment.pattern:
        raise ConfigError(
            f"chains.source = {source!r} brings its own pattern; leave the experiment's pattern "
            f"empty"
        )
    here = Path(source)
    folder = ChainFolder(here if here.is_absolute() or here.exists() else context.store.root / here)
    content = folder.content_key()
    pattern = _unmined(
        context, "chains", folder_pattern(folder), "of stored chains, not mined here"
    )

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        _save(context, read_folder(folder, split, catalog), out)

    return pattern, context.stage(
        "chains", {"source": content}, [data, text.provenance_key(context.experiment.text)], build
    )


def open_pattern(artefact: Artefact) -> ReasoningPattern:
    from scoter.reasoning.discovery.report import pattern_from_json

    return pattern_from_json(artefact.file("pattern.json").read_text())


def open_steps(artefact: Artefact) -> StepEmbeddings:
    encoder = json.loads(artefact.file("encoder.json").read_text())["encoder"]
    return load_chains(artefact.folder()).embed(
        load_arrays(artefact.file("vectors.safetensors"))["vectors"], encoder
    )


def _unmined(context: Context, origin: str, pattern: ReasoningPattern, words: str) -> Artefact:
    """A pattern that was not mined, in the form of a mined one."""

    def build(out: Path, scratch: Path) -> None:
        told = {"steps": pattern.to_json(), "origin": words}
        (out / "pattern.json").write_text(json.dumps({"pattern": told}))

    return context.stage(
        "discover",
        {origin: [[step.role, dict(step.parameters)] for step in pattern.steps]},
        [],
        build,
    )


def _save(context: Context, table: ChainTable, out: Path) -> None:
    """A table of chains with the vectors of its sentences."""
    from scoter.storage import sentence_vectors as text

    save_chains(table, out)
    vectors = sentence_encoder(context)(table.sentences)
    save_arrays(out / "vectors.safetensors", vectors=vectors.astype(np.float16))
    (out / "encoder.json").write_text(json.dumps(text.provenance(context.experiment.text)))
