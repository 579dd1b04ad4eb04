"""The stage that mines a pattern: with the catalogue reasoner, or with a language model."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scoter.config import DiscoverConfig, Experiment, SamplingConfig, to_json
from scoter.experiments import RANKED_PATTERN
from scoter.reasoning.language.prompts import PROMPT_VERSION
from scoter.recommenders.frozen import Frozen, frozen_method
from scoter.recommenders.step_sources import spoken_items
from scoter.seeding import derive_seed
from scoter.stages.context import Context, method_recipe, sentence_encoder
from scoter.stages.data import open_data
from scoter.storage.run_files import POINTS_FILE
from scoter.storage.store import Artefact
from scoter.types import ReasoningPattern

if TYPE_CHECKING:
    from scoter.reasoning.discovery.report import Discovery
    from scoter.reasoning.language.registry import ModelChoice

REPLIES = "replies"
SMALL_MODEL_NOTE = "SmolLM2 has 135 million parameters: this run proves the plumbing only. "
SMALL_MODEL_NOTE += "Its recalls say nothing of the method."
_SMALL_SAMPLING = SamplingConfig(
    samples=3,
    prompt="brief",
    schema="ordered",
    max_tokens=0,
    recommendations=3,
    text_characters=60,
    history_characters=300,
    title_characters=45,
    retries=1,
)


def sized_for(experiment: Experiment, model: "ModelChoice | None") -> Experiment:
    """The experiment with samples that suit a language model's calls, or as it is for the reasoner.

    SmolLM2 on one core writes a short chain in two to four seconds; its run takes half an hour.
    """
    if model is None:
        return experiment
    sampling = replace(experiment.discover.sampling, max_tokens=0)
    top = DiscoverConfig.top_k
    sizes = replace(experiment.discover, users=50, fresh_users=50, rounds=1, max_steps=6, top_k=top)
    sizes = replace(sizes, sampling=sampling)
    if model.small:
        sizes = replace(sizes, fresh_users=40, max_steps=4, max_clusters=6)
        sizes = replace(sizes, sampling=_SMALL_SAMPLING)
    return replace(experiment, discover=sizes)


def discover_pattern(
    context: Context, data: Artefact, model: "ModelChoice | None" = None
) -> Artefact:
    """`pattern.json`, `points.json` and `picture.svg`, from training interactions alone.

    A language model's replies are kept in the store's folder `replies`. Where a server is, and what
    it may cost, is no part of the artefact's key.
    """
    from scoter.storage import sentence_vectors as text

    experiment = context.experiment

    def build(out: Path, scratch: Path) -> None:
        from scoter.reasoning.discovery.picture import draw

        if model is None:
            mined = _with_reasoner(context, data, scratch)
        else:
            mined = _with_model(context, data, model)
        of = "patterns of the catalogue reasoner" if model is None else f"chains of {model.name}"
        report = {**json.loads(mined.to_json()), "picture_of": of}
        (out / "pattern.json").write_text(json.dumps(report, indent=1))
        (out / POINTS_FILE).write_text(mined.points_json())
        draw(json.loads(mined.points_json()), of, out / "picture.svg")

    asked = {"prompt": PROMPT_VERSION}
    own = _recipe(context) if model is None else {"model": model.name, **asked}
    recipe = {"discover": json.loads(to_json(experiment.discover)), **own}
    return context.stage("discover", recipe, [data, text.provenance_key(experiment.text)], build)


def _recipe(context: Context) -> dict[str, object]:
    experiment = context.experiment
    return {
        "fields": experiment.text.fields,
        "semantic_ids": json.loads(to_json(experiment.semantic_ids)),
        "seed": context.seed,
        **method_recipe(frozen_method(experiment.discover), "cpu"),
    }


def _with_reasoner(context: Context, data: Artefact, scratch: Path) -> "Discovery":
    """Mine with the catalogue reasoner, over a recommender that is trained for it."""
    from scoter.progress import ProgressBars
    from scoter.reasoning.catalogue.reasoner import lacking
    from scoter.reasoning.discovery.mine import discover, planned_patterns

    experiment, encode = context.experiment, sentence_encoder(context)
    config, text, ids = experiment.discover, experiment.text, experiment.semantic_ids
    _, catalog, split = open_data(data)
    vectors = encode(spoken_items(catalog, text.fields))
    train = Frozen(config, catalog, ids, text, encode, context.seed, scratch)
    ranked = tuple(step for step in RANKED_PATTERN if lacking(step, catalog) is None)
    seed = derive_seed(context.seed, "discover")
    bars = ProgressBars(context.say, planned_patterns(config), "patterns")
    arguments = (split, catalog, config, encode, vectors, seed, train, bars)
    return discover(*arguments, ReasoningPattern(ranked))


def _with_model(context: Context, data: Artefact, model: "ModelChoice") -> "Discovery":
    from scoter.progress import ProgressBars
    from scoter.reasoning.discovery.with_model import discover_with_model, planned_chains
    from scoter.reasoning.language.replies import RequestStore

    config, encode = context.experiment.discover, sentence_encoder(context)
    _, catalog, split = open_data(data)
    seed, started = derive_seed(context.data_seed, "discover"), time.monotonic()
    with model.open() as opened:
        stored = RequestStore(context.store.root / REPLIES).recording(opened)
        sample = 4 * opened.concurrency  # enough calls to say how long one takes
        bars = ProgressBars(context.say, planned_chains(config), "chains", sample)
        mined = discover_with_model(split, catalog, config, stored, model.name, encode, seed, bars)
        usage = stored.usage
    context.say(f"used: {usage}")
    counts = {
        **(mined.counts or {}),
        "seconds": time.monotonic() - started,
        "reused": stored.hits,
        "calls": usage.attempts,
        "retries": usage.retries,
        "failed_attempts": {**usage.causes},
    }
    return replace(mined, counts=counts, note=SMALL_MODEL_NOTE if model.small else "")
