"""What steps add on validation users: gains of steps sum to the pattern's, and compare by user."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.studies.validation import measured
from benchmarks.tables.discovery_page import page
from scoter.data.datasets import load_dataset
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery.clusters import mean_over_users
from scoter.reasoning.discovery.generate import HeldIn
from scoter.reasoning.discovery.validate import EmbeddedSteps, Trial, choices_of, named_items, ndcg
from scoter.types import Rankings, ReasoningPattern, Step

DIRECT = Step("recommendation", {"count": 1, "rank": 1, "window": 3})
PATTERN = ReasoningPattern((Step("recent_item", {"lag": 1, "field": "brand"}), DIRECT))
RIVAL = ReasoningPattern((DIRECT,))


class Blind:
    """A recommender that prefers items of low number."""

    def recommend(self, histories, k):
        items = np.tile(np.arange(k), (len(histories), 1))
        return Rankings(histories.users, items, -items.astype(float))

    def rescore(self, histories, items):
        return np.where(items >= 0, -0.01 * items, -np.inf)


@pytest.fixture(scope="module")
def trial() -> Trial:
    made = load_dataset("simulated", users=300)
    split, catalog = made.split, made.catalog
    people = split.valid.users
    sample = HeldIn(people, split.train.lengths[people], split.valid.items)
    vectors = np.random.default_rng(0).normal(size=(catalog.item_count, 8)).astype(np.float32)
    reasoner = CatalogReasoner.of(split.train, catalog, 0, lambda: vectors)
    view = look(split, people, sample.prefix_lengths)
    histories, named = split.histories("valid"), named_items(reasoner, view)
    choices = choices_of(sample, histories, Blind(), named)

    def encode(texts):
        return np.array([[len(text), text.count("e"), 1.0] for text in texts], np.float32)

    return Trial(EmbeddedSteps(reasoner, view, encode), sample, choices, vectors, 0)


def test_gains_of_steps_sum_to_that_of_the_pattern(trial: Trial, tmp_path) -> None:
    mined = {
        "commit": "c0ffee",
        "run_seed": 0,
        "provenance": {"top_k": 10, "fresh_users": 9, "recommender": "tiger"},
        "pattern": {
            "steps": PATTERN.to_json(),
            "added": [{"mean": 0.5, "low": 0.25, "high": 0.75}] * 2,
            "votes": [0.5, 1.0],
            "distilled_by": "vote",
            "support": 0.5,
        },
        "rivals": {
            name: {"pattern": pattern.to_json(), "steps": [""] * len(pattern)}
            for name, pattern in (("itself", PATTERN), ("direct", RIVAL))
        },
    }
    found = measured(mined, trial)
    whole, rival, alone = ndcg(trial.ranks([PATTERN, RIVAL, ReasoningPattern(())]), 10)
    assert found["users"] == len(trial.sample) == 300
    assert found["ndcg"] == asdict(mean_over_users(whole[None]))
    assert found["over_recommender"] == asdict(mean_over_users((whole - alone)[None]))
    total = sum(step["mean"] for step in found["added"])
    assert total == pytest.approx(found["over_recommender"]["mean"], abs=1e-12)
    assert found["over_rivals"]["itself"]["mean"] == 0
    assert found["over_rivals"]["direct"] == asdict(mean_over_users((whole - rival)[None]))

    ends = {"ndcg": found["ndcg"], "ndcg_gain_of_mined": found["ndcg"]}
    mined["pattern"]["ndcg"], mined["recommender"] = found["ndcg"], ends
    mined["rivals"] = {name: {**rival, **ends} for name, rival in mined["rivals"].items()}
    (tmp_path / "patterns").mkdir()
    (tmp_path / "patterns" / "shop-s0.json").write_text(json.dumps(mined))
    for commit, shown in (("c0ffee", True), ("another", False)):
        (tmp_path / "validation.json").write_text(
            json.dumps({"shop-s0": {**found, "mined": commit}})
        )
        text = page(tmp_path, "shop").markdown()
        assert ("On 300 validation users" in text) is shown
        assert (f"{found['added'][0]['mean']:+.4f}" in text) is shown
