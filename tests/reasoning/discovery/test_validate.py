import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import binomtest

from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery import validate as room
from scoter.reasoning.discovery.generate import hold_in
from scoter.reasoning.discovery.validate import EmbeddedSteps, Trial, agresti_min, ground, wilson
from scoter.types import ReasoningPattern, Step


@pytest.mark.parametrize(("hits", "count"), [(0, 12), (3, 40), (17, 17), (60, 2000)])
def test_wilson_equals_scipy(hits, count):
    wanted = binomtest(hits, count).proportion_ci(method="wilson")
    found = wilson(np.arange(count) < hits)
    np.testing.assert_allclose([found.low, found.high], [wanted.low, wanted.high], atol=1e-6)
    assert found.mean == hits / count


def test_agresti_min_is_walds_interval_of_a_table_with_half_a_shopper_more_in_each_cell():
    rng = np.random.default_rng(0)
    for users in (8, 50, 400):
        mined, rival = rng.random(users) < 0.4, rng.random(users) < 0.3
        found = agresti_min(mined.astype(float) - rival)
        table = (
            np.array([[np.sum((mined == a) & (rival == b)) for b in (0, 1)] for a in (0, 1)]) + 0.5
        )
        shares = table / table.sum()
        gain = shares[1, 0] - shares[0, 1]
        half = 1.959964 * np.sqrt((shares[1, 0] + shares[0, 1] - gain**2) / table.sum())
        assert (found.low, found.high) == pytest.approx((gain - half, gain + half))
        assert found.mean == mined.mean() - rival.mean()


def test_paired_intervals_of_rare_hits_hold_the_truth_where_normal_ones_do_not():
    rng = np.random.default_rng(1)
    outcomes = rng.choice([1.0, -1.0, 0.0], p=[0.06, 0.01, 0.93], size=(4000, 20))
    held = np.mean([(found := agresti_min(gain)).low <= 0.05 <= found.high for gain in outcomes])
    half = 1.96 * outcomes.std(axis=1, ddof=1) / np.sqrt(20)
    assert held >= 0.95
    assert np.mean(np.abs(outcomes.mean(axis=1) - 0.05) <= half) < 0.8


def test_ranks_equal_a_sort_with_ties_to_the_lower_number():
    rng = np.random.default_rng(0)
    items = rng.integers(-2, 3, size=(30, 3)).astype(np.float32)  # many equal scores
    queries = rng.integers(-2, 3, size=(50, 3)).astype(np.float32)
    targets = rng.integers(30, size=50)
    found = room._ranks(queries, items, targets)
    for row in range(50):
        order = np.argsort(-(queries[row] @ items.T), kind="stable")
        assert found[row] == 1 + np.flatnonzero(order == targets[row])[0]


def test_conditional_logit_equals_a_general_optimiser():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 12, 3))
    features[:, 0] += [0.5, 0.0, -0.3]

    def loss(weights):
        scores = features @ weights
        return (
            logsumexp(scores, axis=1) - scores[:, 0]
        ).mean() + room._PENALTY / 2 * weights @ weights

    np.testing.assert_allclose(
        room._conditional_logit(features), minimize(loss, np.zeros(3)).x, atol=1e-4
    )


def test_left_out_predictions_are_those_of_a_fit_without_the_user():
    rng = np.random.default_rng(0)
    chains = room._unit(rng.normal(size=(20, 5)).astype(np.float32))[None]
    wanted = rng.normal(size=(20, 4))
    inverse = np.linalg.inv(room._kernel(chains, chains) + room.RIDGE * np.eye(20))
    left_out = wanted - (inverse @ wanted) / np.diag(inverse)[:, None]
    for user in range(20):
        rest = np.delete(np.arange(20), user)
        fit = np.linalg.solve(
            room._kernel(chains[:, rest], chains[:, rest]) + room.RIDGE * np.eye(19), wanted[rest]
        )
        np.testing.assert_allclose(
            room._kernel(chains[:, [user]], chains[:, rest]) @ fit, left_out[[user]], atol=1e-6
        )


def test_grounding_finds_targets_that_the_last_step_names():
    rng = np.random.default_rng(0)
    items = rng.normal(size=(300, 16)).astype(np.float32)
    targets = rng.integers(300, size=200)
    noise = rng.normal(size=(200, 16)).astype(np.float32)
    named = np.stack([noise, items[targets] + 0.1 * rng.normal(size=(200, 16)).astype(np.float32)])
    assert (ground(named, items, targets, seed=0) <= 10).mean() > 0.95
    blind = (ground(noise[None], items, targets, seed=0) <= 10).mean()
    assert blind < 0.1  # chance is 10 / 300


def test_grounding_credits_what_a_step_says_at_its_place():
    """The target's group is told by step 1 and only by it: steps in their order must beat a random
    order per shopper."""
    rng = np.random.default_rng(0)
    groups, users = 5, 600
    items = np.repeat(room._unit(rng.normal(size=(groups, 24)).astype(np.float32)), 40, axis=0)
    items = items + 0.2 * rng.normal(size=items.shape).astype(np.float32)
    words = rng.normal(size=(groups, 24)).astype(np.float32)
    said = rng.integers(groups, size=(users, 3))
    targets = said[:, 0] * 40 + rng.integers(40, size=users)
    ordered = words[said].transpose(1, 0, 2)
    shuffled = words[rng.permuted(said, axis=1)].transpose(1, 0, 2)
    best = 10 / 40
    found = (ground(ordered, items, targets, seed=0) <= 10).mean()
    lost = (ground(shuffled, items, targets, seed=0) <= 10).mean()
    assert found > 0.8 * best
    assert found > lost + 0.05


def test_a_missing_step_is_no_error():
    rng = np.random.default_rng(0)
    items = rng.normal(size=(50, 8)).astype(np.float32)
    steps = np.stack([np.zeros((40, 8), np.float32), rng.normal(size=(40, 8)).astype(np.float32)])
    ranks = ground(steps, items, rng.integers(50, size=40), seed=0)
    assert ranks.min() >= 1
    assert ranks.max() <= 50


def test_the_whole_pattern_is_judged_and_every_sentence_encoded_once(plan_shop, encode):
    split, catalog = plan_shop
    from scoter.config import DiscoverConfig

    sample, _ = hold_in(split, DiscoverConfig(users=300, fresh_users=10), seed=0)
    reasoner = CatalogReasoner(catalog, FoldedStatistics(split.train, catalog.item_count, seed=0))
    asked: list[str] = []

    def counting(texts):
        asked.extend(texts)
        return encode(texts)

    steps = EmbeddedSteps(reasoner, look(split, sample.users, sample.prefix_lengths), counting)
    brands = [Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (3, 2, 1)]
    last = Step("likely_next", {"what": "item", "count": 1, "window": 1})
    patterns = [
        ReasoningPattern((*brands, last)),
        ReasoningPattern((*brands[1:], last)),
        ReasoningPattern((last,)),
    ]
    hits = Trial(steps, sample, encode(catalog.columns["title"]), seed=0).ranks(patterns) <= 3
    full, short, bare = hits.mean(axis=1)
    assert full > 0.35  # the best that can be had is 3 / 6
    assert max(short, bare) < 0.2
    assert (
        len(asked) <= len(set(asked)) + 6
    )  # one call at first; a later call asks for what is new only
    assert len(steps.of(patterns[0])) == 4
