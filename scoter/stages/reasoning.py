"""Stages from a split to a mined pattern and the chains written with it."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scoter.errors import ConfigError
from scoter.experiments import RANKED_PATTERN, RECORDED_PATTERN
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.chains.table import ChainTable, load_chains, save_chains
from scoter.reasoning.chains.table import write_chains as write_table
from scoter.recommenders.network import text_vectors
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import open_data
from scoter.stages.discovery import discover_pattern
from scoter.storage import sentence_vectors
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import Artefact
from scoter.types import ReasoningPattern, Step, StepEmbeddings

if TYPE_CHECKING:
    from scoter.data.datasets import Dataset
    from scoter.recommenders.chains import Chains

VECTORS_FILE = "vectors.safetensors"


def pattern_and_chains(
    context: Context, data: Artefact, pattern: Artefact | None = None
) -> tuple[Artefact, Artefact]:
    """A pattern and the chains with it: read from the folder `chains.source`, or made here.

    If `pattern` was chosen already, it is not mined again.
    """
    experiment = context.experiment
    stored = stored_chains(context, data) if experiment.chains.source else None
    if stored is not None and not experiment.chains.after_reasoner:
        return stored
    pattern = pattern or _pattern(context, data)
    chains = write_chains(context, data, pattern)
    return (pattern, chains) if stored is None else _joined(context, (pattern, chains), stored)


def _pattern(context: Context, data: Artefact) -> Artefact:
    """The given, mined or rival pattern that the experiment asks for."""
    experiment, wanted = context.experiment, context.experiment.pattern_from
    if experiment.pattern or wanted == "hand-written":
        return given_pattern(context, data, experiment.pattern or RANKED_PATTERN)
    able = int((open_data(data)[2].train.lengths >= 2).sum())
    needed = experiment.discover.users + experiment.discover.fresh_users
    if wanted == "mined" and able < needed:
        context.say(
            f"pattern: {able:,} users are too few to mine one on (discover.users and "
            f"discover.fresh_users need {needed:,}); the one recorded from Beauty is used"
        )
        return given_pattern(context, data, RECORDED_PATTERN)
    mined = discover_pattern(context, data)
    return mined if wanted == "mined" else _rival(context, mined)


def given_pattern(context: Context, data: Artefact, steps: Sequence[Step]) -> Artefact:
    """A pattern that was not mined here, without steps that need columns which the items lack."""
    from scoter.reasoning.catalogue.reasoner import lacking

    catalog = open_data(data)[1]
    absent = [(step, lacking(step, catalog)) for step in steps]
    for step, column in absent:
        if column is not None:
            context.say(f"pattern: {step.label()} is left out, since the items have no {column!r}")
    left = tuple(step for step, column in absent if column is None)
    return _unmined(context, "given", ReasoningPattern(left), "given, not mined")


def write_chains(context: Context, data: Artefact, pattern: Artefact) -> Artefact:
    """Chains of every training, validation and test prefix, and their sentences' vectors."""

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        seed, text = derive_seed(context.data_seed, "folds"), context.experiment.text
        texts = text_vectors(catalog, text, sentence_encoder(context))
        table = write_table(split, catalog, open_pattern(pattern), seed, texts=texts)
        _save(context, table, out)

    text = context.experiment.text
    encoder = sentence_vectors.provenance_key(text)
    return context.stage("chains", {"fields": text.fields}, [data, pattern, encoder], build)


def stored_chains(context: Context, data: Artefact) -> tuple[Artefact, Artefact]:
    """The pattern and the chains of a folder or a table; the key holds its content.

    A relative `chains.source` is looked up in the working folder, then in the store.
    """
    from scoter.reasoning.discovery.grounding import with_catalogue_names
    from scoter.reasoning.writing import reader

    source, items = context.experiment.chains.source, context.experiment.chains.items
    if context.experiment.pattern:
        remedy = "leave the experiment's pattern empty"
        raise ConfigError(f"chains.source = {source!r} has a pattern; {remedy}")
    here = Path(source)
    path = here if here.is_absolute() or here.exists() else context.store.root / here
    content, origin = reader.source_key(path), "of stored chains, not mined here"
    pattern = _unmined(context, "chains", reader.read_pattern(path, items), origin)

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        table = reader.read_chains(path, split, catalog, items)
        names, encode = item_names(catalog), sentence_encoder(context)
        _save(context, with_catalogue_names(table, names, encode), out)

    encoder = sentence_vectors.provenance_key(context.experiment.text)
    by_item = {"items": items} if reader.describe(path).by == "item" else {}
    recipe = {"source": content, "names": "of the catalogue", **by_item}
    return pattern, context.stage("chains", recipe, [data, encoder], build)


def _joined(
    context: Context, own: tuple[Artefact, Artefact], stored: tuple[Artefact, Artefact]
) -> tuple[Artefact, Artefact]:
    """The steps of the catalogue reasoner's chains, followed by those of the stored ones."""
    (first, before), (second, after) = own, stored
    steps = (*open_pattern(first).steps, *open_pattern(second).steps)
    told = "mined, then that of stored chains"

    def build(out: Path, scratch: Path) -> None:
        _save(context, open_table(before).followed_by(open_table(after)), out)

    pattern = _unmined(context, "joined", ReasoningPattern(steps), told)
    return pattern, context.stage("chains", {}, [before, after], build)


def open_pattern(artefact: Artefact) -> ReasoningPattern:
    from scoter.reasoning.discovery.report import pattern_from_json

    return pattern_from_json(artefact.file("pattern.json").read_text())


def open_table(chains: Artefact) -> ChainTable:
    """The chains of the stage `chains` as text, read once in a process."""
    return _read(chains.folder(), chains.key)


@lru_cache(maxsize=2)
def _read(folder: Path, key: str) -> ChainTable:
    return load_chains(folder)


def open_steps(chains: Artefact) -> StepEmbeddings:
    """The same chains as embeddings of their steps."""
    encoder = json.loads(chains.file("encoder.json").read_text())["encoder"]
    return open_table(chains).embed(load_arrays(chains.file(VECTORS_FILE))["vectors"], encoder)


def open_chains(context: Context, chains: Artefact, dataset: "Dataset") -> "Chains":
    """The same chains, ready for requests; new sentences are not kept in the store."""
    from scoter.recommenders.chains import Chains

    vectors = load_arrays(chains.file(VECTORS_FILE))["vectors"]
    encode = sentence_encoder(context, keep=False)
    return Chains(open_table(chains), vectors, dataset, context.experiment.text, encode)


def _rival(context: Context, mined: Artefact) -> Artefact:
    """The pattern of a rival of the mined one, which discovery wrote down beside it."""
    name = context.experiment.pattern_from
    rival = json.loads(mined.file("pattern.json").read_text())["rivals"][name]["pattern"]
    pattern = ReasoningPattern.from_json(rival)
    return _unmined(context, name, pattern, f"{name}, beside the mined pattern")


def _unmined(context: Context, origin: str, pattern: ReasoningPattern, words: str) -> Artefact:
    def build(out: Path, scratch: Path) -> None:
        about = {"steps": pattern.to_json(), "origin": words}
        (out / "pattern.json").write_text(json.dumps({"pattern": about}))

    recipe = {origin: [[step.role, dict(step.parameters)] for step in pattern.steps]}
    return context.stage("discover", recipe, [], build)


def _save(context: Context, table: ChainTable, out: Path) -> None:
    save_chains(table, out)
    vectors = sentence_encoder(context)(table.sentences)
    save_arrays(out / VECTORS_FILE, vectors=vectors.astype(np.float16))
    provenance = sentence_vectors.provenance(context.experiment.text)
    (out / "encoder.json").write_text(json.dumps(provenance))
