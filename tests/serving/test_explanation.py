"""Explanations against a model that is run again by other means."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from wiped import Without

from scoter.cli.main import main
from scoter.models.decoding.exact import log_likelihoods
from scoter.protocols import StepSource
from scoter.serving.bundle import export_run
from scoter.serving.bundle_reader import Bundle, open_bundle
from scoter.serving.explanation import contributions
from scoter.serving.service import answers, open_method, requests_for
from scoter.stages.finished import FinishedRun
from scoter.storage.store import Artefact, Store
from scoter.types import Histories


@pytest.fixture
def bundle(bundles: dict[str, Path]) -> Bundle:
    return open_bundle(bundles["scoter"])


def asked(bundle: Bundle, rows: int = 4) -> tuple[Histories, StepSource]:
    """The histories of some users, and the reader of their chains."""
    requests = requests_for(bundle, list(bundle.user_rows)[:rows], ())
    reading = bundle.read(requests)
    assert reading is not None
    return requests.histories, reading.steps


def test_rescoring_equals_the_exact_scores_of_the_whole_catalogue(
    bundle: Bundle, bundles: dict[str, Path]
) -> None:
    histories, reader = asked(bundle)
    items = np.random.default_rng(0).integers(-1, bundle.dataset.catalog.item_count, (4, 9))
    for opened in (bundle, open_bundle(bundles["tiger"])):
        model = opened.network
        if model.config.repeat_bias:
            with torch.no_grad():
                model.repeat.fill_(0.3)
        exact = log_likelihoods(model, histories, reader)
        wanted = np.where(
            items >= 0, np.take_along_axis(exact, np.maximum(items, 0), axis=1), -np.inf
        )
        np.testing.assert_allclose(model.rescore(histories, items, reader), wanted, atol=2e-5)


@pytest.mark.parametrize("name", ["scoter", "tiger-meanpool", "sasrec-ce-scoter"])
def test_a_contribution_is_the_score_minus_that_of_a_run_without_the_step(
    name: str, bundles: dict[str, Path]
) -> None:
    bundle = open_bundle(bundles[name])
    (histories, reader), model = asked(bundle), bundle.network
    rankings = model.recommend(histories, 5, reader)
    found = contributions(model, histories, rankings.items, reader, 4)
    for step in range(3):
        if name == "sasrec-ce-scoter":
            ranked = model.recommend(histories, model.item_count, Without(reader, step))
            scores = np.empty_like(ranked.scores)
            np.put_along_axis(scores, ranked.items, ranked.scores, axis=1)
        else:
            scores = log_likelihoods(model, histories, Without(reader, step))
        wanted = rankings.scores - np.take_along_axis(scores, rankings.items, axis=1)
        np.testing.assert_allclose(found[:, step], wanted, atol=3e-5)
    assert np.abs(found).max() > 1e-3


def test_a_shut_gate_leaves_nothing_to_contribute(bundle: Bundle) -> None:
    with torch.no_grad():
        for layer in bundle.network.fusion.layers:
            layer.gate.weight.zero_()
            layer.gate.bias.fill_(-200.0)  # a sigmoid of 0
    row = answers(bundle, (), (), 10, explain=True)[0]
    assert row["gate"] == 0
    assert np.abs([item["contributions"] for item in row["items"]]).max() == 0


METHODS = ("scoter", "tiger-meanpool", "listed", "sasrec-ce-scoter")


@pytest.fixture(scope="module")
def by_run(finished: tuple[Store, Artefact]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the run says of every user of the shop, asked for all of them at once."""
    everyone = FinishedRun(*finished).data[0].user_keys
    explained = {}
    for method in METHODS:
        rows = answers(open_method(FinishedRun(*finished), method), everyone, (), 10, explain=True)
        explained[method] = {row["user"]: row for row in rows}
    return explained


def disagreement(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The largest difference of any number in two explanations of the same steps and items."""
    assert ours["steps"] == theirs["steps"]
    assert ours["history"] == theirs["history"]
    assert list(ours["attention"]) == list(theirs["attention"])
    items = {item["key"]: item for item in theirs["items"]}
    assert {item["key"] for item in ours["items"]} == set(items)
    off = np.subtract(*([row["gate"], *row["attention"].values()] for row in (ours, theirs)))
    for item in ours["items"]:
        pair = ([one["score"], *one["contributions"]] for one in (item, items[item["key"]]))
        off = np.append(off, np.subtract(*pair))
    return float(np.abs(off).max())


@pytest.mark.parametrize("method", METHODS)
def test_run_and_bundle_explain_alike_for_every_user(
    method: str, by_run: Any, bundles: dict[str, Path]
) -> None:
    told, bundle = by_run[method], open_bundle(bundles[method])
    everyone = list(bundle.user_rows)
    assert everyone == list(told)
    some = [everyone[41], everyone[7], everyone[58]]
    for users in (everyone, everyone[:6:-1], everyone[-1:], some):
        rows = answers(bundle, users, (), 10, explain=True)
        assert [row["user"] for row in rows] == users
        assert all(step["sentences"] for row in rows for step in row["steps"][:1])
        assert max(disagreement(row, told[row["user"]]) for row in rows) < 1e-4
    apart = {str(np.round(row["items"][0]["contributions"], 4).tolist()) for row in told.values()}
    assert len(apart) > len(everyone) / 2  # so that another user's chain would be noticed


@pytest.mark.parametrize("method", METHODS)
def test_a_run_explains_some_users_as_it_explains_all(
    method: str, by_run: Any, finished: tuple[Store, Artefact]
) -> None:
    told = by_run[method]
    users = (*list(told)[59:52:-1], *list(told)[7:9])
    rows = answers(open_method(FinishedRun(*finished), method), users, (), 10, explain=True)
    assert max(disagreement(row, told[row["user"]]) for row in rows) < 1e-4


def test_eight_bits_explain_every_user_within_their_rounding(
    by_run: Any, finished: tuple[Store, Artefact], tmp_path: Path
) -> None:
    export_run(*finished, "scoter", tmp_path / "int8", steps="int8")
    bundle = open_bundle(tmp_path / "int8")
    rows = answers(bundle, list(bundle.user_rows)[::-1], (), 10, explain=True)
    off = [
        np.abs(np.subtract(item["contributions"], theirs["contributions"])).max()
        for row in rows
        for item in row["items"]
        for theirs in by_run["scoter"][row["user"]]["items"]
        if item["key"] == theirs["key"]
    ]
    assert len(off) > 9 * len(rows)
    assert max(off) < 4e-3


def test_the_commands_explain_alike(
    finished: tuple[Store, Artefact], bundles: dict[str, Path]
) -> None:
    store, users = str(finished[0].root), ("--user", "shopper-59", "--user", "shopper-7")
    source = ["latest", "--method", "scoter", "--store", store]
    by_run = CliRunner().invoke(main, ["recommend", *source, *users, "--explain", "--json"])
    source = ["--bundle", str(bundles["scoter"])]
    by_bundle = CliRunner().invoke(main, ["recommend", *source, *users, "--explain", "--json"])
    for ours, theirs in zip(json.loads(by_bundle.stdout), json.loads(by_run.stdout), strict=True):
        assert sum(ours["attention"].values()) == pytest.approx(1, abs=1e-5)
        assert disagreement(ours, theirs) < 1e-4
    text = CliRunner().invoke(main, ["recommend", *source, "--explain"]).stdout
    assert "step 2, recent_item(field=brand, lag=1) (attention 0." in text
    assert text.count("by step  1: ") == 30
