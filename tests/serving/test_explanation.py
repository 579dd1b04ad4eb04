"""Explanations against a model that is run again by other means."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from wiped import Without

from scoter.cli import main
from scoter.models.exact import log_likelihoods
from scoter.models.rescoring import rescore
from scoter.stages.bundle_reader import Bundle, open_bundle
from scoter.stages.explanation import contributions
from scoter.stages.serving import Question


@pytest.fixture
def bundle(bundles: dict[str, Path]) -> Bundle:
    return open_bundle(bundles["scoter"])


def asked(bundle: Bundle, rows: int = 4) -> Question:
    return bundle._of(list(bundle.user_rows)[:rows])


def test_rescoring_equals_the_exact_scores_of_the_whole_catalogue(bundle: Bundle, bundles: dict[str, Path]) -> None:
    question = asked(bundle)
    items = np.random.default_rng(0).integers(-1, len(bundle.service.item_keys), (4, 9))
    for opened in (bundle, open_bundle(bundles["tiger"])):
        model = opened.service.model
        if model.config.repeat_bias:
            with torch.no_grad():
                model.repeat.fill_(0.3)
        exact = log_likelihoods(model, question.histories, question.reader)
        wanted = np.where(items >= 0, np.take_along_axis(exact, np.maximum(items, 0), axis=1), -np.inf)
        np.testing.assert_allclose(rescore(model, question.histories, items, question.reader), wanted, atol=2e-5)


@pytest.mark.parametrize("name", ["scoter", "tiger-meanpool", "sasrec-ce-scoter"])
def test_a_contribution_is_the_score_minus_that_of_a_run_without_the_step(name: str, bundles: dict[str, Path]) -> None:
    bundle = open_bundle(bundles[name])
    question, model = asked(bundle), bundle.service.model
    rankings = model.recommend(question.histories, 5, question.reader)
    found = contributions(bundle.service, question, rankings.items)
    for step in range(3):
        if name == "sasrec-ce-scoter":
            ranked = model.recommend(question.histories, model.item_count, Without(question.reader, step))
            scores = np.empty_like(ranked.scores)
            np.put_along_axis(scores, ranked.items, ranked.scores, axis=1)
        else:
            scores = log_likelihoods(model, question.histories, Without(question.reader, step))
        wanted = rankings.scores - np.take_along_axis(scores, rankings.items, axis=1)
        np.testing.assert_allclose(found[:, step], wanted, atol=3e-5)
    assert np.abs(found).max() > 1e-3


def test_a_shut_gate_leaves_nothing_to_contribute(bundle: Bundle) -> None:
    with torch.no_grad():
        for layer in bundle.service.model.fusion.layers:
            layer.gate.weight.zero_()
            layer.gate.bias.fill_(-200.0)  # a sigmoid of 0
    row = bundle.recommend(explain=True)[0]
    assert row["gate"] == 0
    assert np.abs([item["contributions"] for item in row["items"]]).max() == 0


def test_run_and_bundle_explain_alike(finished: Any, bundles: dict[str, Path]) -> None:
    store = str(finished[0].root)
    by_run = CliRunner().invoke(main, ["recommend", "latest", "--method", "scoter", "--explain", "--json", "--store", store])
    by_bundle = CliRunner().invoke(main, ["recommend", "--bundle", str(bundles["scoter"]), "--explain", "--json"])
    for ours, theirs in zip(json.loads(by_bundle.stdout), json.loads(by_run.stdout), strict=True):
        assert ours["steps"] == theirs["steps"]
        assert all(step["sentences"] for step in ours["steps"])
        assert sum(ours["attention"].values()) == pytest.approx(1, abs=1e-5)
        assert ours["attention"] == pytest.approx(theirs["attention"], abs=1e-3)
        ranked = {item["key"]: item["contributions"] for item in theirs["items"]}
        for item in ours["items"]:
            assert item["contributions"] == pytest.approx(ranked[item["key"]], abs=4e-3)
    text = CliRunner().invoke(main, ["recommend", "--bundle", str(bundles["scoter"]), "--explain"]).stdout
    assert "step 2, recent_item(field=brand, lag=1) (attention 0." in text
    assert text.count("by step  1: ") == 30
