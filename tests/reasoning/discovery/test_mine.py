import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from scoter.config import DiscoverConfig, SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.errors import ConfigError, DataError
from scoter.models.backbones.popularity import Popularity
from scoter.reasoning.discovery.clusters import (
    Cluster,
    cluster_patterns,
    mean_over_users,
    on_a_plane,
    partition,
)
from scoter.reasoning.discovery.mine import discover, distil, shed
from scoter.reasoning.discovery.report import Calls, compare, pattern_from_json
from scoter.types import ReasoningPattern, Step


def counted(catalog):
    """Trains what everybody buys, in the place of a network."""
    return lambda split: Popularity(split.train, catalog.item_count)


def found_in(split, catalog, config, encode):
    vectors = encode(catalog.columns["title"])
    return discover(split, catalog, config, encode, vectors, 0, counted(catalog))


A, B, C, D = (Step("recent_item", {"lag": lag}) for lag in (4, 3, 2, 1))
END, OTHER_END = Step("recommendation"), Step("likely_next")


def hits_of(recalls, users=400):
    hit = np.stack([np.arange(users) < round(recall * users) for recall in recalls])
    return hit.astype(float)


def test_clusters_are_the_planted_ones_best_lower_bound_first():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [8, 6, 4])
    points = 10.0 * np.eye(3)[group] + rng.normal(scale=0.1, size=(18, 3))
    hits = (rng.random((18, 500)) < np.array([0.05, 0.2, 0.1])[group][:, None]).astype(float)
    clusters, silhouette = cluster_patterns(points, hits, max_clusters=6, seed=0)
    assert [set(group[cluster.members]) for cluster in clusters] == [{1}, {2}, {0}]
    assert silhouette > 0.9
    for cluster in clusters:
        assert cluster.gain.mean == pytest.approx(hits[cluster.members].mean())


def test_a_clusters_interval_treats_shoppers_as_the_sample():
    rng = np.random.default_rng(0)
    one = rng.random((1, 400)) < 0.3
    same = mean_over_users(
        np.repeat(one, 9, axis=0)
    )  # nine copies of a pattern are no new evidence
    alone = mean_over_users(one)
    assert (same.low, same.mean, same.high) == pytest.approx((alone.low, alone.mean, alone.high))
    repeated = [mean_over_users(rng.random((1, 400)) < 0.3) for _ in range(400)]
    covered = np.mean([recall.low <= 0.3 <= recall.high for recall in repeated])
    assert 0.91 <= covered <= 0.99


def test_distil_takes_the_best_members_steps_in_their_order():
    patterns = [
        ReasoningPattern((A, B, C, END)),
        ReasoningPattern((A, B, D, END)),
        ReasoningPattern((A, C, B, OTHER_END)),
        ReasoningPattern((D, C, OTHER_END)),  # far below the best: has no vote
        ReasoningPattern((C, A, OTHER_END)),  # not in the cluster
    ]
    cluster = Cluster(np.arange(4), mean_over_users(hits_of([0.3])))
    template, votes = distil(patterns, hits_of([0.30, 0.29, 0.28, 0.05, 0.9]), cluster)
    # Three voters, so four steps. A and B have all votes; C has .58 of .87 and D .29. Mean places:
    # A 0, B .44, C .51.
    assert template.steps == (A, B, C, END)
    assert votes[A.label()] == pytest.approx(1)
    assert votes[END.label()] == pytest.approx(0.59 / 0.87)
    assert votes[D.label()] == pytest.approx(0.29 / 0.87)


def test_distil_of_one_pattern_is_that_pattern_even_without_a_hit():
    pattern = ReasoningPattern((B, A, END))
    for recall in (0.0, 0.4):
        assert (
            distil(
                [pattern],
                hits_of([recall]),
                Cluster(np.array([0]), mean_over_users(hits_of([recall]))),
            )[0]
            == pattern
        )


@pytest.fixture(scope="module")
def found(plan_shop, encode):
    split, catalog = plan_shop
    config = DiscoverConfig(
        patterns=32, users=240, fresh_users=240, min_steps=2, max_steps=5, max_clusters=6, top_k=3
    )
    return discover(
        split, catalog, config, encode, encode(catalog.columns["title"]), 0, counted(catalog)
    )


def test_discovery_ranks_by_reasons_which_know_what_follows_three_purchases_later(found):
    ways = {step.parameters.get("by", "reasons") for step in found.pattern.steps}
    assert ways == {"reasons"}
    assert found.pattern.steps[-1].parameters["by"] == "reasons"
    assert found.recall.low > found.rivals["hand-written"].recall.high
    assert found.rivals["zero-shot"].gain.low > 0
    assert found.recall.high < 0.6  # the best that can be had is 3 / 6


@pytest.mark.slow
def test_discovery_finds_the_trail_that_only_steps_in_order_tell(encode):
    """The simulated shop's next brand depends on the last two in order, which no reason counts."""
    shop = simulate(SimulatedConfig(users=2000, order=1.0), seed=0)
    config = DiscoverConfig(patterns=32, users=800, fresh_users=300, rounds=2)
    split, catalog = leave_one_out(shop.log), shop.catalog
    pattern = found_in(split, catalog, config, encode).pattern
    trail = [f"recent_item(field=brand, lag={lag})" for lag in (2, 1)]
    assert [step.label() for step in pattern.steps if step.role == "recent_item"] == trail


def test_discovery_is_determined_by_its_seed(found, plan_shop, encode):
    split, catalog = plan_shop
    config = DiscoverConfig(
        patterns=32, users=240, fresh_users=240, min_steps=2, max_steps=5, max_clusters=6, top_k=3
    )
    again = discover(
        split, catalog, config, encode, encode(catalog.columns["title"]), 0, counted(catalog)
    )
    assert again.to_json() == found.to_json()


def test_pattern_json_holds_support_provenance_and_rivals(found):
    tree = json.loads(found.to_json())
    assert pattern_from_json(found.to_json()) == found.pattern
    assert 0 < tree["pattern"]["support"] == found.support <= 1
    assert sum(cluster["support"] for cluster in tree["clusters"]) == pytest.approx(1)
    assert (
        sum(len(cluster["patterns"]) for cluster in tree["clusters"])
        == tree["provenance"]["patterns"]
        == 32
    )
    assert set(tree["rivals"]) == {
        "hand-written",
        "random",
        "single-step",
        "zero-shot",
        "best generated",
    }
    for rival in tree["rivals"].values():
        assert rival["low"] <= rival["mean"] <= rival["high"]
        assert rival["gain_of_mined"]["mean"] == pytest.approx(
            tree["pattern"]["recall"]["mean"] - rival["mean"]
        )
    assert tree["provenance"]["model"] == "catalog-reasoner (symbolic)"
    assert tree["optimism"]["bound"] == pytest.approx(np.sqrt(np.log(32) / 480))
    assert tree["optimism"]["measured"] == pytest.approx(found.chosen_on.mean - found.ndcg.mean)


def test_rounds_find_a_better_pattern_than_as_many_draws(plan_shop, encode):
    split, catalog = plan_shop
    config = DiscoverConfig(
        patterns=48,
        users=240,
        fresh_users=240,
        min_steps=2,
        max_steps=5,
        max_clusters=6,
        top_k=3,
        rounds=3,
    )
    later = discover(
        split, catalog, config, encode, encode(catalog.columns["title"]), 0, counted(catalog)
    )
    rival = later.rivals["best generated"]
    assert later.calls.choosing == rival.calls.choosing
    assert (
        (48 + 3) * 240 < later.calls.choosing <= (48 + 3 + 60) * 240
    )  # a template each round, and what shedding tried
    assert later.calls.fresh == rival.calls.fresh == 240
    assert later.ndcg.mean > rival.ndcg.mean  # on users that had no part in either choice
    assert (
        48 <= len(later.points) <= 48 + 2
    )  # the first two rounds' templates are tried in the next one
    for rounds, patterns in ((0, 48), (13, 48)):
        with pytest.raises(
            ConfigError, match=rf"discover\.rounds={rounds} and discover\.patterns={patterns}"
        ):
            discover(
                split,
                catalog,
                replace(config, rounds=rounds, patterns=patterns),
                encode,
                np.eye(25),
                0,
                counted(catalog),
            )


def test_one_round_tries_each_pattern_once_and_tells_ndcg(found):
    assert found.calls.choosing == found.rivals["best generated"].calls.choosing
    assert (32 + 1) * 240 < found.calls.choosing <= (32 + 1 + 60) * 240
    assert len(found.points) == 32
    assert 0 < found.ndcg.mean < found.recall.mean
    chosen = [point for point in found.points if point.cluster == 0]
    assert len(chosen) == len(found.clusters[0].patterns)
    assert np.mean([point.gain for point in chosen]) == pytest.approx(found.clusters[0].ndcg.mean)


def test_a_step_is_shed_unless_it_adds_something():
    """The first of three steps serves 40 of 100 shoppers; the second wins some more and loses some;
    the third changes nothing."""
    first, second, third = (Step("recent_item", {"field": "item", "lag": lag}) for lag in (3, 2, 1))

    def left(wins: int, losses: int) -> tuple[Step, ...]:
        alone = np.arange(100) < 40
        with_second = (np.arange(100) < 40 + wins) & (np.arange(100) >= losses)

        def gains(patterns):
            served = [with_second if second in one.steps else alone for one in patterns]
            able = [first in one.steps for one in patterns]
            return np.stack(served).astype(float) * np.array(able)[:, None]

        return shed(ReasoningPattern((first, second, third)), gains).steps

    assert left(0, 0) == left(1, 1) == left(2, 3) == (first,)
    assert left(3, 2) == (first, second)


def test_a_ladder_is_shed_as_a_whole_or_not_at_all():
    best = [Step("recommendation", {"rank": rank}) for rank in range(1, 5)]
    words = [Step("near_in_words", {"rank": rank}) for rank in range(1, 4)]

    def gains(patterns):  # the first two ranks serve shoppers, the others nobody
        useful = [sum(step in one.steps for step in best[:2]) for one in patterns]
        return np.array(useful, float)[:, None].repeat(4, axis=1)

    assert shed(ReasoningPattern((*words, *best)), gains).steps == tuple(best)


def test_density_finds_the_planted_clusters_and_leaves_the_rest_out():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, -1], [12, 9, 3])
    points = np.where(
        group[:, None] < 0,
        40 * rng.normal(size=(24, 2)),
        9.0 * group[:, None] + rng.normal(0, 0.1, (24, 2)),
    )
    numbers, silhouette = partition(points, max_clusters=1, seed=0, clustering="hdbscan")
    assert {frozenset(np.flatnonzero(numbers == number)) for number in (0, 1)} == {
        frozenset(range(12)),
        frozenset(range(12, 21)),
    }
    assert set(numbers[21:]) == {-1}
    assert silhouette > 0.9
    with pytest.raises(
        ConfigError,
        match=r"discover\.clustering=hdbscan found no cluster among 6 points \(1 distinct\)",
    ):
        partition(np.zeros((6, 2)), max_clusters=4, seed=0, clustering="hdbscan")


def test_the_plane_is_that_of_principal_components():
    points = np.random.default_rng(0).normal(size=(30, 6)) * [5, 3, 1, 1, 1, 1]
    wanted = PCA(2).fit_transform(points)
    np.testing.assert_allclose(np.abs(on_a_plane(points)), np.abs(wanted), atol=1e-9)
    assert on_a_plane(np.ones((4, 1))).tolist() == [[0, 0]] * 4


def test_a_broken_pattern_file_is_named():
    for text in ("{", '{"pattern": 3}', '{"pattern": {"steps": [{"parameters": {}}]}}', "[]"):
        with pytest.raises(
            DataError, match=rf"this is no pattern file .* but starts '{re.escape(text[:10])}"
        ):
            pattern_from_json(text)


def test_where_nobody_hit_the_paired_interval_still_has_a_width():
    missed = np.full(16, 11)
    blank = compare(missed, missed, ("direct",), 10, Calls(0, 16))
    assert blank.gain.low == blank.ndcg_gain.low < -0.1
    some = compare(np.where(np.arange(16) < 4, 1, 11), missed, ("direct",), 10, Calls(0, 16))
    assert some.gain == mean_over_users((np.arange(16) < 4).astype(float)[None])


def test_too_few_patterns_to_cluster_are_refused():
    with pytest.raises(
        ConfigError, match=r"discover\.patterns=2 \(2 distinct\) and discover\.max_clusters=8"
    ):
        cluster_patterns(np.eye(2), hits_of([0.1, 0.2]), max_clusters=8, seed=0)
    with pytest.raises(ConfigError, match=r"discover\.patterns=4 \(1 distinct\)"):
        cluster_patterns(np.zeros((4, 2)), hits_of([0.1] * 4), max_clusters=3, seed=0)
