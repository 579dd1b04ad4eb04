"""Strict gain, exact ranges, finite samples and certificates: worked values and odd input."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import entr

from theory import bounds
from theory.bounds.list_rate import ListRate, RankingRate
from theory.errors import PremiseError
from theory.exact import OrderChannel, bayes_ndcg, bayes_recall, bottleneck_point, merge_rows


def zipf(items: int, exponent: float) -> np.ndarray:
    weights = np.arange(1, items + 1.0) ** -exponent
    return weights / weights.sum()


def test_the_best_ceiling_is_taken_and_named():
    little = bounds.recall_ceiling(k=3, information=0.088, popularity=zipf(12, 1))
    assert little.statement == "T16"
    assert little.ceilings == pytest.approx({"T16": 0.6778, "T5": 0.6949, "T7": 0.7885}, abs=5e-5)
    for exponent, crossing in ((0.5, 0.059), (0.8, 0.079), (1.0, 0.082)):
        p = zipf(12_101, exponent)
        for nats, better in ((crossing - 0.001, "T7"), (crossing + 0.001, "T5")):
            entropy = float(entr(p).sum()) - nats
            found = bounds.recall_ceiling(
                entropy, items=len(p), k=10, information=nats, baseline_recall=p[:10].sum()
            )
            assert found.statement == better
            exact = bounds.recall_ceiling(k=10, information=nats, popularity=p)
            assert exact.value < found.value
            assert exact.ceilings == pytest.approx({"T16": exact.value, **found.ceilings})


def test_exact_models_are_not_refused_for_their_rounding():
    for seed in range(40):
        model = OrderChannel(3, 3, 7, order_weight=0.25, noise=0.02, seed=seed)
        fine, pooled = model.joint(), model.joint("multiset")
        gained = max(model.order_information(), 0)
        assert bounds.certified_information(bayes_recall(fine, 1), bayes_recall(pooled, 1)) >= 0
        assert bounds.recall_cap(bayes_recall(pooled, 6), gained) >= bayes_recall(fine, 6) - 1e-9
        assert bounds.strict_gain(fine, model.labels("multiset"), 2) >= 0
        bounds.recall_ceiling(k=3, information=model.information(), popularity=fine.sum(0))
        bounds.list_rate_floor(fine.sum(0), 3, model.information())
        bounds.ndcg_from_recalls([bayes_recall(fine, k) for k in range(1, 8)])
        bounds.pinsker_gain(model.order_information())


@pytest.mark.parametrize(
    ("exponent", "at_little", "at_one", "for_a_lift"),
    [(0.5, 0.0606, 0.258, 2.8e-4), (1.0, 0.3473, 0.580, 6.9e-3)],
)
def test_the_ceiling_of_a_real_catalogue(exponent, at_little, at_one, for_a_lift):
    p = zipf(12_101, exponent)
    assert bounds.list_rate_ceiling(p, 10, 0.0756) == pytest.approx(at_little, abs=5e-5)
    assert bounds.list_rate_ceiling(p, 10, 1.0) == pytest.approx(at_one, abs=5e-4)
    assert bounds.list_rate(p, 10, 1.0375 * p[:10].sum()) == pytest.approx(for_a_lift, rel=0.02)


def test_the_ceiling_of_ndcg_of_a_real_catalogue():
    p = zipf(12_101, 0.5)
    exact = bounds.ndcg_rate_ceiling(p, 10, 0.0756)
    over_recalls = bounds.ndcg_from_recalls(
        [bounds.list_rate_ceiling(p, k, 0.0756) for k in range(1, 11)]
    )
    assert exact == pytest.approx(0.0364, abs=5e-5)
    assert over_recalls == pytest.approx(0.0442, abs=5e-5)


def test_the_range_contains_every_view_of_a_solvable_model():
    model = OrderChannel(3, 3, 7, order_weight=0.6, noise=0.2, seed=4)
    popularity = model.joint().sum(0)
    for view in ("ordered", "multiset", "last", "sum"):
        nats, joint = model.information(view), model.joint(view)
        for k in (1, 3, 6):
            recall, ndcg = bayes_recall(joint, k), bayes_ndcg(joint, k)
            assert bounds.list_rate_floor(popularity, k, nats) <= recall + 1e-9
            assert recall <= bounds.list_rate_ceiling(popularity, k, nats) + 1e-9
            assert bounds.ndcg_rate_floor(popularity, k, nats) <= ndcg + 1e-9
            assert ndcg <= bounds.ndcg_rate_ceiling(popularity, k, nats) + 1e-9
            assert bounds.list_rate(popularity, k, recall) <= nats + 1e-9


def test_the_edges_of_the_range():
    p = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    assert bounds.list_rate_ceiling(p, 2, 0.0) == pytest.approx(0.7)
    assert bounds.list_rate_ceiling(p, 4, 0.0) == 1.0  # four items have all the mass
    assert bounds.list_rate_ceiling(p, 2, 5.0) == 1.0
    assert bounds.list_rate(p, 2, 0.7) == 0.0
    assert bounds.ndcg_rate_ceiling(p, 1, 0.1) == pytest.approx(bounds.list_rate_ceiling(p, 1, 0.1))
    assert bounds.list_rate_floor(p, 2, 0.0) == pytest.approx(0.7, abs=1e-9)
    assert bounds.list_rate_floor(p, 2, ListRate(p, 2).rate(1.0) * 0) == pytest.approx(0.7)


@pytest.mark.parametrize("s", [0.01, 0.3, 1.0, 4.0, 20.0])
def test_waterfilling_is_the_maximum(s):
    """Against a general optimiser over the same sets."""
    p, k = np.array([0.45, 0.25, 0.15, 0.1, 0.05]), 2
    c = np.expm1(s)
    fitted = minimize(
        lambda pi: -(p @ np.log1p(c * pi)),
        np.full(5, k / 5),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda pi: pi.sum() - k},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    rate = ListRate(p, k)
    assert rate.free_energy(s) == pytest.approx(-fitted.fun, abs=1e-7)
    assert rate.inclusion(s).sum() == pytest.approx(k)
    gains = np.expm1(s / np.log2([2, 3, np.inf, np.inf, np.inf]))
    majorised = [
        {"type": "ineq", "fun": lambda x, j=j: gains[:j].sum() - x[:j].sum()} for j in range(1, 6)
    ]
    fitted = minimize(
        lambda x: -(p @ np.log1p(x)),
        np.full(5, gains.sum() / 5) if s < 5 else gains * 0.9,
        bounds=[(0, None)] * 5,
        constraints=majorised,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert RankingRate(p, k).free_energy(s) >= -fitted.fun - 1e-7


def test_a_certified_gain_is_rarely_too_large():
    model, k = OrderChannel(3, 3, 6, order_weight=1.0, noise=0.1, seed=2), 1
    joint, labels = model.joint(), model.labels("multiset")
    gain, rng = bounds.strict_gain(joint, labels, k), np.random.default_rng(0)
    lists, lowers = np.argsort(-model.channel, axis=1)[:, :k], []
    for _ in range(100):
        rows = rng.choice(len(joint), size=2000, p=model.sequence_probabilities)
        items = (model.channel[rows].cumsum(1) < rng.random((2000, 1))).sum(1)
        hits = (lists[rows] == items[:, None]).any(1)
        lowers.append(bounds.certify_gain(hits, labels[rows], items, k, confidence=0.9).gain_lower)
    assert np.mean(np.array(lowers) > gain) <= 0.1
    assert np.mean(lowers) > 0.6 * gain


def test_an_order_that_is_worth_nothing_is_never_certified():
    model = OrderChannel(3, 3, 6, order_weight=0.0, noise=0.2, seed=7)
    labels, rng = model.labels("multiset"), np.random.default_rng(1)
    best = model.channel.argmax(1)
    for _ in range(50):
        rows = rng.choice(len(labels), size=800, p=model.sequence_probabilities)
        items = (model.channel[rows].cumsum(1) < rng.random((800, 1))).sum(1)
        sure = bounds.certify_gain(best[rows] == items, labels[rows], items, 1)
        assert sure.gain_lower < 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.list_rate_ceiling(np.ones(3), 1, 0.1), "sum to 1"),
        (lambda: bounds.list_rate_ceiling(zipf(5, 1), 5, 0.1), "k = 5"),
        (lambda: bounds.list_rate_ceiling(zipf(5, 1), 2, -0.1), "information = -0.1"),
        (lambda: bounds.list_rate(zipf(5, 1), 2, 1.5), "value = 1.5"),
        (lambda: bounds.list_rate_floor(zipf(5, 1), 2, 9.0), r"lies in \[0, 1.4"),
        (lambda: bounds.strict_gain(np.eye(2), np.zeros(2, int), 1), "sum to 1"),
        (lambda: bounds.strict_gain(np.eye(2) / 2, np.zeros(3, int), 1), "one whole number"),
        (lambda: bounds.strict_gain(np.eye(2) / 2, np.array([0, -1]), 1), "numbers from 0"),
        (lambda: merge_rows(np.eye(2) / 2, np.array([0, -1])), "labels = -1: numbers from 0"),
        (lambda: bottleneck_point(np.eye(2)[:, :1], trade=1.0, letters=2, seed=0), "never occur"),
        (lambda: bounds.recall_ceiling(k=2), "give conditional_entropy and items"),
        (lambda: bounds.recall_ceiling(1.0, k=2), "needs items too"),
        (lambda: bounds.recall_ceiling(k=2, baseline_recall=0.1), "needs information too"),
        (lambda: bounds.recall_ceiling(1.0, k=2, popularity=zipf(5, 1)), "alone"),
        (lambda: bounds.reader_regret(-1.0), "divergence = -1.0"),
        (lambda: bounds.pair_gain_floor(0.5, 0.7, 0.1), "share = 0.7"),
        (lambda: bounds.recall_deviation(0), "users = 0"),
        (lambda: bounds.clopper_pearson(5, 3, delta=0.1), "hits = 5"),
        (lambda: bounds.paired_ndcg_interval([0.0, 2.0]), r"\[-1, 1\]"),
        (lambda: bounds.table_regret_floor(4, 5, 3, 10), "items >= 2k"),
        (lambda: bounds.learned_share(4, 1, 10, 0.0), "eps = 0.0"),
        (
            lambda: bounds.certify_gain(np.ones(3), np.zeros(3), np.zeros(3, int), 1),
            "give whole numbers",
        ),
        (lambda: bounds.certify_scores(np.ones(4), np.ones(2), low=0.0, high=0.5), "in .0.0, 0.5"),
    ],
)
def test_a_failed_premise_is_named(call, message):
    with pytest.raises(PremiseError, match=message):
        call()


def test_bounds_at_their_edges():
    scores = np.array([2.0] * 10)
    far = bounds.certify_scores(scores, np.full(5, 1000.0), low=-2.0, high=1000.0)
    near = bounds.certify_scores(scores, np.full(5, 3.0), low=-2.0, high=3.0)
    assert far == near == 0.0
    shifted = (np.full(9000, 502.0), np.full(4500, 498.0))  # only differences of scores count
    found = bounds.certify_scores(*shifted, low=498.0, high=502.0)
    assert found == pytest.approx(
        bounds.certify_scores(np.full(9000, 2.0), np.full(4500, -2.0), low=-2.0, high=2.0)
    )
    law = np.array([0.99944, 0.00056])
    assert bounds.list_rate_ceiling(law, 1, 7e-17) >= law[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounds.fano_ceiling(1.0, items=5, k=1.5),
        lambda: bounds.binary_entropy(1.5),
        lambda: bounds.certified_information(np.array([0.2, 0.3]), 0.1),
        lambda: bounds.recall_cap(float("nan"), 0.1),
        lambda: bounds.recall_cap("x", 0.1),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(call):
    with pytest.raises(Exception, match=r"whole number|lies in|one number|Type-check"):
        call()


def test_rounding_beyond_a_range_is_clipped():
    assert bounds.recall_cap(1 + 1e-12, 0.1) == 1.0
    assert bounds.pinsker_gain(-1e-12) == 0.0
    assert bounds.certified_information(0.3, 0.3) == 0.0
