import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import binomtest

from scoter.config import DiscoverConfig
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.reasons import conditional_logit
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery import validate as room
from scoter.reasoning.discovery.generate import HeldIn, hold_in, ladder, without_targets
from scoter.reasoning.discovery.validate import (
    EmbeddedSteps,
    Trial,
    agresti_min,
    choices_of,
    wilson,
)
from scoter.types import Histories, Rankings, ReasoningPattern, Step


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


def test_conditional_logit_equals_a_general_optimiser():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 12, 3)).astype(np.float32)
    features[:, 0] += [0.5, 0.0, -0.3]
    offsets = np.where(rng.random((80, 12)) < 0.2, -np.inf, 0.0)
    offsets[:, 0] = 0

    def loss(weights):
        scores = features @ weights + offsets
        return (logsumexp(scores, axis=1) - scores[:, 0]).mean() + 5e-4 * weights @ weights

    found = conditional_logit(features, offsets)
    np.testing.assert_allclose(found, minimize(loss, np.zeros(3)).x, atol=1e-4)


class Fixed:
    """A recommender that knows each item's score after each history."""

    def __init__(self, scores):
        self.scores = scores

    def recommend(self, histories, k):
        items = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        return Rankings(histories.users, items, np.take_along_axis(self.scores, items, axis=1))

    def rescore(self, histories, items):
        found = np.take_along_axis(self.scores, np.maximum(items, 0), axis=1)
        return np.where(items >= 0, found, -np.inf)


def test_choices_are_what_the_recommender_lists_and_what_steps_name():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(40, 90)), rng.integers(90, size=40)
    named = np.where(rng.random((40, 6)) < 0.7, rng.integers(90, size=(40, 6)), -1)
    sample = HeldIn(np.arange(40), np.ones(40, np.int64), targets)
    histories = Histories(np.arange(40), np.zeros(40, np.int64), np.arange(41))
    found = choices_of(sample, histories, Fixed(scores), named)
    assert 0 < found.listed.mean() < 1
    for row in range(40):
        best = np.argsort(-scores[row], kind="stable")[: room.LISTED]
        wanted = {*best.tolist(), *named[row].tolist()} - {-1}
        items = found.items[row][found.items[row] >= 0].tolist()
        assert (set(items), len(items)) == (wanted, len(wanted))
        assert found.listed[row] == (targets[row] in wanted)
        assert not found.listed[row] or items[0] == targets[row]
        np.testing.assert_allclose(found.log_p[row, : len(items)], scores[row, items], rtol=1e-6)


@pytest.fixture(scope="module")
def trial(plan_shop, encode):
    """Some users of the plan shop beside a recommender that knows nothing, and what was encoded."""
    split, catalog = plan_shop
    sample, _ = hold_in(split, DiscoverConfig(users=300, fresh_users=10), seed=0)
    view = look(split, sample.users, sample.prefix_lengths)
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=0)
    vectors, asked = encode(catalog.columns["title"]), []

    def counting(texts):
        asked.extend(texts)
        return encode(texts)

    steps = EmbeddedSteps(CatalogReasoner(catalog, statistics, lambda: vectors), view, counting)
    blind = Fixed(np.zeros((300, catalog.item_count)))
    histories = without_targets(split, [sample]).histories("valid")
    named = np.tile(np.arange(catalog.item_count), (300, 1))
    choices = choices_of(sample, histories, blind, named)
    return Trial(steps, sample, choices, vectors, seed=0), asked


def test_places_equal_a_sort_with_ties_to_the_lower_number(trial):
    rng, choices = np.random.default_rng(0), trial[0].choices
    scores = rng.integers(-2, 3, size=choices.items.shape).astype(float)  # many equal scores
    found = trial[0].places(np.where(choices.items >= 0, scores, -np.inf))
    for row in range(0, len(found), 11):
        items = choices.items[row]
        order = np.lexsort((items, -np.where(items >= 0, scores[row], -np.inf)))
        assert choices.listed[row]
        assert found[row] == 1 + list(items[order]).index(items[0])


def test_left_out_predictions_are_those_of_a_fit_without_the_user(trial):
    """The landmarks' own y: kernel ridge regression on the other landmarks."""
    whole, step = trial[0], Step("recent_item", {"lag": 1, "field": "brand"})
    marks = np.arange(20)
    found = whole._predicted([step], 7, marks)
    near = whole._near(step, 7, marks)
    kernel, wanted = np.exp(room.SHARPNESS * (near - 1)), whole._items[whole.sample.targets[marks]]
    mean = wanted.mean(axis=0)
    for user in range(20):
        rest = np.delete(marks, user)
        system = kernel[np.ix_(rest, rest)] + room.RIDGE * np.eye(19)
        y = mean + kernel[user, rest] @ np.linalg.solve(system, wanted[rest] - mean)
        vectors = whole._items[whole.choices.items[user]]
        np.testing.assert_allclose(found[user], vectors @ (y / np.linalg.norm(y)), atol=1e-4)


def test_a_match_is_having_what_a_step_names(trial):
    whole = trial[0]
    reasoner, view, items = whole.steps.reasoner, whole.steps.view, whole.choices.items
    brands = reasoner.facets["brand"].codes
    (match,) = whole._of_step(Step("recent_item", {"lag": 2, "field": "brand"}))
    second = view.recent[:, 1]
    wanted = (brands[items] == brands[second][:, None]) & (second >= 0)[:, None]
    np.testing.assert_array_equal(match, wanted)
    sure = Step("recommendation", {"count": 1, "rank": 1, "degrees": 8})
    named, degree = whole._of_step(sure)
    spoken = reasoner.write(view, sure).numbers[:, 0]
    code = np.where(spoken >= 0, spoken % reasoner.catalog.item_count, -2)
    np.testing.assert_array_equal(named, items == code[:, None])
    there = spoken // reasoner.catalog.item_count - 3.5
    np.testing.assert_allclose(degree, named * there[:, None])


def test_the_steps_of_a_ladder_share_their_weights(trial):
    whole = trial[0]
    best = ladder(Step("recommendation", {"count": 1, "degrees": 8}), 4)
    found = whole._of_move(best)
    wanted = np.zeros((3, *whole.choices.items.shape))
    for rank, step in enumerate(best, start=1):
        named, degree = whole._of_step(step)
        wanted += [named, degree, named * np.log(rank)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (wanted[0] > 0).sum() > (whole._of_step(best[0])[0] > 0).sum()
    assert whole._of_move(best[:1]) == whole._of_step(best[0])


def test_the_whole_pattern_is_judged_and_every_sentence_encoded_once(trial):
    brands = [Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (3, 2, 1)]
    last = Step("likely_next", {"what": "item", "count": 1, "window": 1})
    patterns = [
        ReasoningPattern((*brands, last)),
        ReasoningPattern((*brands[1:], last)),
        ReasoningPattern((last,)),
        ReasoningPattern(()),
    ]
    whole, asked = trial
    full, short, bare, nothing = (whole.ranks(patterns) <= 3).mean(axis=1)
    assert full > 0.35  # the best that can be had is 3 / 6
    assert max(short, bare) < 0.25
    assert nothing < 0.15
    assert len(asked) <= len(set(asked)) + 40  # a later call asks for what is new only
