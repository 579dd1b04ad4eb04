"""The simulated A/B test: purchases follow the stated model, and intervals hold the truth as often
as they say."""

import json

import numpy as np
import pytest

from benchmarks.studies.online import (
    FILE,
    Visits,
    arrive,
    as_text,
    bought,
    compare,
    expected,
    language_model_cost,
    measure,
    split_test,
)
from benchmarks.suite.collect import RESULTS
from scoter.errors import ConfigError

SHOPPERS, ITEMS, SHOWN = 300, 20, 5


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(ITEMS, 0.3), size=SHOPPERS)
    good, blind = (
        np.argsort(-chances, axis=1)[:, :SHOWN],
        rng.permuted(np.tile(np.arange(ITEMS), (SHOPPERS, 1)), axis=1),
    )
    return chances, np.exp(rng.normal(3, 0.5, ITEMS)), good, blind[:, :SHOWN]


def test_wanted_items_follow_the_chances():
    chances = np.tile([0.5, 0.0, 0.3, 0.2], (20_000, 1))
    counts = np.bincount(arrive(chances, seed=0).wanted, minlength=4)
    np.testing.assert_allclose(counts / 20_000, chances[0], atol=0.015)
    assert counts[1] == 0


def test_purchases_are_those_of_a_loop_and_their_mean_is_the_expected_one(market):
    chances, prices, good, _ = market
    visits = arrive(chances, seed=1)
    for row, sale in enumerate(bought(visits, good, attention=0.8)):
        places = [place for place in range(SHOWN) if good[row, place] == visits.wanted[row]]
        assert sale == bool(places and visits.patience[row] < 0.8 ** places[0])
    many = [arrive(chances, seed) for seed in range(300)]
    sold = np.stack([bought(visits, good, 0.8) for visits in many])
    paid = np.stack([prices[visits.wanted] for visits in many])
    wanted = expected(chances, good, prices, 0.8)
    assert sold.mean() == pytest.approx(wanted["conversion"], abs=0.006)
    assert (sold * paid).mean() == pytest.approx(wanted["gmv"], rel=0.02)


def test_an_empty_place_sells_nothing(market):
    chances, prices, good, _ = market
    assert expected(chances, np.full_like(good, -1), prices, 0.9) == {"conversion": 0.0, "gmv": 0.0}
    assert not bought(Visits(np.array([3]), np.array([0.0])), np.array([[-1, -1]]), 0.9).any()


def test_identical_arms_differ_by_nothing_paired_and_split_as_often_as_five_in_a_hundred(market):
    chances, _, good, _ = market
    held, repeats = 0, 400
    for seed in range(repeats):
        sale = bought(arrive(chances, seed), good, 0.9).astype(float)
        treated = np.random.default_rng(seed + 10_000).random(SHOPPERS) < 0.5
        found = compare(sale[~treated], sale[treated], seed, paired=False, draws=200)
        held += found["low"] <= 0 <= found["high"]
        assert compare(sale, sale, seed, paired=True, draws=2) | {"lift": None} == {
            "mean": 0,
            "low": 0,
            "high": 0,
            "lift": None,
        }
    assert 0.91 <= held / repeats <= 0.98


def test_a_known_difference_is_in_both_intervals_and_pairing_makes_them_narrower(market):
    chances, prices, good, blind = market
    first, second = (expected(chances, shown, prices, 0.9)["gmv"] for shown in (blind, good))
    found = [
        split_test(chances, prices, {"blind": blind, "good": good}, seed, 0.9) for seed in range(20)
    ]
    for kind in ("split", "paired"):
        gaps = [row[kind]["gmv"] for row in found]
        assert sum(gap["low"] <= second - first <= gap["high"] for gap in gaps) >= 16
        assert all(gap["lift"]["low"] <= gap["lift"]["mean"] <= gap["lift"]["high"] for gap in gaps)
    widths = {
        kind: np.mean([row[kind]["gmv"]["high"] - row[kind]["gmv"]["low"] for row in found])
        for kind in ("split", "paired")
    }
    assert widths["paired"] < 0.8 * widths["split"]


def test_cost_is_tokens_times_price(tmp_path):
    counts = {"requests": 10, "prompt_tokens": 2000, "completion_tokens": 500}
    (tmp_path / "discovery-smollm2.json").write_text(json.dumps({"counts": counts}))
    cost = language_model_cost(3_000, tmp_path, prices=(2.0, 8.0), tokens_per_second=25)
    assert cost["cost_per_visit"] == pytest.approx(200 * 2e-6 + 50 * 8e-6)
    assert cost["cost_of_all_visits"] == pytest.approx(2.4)
    assert cost["seconds_added_per_visit"] == 2


def test_settings_out_of_range_and_empty_arms_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"attention = 1\.5 must be above 0 and at most 1"):
        measure(results=tmp_path, attention=1.5)
    with pytest.raises(ConfigError, match="the arms hold 0 and 3 shoppers"):
        compare(np.zeros(0), np.ones(3), 0, paired=False)
    with pytest.raises(ConfigError, match="the arms hold 2 and 3 shoppers"):
        compare(np.zeros(2), np.ones(3), 0, paired=True)


def test_committed_results_call_themselves_a_simulation():
    found = json.loads((RESULTS / FILE).read_text())
    assert "simulation" in as_text(found)
    for row in found["rows"]:
        assert sum(row["in_each_arm"]) == row["shoppers"]
        for name in ("conversion", "gmv"):
            exact = row["arms"]["scoter"][name] - row["arms"]["tiger"][name]
            gap = row["paired"][name]
            assert (
                gap["low"] - (gap["high"] - gap["low"])
                <= exact
                <= gap["high"] + (gap["high"] - gap["low"])
            )
