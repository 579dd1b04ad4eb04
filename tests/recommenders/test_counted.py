"""Counted rivals rank as a plain loop over the log does."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scoter
from scoter import config
from scoter.config import ModelConfig
from scoter.errors import ConfigError
from scoter.experiments import simulated_smoke
from scoter.models.backbones.backbone import ItemSpace
from scoter.plugins import BACKBONES
from scoter.types import Catalog, Histories, InteractionLog

ITEMS = 7
RNG = np.random.default_rng(0)
LISTS = [RNG.integers(ITEMS, size=size).tolist() for size in (3, 5, 4, 6, 2, 5, 7, 4)]
LOG = InteractionLog(
    np.concatenate(LISTS), np.cumsum([0, *map(len, LISTS)]), tuple(f"u{n}" for n in range(8))
)
CATALOG = Catalog(tuple("abcdefg"), {})
ASKED = [[2], [4, 1], [0, 3, 3, 5]]
HISTORIES = Histories(np.arange(3), np.concatenate(ASKED), np.cumsum([0, *map(len, ASKED)]))


def built(model: ModelConfig) -> Any:
    space = ItemSpace(ITEMS, train=LOG, catalog=CATALOG)
    return BACKBONES.get(model.kind).build(model, space)


def ranked(scores: np.ndarray) -> list[list[int]]:
    return np.argsort(-scores, axis=1, kind="stable").tolist()


def popularity() -> np.ndarray:
    counts = np.bincount(LOG.items, minlength=ITEMS)
    return 1e-6 * counts / counts.max()


def test_the_transition_graph_counts_what_comes_next() -> None:
    share = np.zeros((ITEMS, ITEMS))
    for items in LISTS:
        for before, after in itertools.pairwise(items):
            share[before, after] += 1
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    scores = np.stack([share[h[-1]] + (0.5 * share[h[-2]] if h[1:] else 0) for h in ASKED])
    found = built(config.TransitionsConfig()).recommend(HISTORIES, ITEMS)
    assert found.items.tolist() == ranked(scores + popularity())


@pytest.mark.parametrize("repeats", [True, False])
def test_neighbours_are_cosines_of_buyers(repeats: bool) -> None:
    bought = np.array([[item in items for item in range(ITEMS)] for items in LISTS], float)
    cosine = bought.T @ bought / np.sqrt(np.outer(bought.sum(axis=0), bought.sum(axis=0)))
    np.fill_diagonal(cosine, 0)
    scores = popularity() + np.stack(
        [sum(0.7**lag * cosine[item] for lag, item in enumerate(reversed(h))) for h in ASKED]
    )
    if not repeats:
        for row, history in enumerate(ASKED):
            scores[row, history] = 0
    found = built(config.ItemKnnConfig(repeats=repeats)).recommend(HISTORIES, ITEMS)
    assert found.items.tolist() == ranked(scores)


def test_ease_solves_its_least_squares() -> None:
    bought = np.array([[item in items for item in range(ITEMS)] for items in LISTS], float)
    model = built(config.EaseConfig(l2=2.0, repeats=True))
    for item in range(ITEMS):  # each column is a ridge regression on the other items
        others = [other for other in range(ITEMS) if other != item]
        left = bought[:, others]
        system = left.T @ left + 2.0 * np.eye(ITEMS - 1)
        expected = np.linalg.solve(system, left.T @ bought[:, item])
        np.testing.assert_allclose(model.weights[others, item], expected, atol=1e-4)
    assert not np.diag(model.weights).any()
    fresh = built(config.EaseConfig(l2=2.0)).recommend(HISTORIES, 3)
    assert all(not set(row) & set(h) for row, h in zip(fresh.items, ASKED, strict=True))


@pytest.mark.parametrize("kind", ["transitions", "item-knn", "ease", "reasons"])
def test_scores_are_log_shares_and_are_found_again(kind: str) -> None:
    model = built(BACKBONES.get(kind).Config())
    found = model.recommend(HISTORIES, ITEMS)
    np.testing.assert_allclose(np.exp(found.scores).sum(axis=1), 1, rtol=1e-5)
    again = model.rescore(HISTORIES, found.items)
    np.testing.assert_allclose(again, found.scores, rtol=1e-5)
    assert model.rescore(HISTORIES, np.full((3, 1), -1)).max() == -np.inf
    with pytest.raises(ConfigError, match=f"{kind} counts; pass a training log"):
        BACKBONES.get(kind).build(BACKBONES.get(kind).Config(), ItemSpace(ITEMS))


def test_a_run_ranks_by_reasons_and_its_method_is_an_estimator(tmp_path: Path) -> None:
    reasons = config.MethodConfig(config.ReasonsConfig(users=60))
    chosen = simulated_smoke()
    shop = config.SimulatedConfig(users=120)
    small = replace(chosen, data=replace(chosen.data, simulated=shop), methods={"reasons": reasons})
    run = scoter.run(small, store=tmp_path / "store")
    model = run.model("reasons")
    assert {"near in words", "kind that follows", "follows"} <= set(vars(model.network)["weights"])
    reached = scoter.evaluate(model, model.dataset).metrics["mean"]
    np.testing.assert_allclose(reached, run.metrics.loc["reasons"]["mean"], atol=1e-6)
    model.save(tmp_path / "saved")
    again = scoter.load(tmp_path / "saved").recommend(["shopper-3"], k=4)
    assert again.equals(model.recommend(["shopper-3"], k=4))
