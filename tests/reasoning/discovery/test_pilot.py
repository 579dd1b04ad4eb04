"""The pilot finds what was put into chains, and nothing where nothing is."""

from dataclasses import replace

import numpy as np
import pytest
from test_validate import Fixed

from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import every_prefix, look
from scoter.reasoning.discovery.generate import without_targets
from scoter.reasoning.discovery.pilot import Addition, Pilot, pilot_users, verdict
from scoter.reasoning.discovery.validate import EmbeddedSteps, Recall, Trial, choices_of
from scoter.types import ReasoningPattern, Step, StepEmbeddings

STEP = Step("next", {"lag": 1})


def embedded(split, lagged: np.ndarray) -> StepEmbeddings:
    """One step a chain, missing where `lagged` is False."""
    offsets = np.concatenate([[0], np.cumsum(lagged)])
    pattern = ReasoningPattern((STEP,))
    indices, starts = np.zeros(int(lagged.sum()), np.int64), every_prefix(split)[2]
    return StepEmbeddings(np.ones((1, 2), np.float32), indices, offsets, starts, pattern, "none")


def test_users_are_those_whose_last_item_is_written(plan_shop) -> None:
    split, _ = plan_shop
    users, lengths, _ = every_prefix(split)
    recent = look(split, users, lengths, 1).recent[:, 0]
    sample = pilot_users(split, embedded(split, recent % 3 == 0), 10**6, seed=0)
    expected = [
        user
        for user in range(split.train.user_count)
        if len(split.train.sequence(user)) > 1 and split.train.sequence(user)[-2] % 3 == 0
    ]
    assert sample.users.tolist() == expected
    assert sample.targets.tolist() == [split.train.sequence(user)[-1] for user in expected]
    assert len(pilot_users(split, embedded(split, recent % 3 == 0), 20, seed=0)) == 20


def test_values_are_the_parts_without_their_weights(plan_shop) -> None:
    split, catalog = plan_shop
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=0)
    reasons = CatalogReasoner(catalog, statistics, lambda: None).reasons
    view = look(split, np.arange(30), np.ones(30, np.int64))
    items = np.random.default_rng(0).integers(catalog.item_count, size=(30, 4))
    values, parts = reasons.values(view, items), reasons.parts(view, items)
    for row, user in enumerate(view.users):
        weights = reasons.weights[statistics.user_folds[user]]
        for place in range(4):
            for name, part in parts[row][place].items():
                wanted = weights[name] * values[name][row, place]
                np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("told", ["the target", "noise"])
def test_what_chains_know_is_found_and_noise_is_not(plan_shop, encode, told: str) -> None:
    split, catalog = plan_shop
    everyone = embedded(split, np.ones(int(every_prefix(split)[2][-1]), bool))
    sample = pilot_users(split, everyone, 400, seed=0)
    view = look(split, sample.users, sample.prefix_lengths)
    vectors = np.asarray(encode(catalog.columns["title"]), np.float32)
    rng, known = np.random.default_rng(0), {}
    known["next(lag=1)"] = (
        vectors[sample.targets]
        if told == "the target"
        else rng.standard_normal((len(sample), vectors.shape[1])).astype(np.float32)
    )
    known["item text(lag=1)"] = vectors[view.recent[:, 0]]
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=0)
    reasoner = CatalogReasoner(catalog, statistics, lambda: vectors)
    steps = EmbeddedSteps(reasoner, view, encode, known)
    histories = without_targets(split, [sample]).histories("valid")
    blind = Fixed(np.zeros((len(sample), catalog.item_count)))
    named = np.tile(np.arange(catalog.item_count), (len(sample), 1))
    trial = Trial(steps, sample, choices_of(sample, histories, blind, named), vectors, seed=0)
    pilot = Pilot(trial, [STEP], [Step("item text", {"lag": 1})])
    seen = np.arange(len(sample)) % 25 + 1
    rows, bins = pilot.additions(10, seen)
    assert [row.users for row in bins] == [80, 240, 80]
    mean = sum(row.ndcg.mean * row.users for row in bins) / len(sample)
    np.testing.assert_allclose(mean, rows[0].ndcg.mean)
    if told == "noise":
        assert rows[0].nats.mean < 0.01
        assert rows[0].ndcg.low < 0.005
    else:
        assert rows[0].nats.low > 0.5
        assert rows[0].ndcg.low > 0.2
        assert verdict(rows[0], 0.001, 9000).startswith("yes: +0.")


def test_a_wide_interval_names_the_users_that_would_tell() -> None:
    wide = Addition("chain", 1000, *[Recall(0.001, -0.001, 0.003, 1000)] * 3)
    assert "about 4,000 users, 4.0 times as many, would tell" in verdict(wide, 0.002, 5000)
    assert "all 3,000 users would leave an interval wider" in verdict(wide, 0.002, 3000)
    narrow = replace(wide, ndcg=Recall(-0.001, -0.002, 0.0001, 1000))
    assert verdict(narrow, 0.001, 5000).startswith("no: at most +0.0001 NDCG@10")
