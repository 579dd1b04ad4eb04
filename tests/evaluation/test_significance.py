"""The bootstrap against scipy's, against closed forms, and by its coverage of a known truth."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from scoter.errors import ConfigError
from scoter.evaluation.significance import (
    Estimate,
    bootstrap_mean,
    holm,
    paired_bootstrap,
    paired_p_value,
)


def test_the_interval_is_that_of_scipy():
    generator = np.random.default_rng(1)
    a = generator.choice([0.0, 0.5, 1.0], size=400, p=[0.7, 0.1, 0.2])
    b = np.where(
        generator.random(400) < 0.7, a, generator.choice([0.0, 1.0], size=400, p=[0.9, 0.1])
    )
    ours = paired_bootstrap(a, b, seed=0, draws=20_000)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
        batch=500,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == np.mean(a - b)
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_distinct_values_give_the_same_interval_as_drawing_users():
    values = np.random.default_rng(3).normal(size=300)
    ours = bootstrap_mean(values, seed=0, draws=20_000)
    users = np.random.default_rng(4).integers(300, size=(20_000, 300))
    low, high = np.quantile(values[users].mean(axis=1), [0.025, 0.975])
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_the_interval_covers_a_known_difference_as_often_as_it_says():
    generator = np.random.default_rng(5)
    truth, users, repeats = 0.05, 400, 600
    inside = 0
    for repeat in range(repeats):
        easy = generator.random(users)
        noise = generator.random(users)
        b = (easy < 0.10).astype(float)
        a = ((easy < 0.10) & (noise < 0.8) | (easy >= 0.10) & (noise < 7 / 90)).astype(float)
        found = paired_bootstrap(a, b, seed=repeat, draws=500, level=0.9)
        inside += found.low <= truth <= found.high
    assert 0.86 <= inside / repeats <= 0.94


def test_no_difference_is_exactly_zero():
    values = np.random.default_rng(6).random(1000)
    assert paired_bootstrap(values, values, seed=0) == Estimate(0.0, 0.0, 0.0)


def test_pairing_matters_and_exchanging_the_pair_changes_the_sign():
    generator = np.random.default_rng(7)
    b = generator.random(500)
    a = b + 0.01 + 0.001 * generator.random(500)
    forth, back = paired_bootstrap(a, b, seed=0), paired_bootstrap(b, a, seed=0)
    assert 0.01 < forth.low < forth.mean < forth.high < 0.011
    assert back.mean == -forth.mean
    assert -0.011 < back.low < back.high < -0.01


def test_one_seed_gives_one_answer_and_a_wider_level_a_wider_interval():
    values = np.random.default_rng(8).random(200)
    assert (
        bootstrap_mean(values, seed=1)
        == bootstrap_mean(values, seed=1)
        != bootstrap_mean(values, seed=2)
    )
    narrow, wide = (
        bootstrap_mean(values, seed=1, level=0.5),
        bootstrap_mean(values, seed=1, level=0.99),
    )
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_blocks_bound_the_memory_and_leave_the_answer_alone(monkeypatch):
    values = np.random.default_rng(9).random(50)
    whole = bootstrap_mean(values, seed=0)
    monkeypatch.setattr("scoter.evaluation.significance._BLOCK", 64)
    assert bootstrap_mean(values, seed=0) == whole
    assert isinstance(whole, Estimate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), np.zeros(2), {}), "a has 3 users and b has 2"),
        ((np.zeros(0), np.zeros(0), {}), "0 users"),
        ((np.array([1.0, np.nan]), np.zeros(2), {}), "1 of them not finite"),
        ((np.zeros(2), np.zeros(2), {"level": 95.0}), "level = 95"),
        ((np.zeros(2), np.zeros(2), {"draws": 0}), "draws = 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    a, b, options = arguments
    with pytest.raises(ConfigError, match=message):
        paired_bootstrap(a, b, seed=0, **options)


def test_the_p_value_is_that_of_scipy():
    generator = np.random.default_rng(11)
    for users in (2, 30, 5000):
        a, b = generator.random(users), generator.random(users) + 0.01
        assert paired_p_value(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-10)
    assert paired_p_value(a, a) == 1.0
    with pytest.raises(ConfigError, match="3 users and b has 2"):
        paired_p_value(np.zeros(3), np.zeros(2))


def test_holm_is_the_closure_of_bonferroni_over_all_subsets():
    """A hypothesis falls if every subset that holds it falls by Bonferroni: Marcus, Peritz and
    Gabriel 1976."""
    generator = np.random.default_rng(12)
    for count in (1, 2, 5):
        p = generator.beta(0.3, 2, count)
        subsets = [
            chosen for size in range(1, count + 1) for chosen in combinations(range(count), size)
        ]
        closed = [
            max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s)
            for i in range(count)
        ]
        assert holm(p.tolist()) == pytest.approx(closed, rel=1e-12)
    assert holm([]) == []
