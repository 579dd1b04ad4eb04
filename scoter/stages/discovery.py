"""The stage that mines a pattern: with the catalogue reasoner, or with a language model."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoter.config import Experiment, SamplingConfig, to_json
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import open_data
from scoter.storage.store import Artefact

if TYPE_CHECKING:
    from scoter.reasoning.discovery.report import Discovery
    from scoter.reasoning.language.registry import ModelChoice

REPLIES = "replies"
SMALL_MODEL_NOTE = (
    "SmolLM2 has 135 million parameters: this run proves the plumbing only. Its recalls say "
    "nothing of the method."
)


def sized_for(experiment: Experiment, model: "ModelChoice | None") -> Experiment:
    """The experiment with samples that a language model's calls allow; with the catalogue reasoner
    it stays as it is.

    SmolLM2 on one core writes a short chain in two to four seconds, so that its run takes about
    half an hour.
    """
    if model is None:
        return experiment
    found = replace(experiment.discover, users=50, fresh_users=50)
    if model.small:
        sampling = SamplingConfig(
            samples=3,
            prompt="brief",
            schema="ordered",
            max_tokens=200,
            recommendations=3,
            text_characters=60,
            history_characters=300,
            title_characters=45,
            retries=1,
        )
        found = replace(found, fresh_users=40, max_steps=4, max_clusters=6, sampling=sampling)
    return replace(experiment, discover=found)


def discover_pattern(
    context: Context, data: Artefact, model: "ModelChoice | None" = None
) -> Artefact:
    """Generate, validate and mine a reasoning pattern, on training events alone: `pattern.json`,
    `points.json`, `picture.svg`.

    A language model's replies are kept in the store's folder `replies`, so that a killed run
    repeats at most the calls that were under way. Where a server is, and what it may cost, is no
    part of the artefact's key.
    """
    from scoter.storage import sentence_vectors as text

    experiment = context.experiment

    def build(out: Path, scratch: Path) -> None:
        from scoter.reasoning.discovery.picture import draw

        found = _with_catalog(context, data) if model is None else _with_model(context, data, model)
        of = "patterns of the catalogue reasoner" if model is None else f"chains of {model.name}"
        (out / "pattern.json").write_text(
            json.dumps({**json.loads(found.to_json()), "picture_of": of}, indent=1)
        )
        (out / "points.json").write_text(found.points_json())
        draw(json.loads(found.points_json()), of, out / "picture.svg")

    recipe: dict[str, Any] = {"discover": json.loads(to_json(experiment.discover))}
    if model is None:
        recipe["fields"] = experiment.text.fields
    else:
        recipe["model"] = model.name
    return context.stage("discover", recipe, [data, text.provenance_key(experiment.text)], build)


def _with_catalog(context: Context, data: Artefact) -> "Discovery":
    from scoter.reasoning.discovery.mine import discover

    experiment = context.experiment
    _, catalog, split = open_data(data)
    encode = sentence_encoder(context)
    vectors = encode(spoken_items(catalog, experiment.text.fields))
    return discover(
        split,
        catalog,
        experiment.discover,
        encode,
        vectors,
        derive_seed(context.data_seed, "discover"),
    )


def _with_model(context: Context, data: Artefact, model: "ModelChoice") -> "Discovery":
    from scoter.reasoning.discovery.with_model import discover_with_model
    from scoter.reasoning.language.replies import RequestStore

    _, catalog, split = open_data(data)
    started = time.monotonic()

    def progress(part: str, done: int, total: int) -> None:
        if done == total or done % 25 == 0:
            context.say(f"{part}: {done} of {total} chains, {time.monotonic() - started:.0f} s")

    with model.open() as opened:
        stored = RequestStore(context.store.root / REPLIES).recording(opened)
        found = discover_with_model(
            split,
            catalog,
            context.experiment.discover,
            stored,
            model.name,
            sentence_encoder(context),
            derive_seed(context.data_seed, "discover"),
            progress,
        )
        usage = stored.usage
    context.say(f"used: {usage}")
    spent = {
        "seconds": time.monotonic() - started,
        "reused": stored.hits,
        "calls": usage.attempts,
        "retries": usage.retries,
    }
    counts: dict[str, Any] = {
        **(found.counts or {}),
        **spent,
        "failed_attempts": dict(usage.causes),
    }
    return replace(found, counts=counts, note=SMALL_MODEL_NOTE if model.small else "")
