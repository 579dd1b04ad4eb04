import numpy as np
import pytest

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.reasoner import check_step
from scoter.reasoning.discovery.generate import (
    generate,
    hold_in,
    labels,
    ladder,
    moves,
    vary,
    without_targets,
)
from scoter.types import Catalog, ReasoningPattern, Step


def test_patterns_are_varied_valid_and_end_with_what_comes_next(make_shop):
    catalog = make_shop(20)
    config = DiscoverConfig(patterns=200, min_steps=3, max_steps=6)
    patterns = generate(catalog, config, seed=0)
    assert len({labels(pattern) for pattern in patterns}) == 200
    assert {len(moves(pattern)) for pattern in patterns} == {3, 4, 5, 6}
    assert {pattern.steps[-1].role for pattern in patterns} == {"likely_next", "recommendation"}
    for pattern in patterns:
        assert len(set(labels(pattern))) == len(pattern)
        for step in pattern.steps:
            check_step(step, catalog)
    assert generate(catalog, config, seed=0) == patterns
    assert generate(catalog, config, seed=1) != patterns


def test_the_family_holds_the_brands_of_the_last_three_items_oldest_first(make_shop):
    wanted = tuple(f"recent_item(field=brand, lag={lag})" for lag in (3, 2, 1))
    patterns = generate(make_shop(20), DiscoverConfig(patterns=64), seed=0)
    assert any(
        wanted == labels(pattern)[at : at + 3] for pattern in patterns for at in range(len(pattern))
    )


def test_too_many_patterns_are_refused():
    shop = Catalog(("a",), {"title": ("Soap",)})
    with pytest.raises(ConfigError, match=r"discover\.patterns=100000, but only \d+ distinct"):
        generate(shop, DiscoverConfig(patterns=100000, min_steps=2, max_steps=2), seed=0)
    with pytest.raises(
        ConfigError,
        match=r"discover\.min_steps=5 and max_steps=3: need 2 <= min_steps <= max_steps",
    ):
        generate(shop, DiscoverConfig(min_steps=5, max_steps=3), seed=0)


def test_variations_are_near_their_seeds_new_and_valid(make_shop):
    catalog, config = make_shop(20), DiscoverConfig(patterns=4, min_steps=3, max_steps=6)
    seeds = generate(catalog, config, seed=0)
    known = {labels(pattern) for pattern in seeds}
    near = vary(seeds, catalog, config, known, count=60, seed=0)
    assert len({labels(pattern) for pattern in near}) == 60
    assert not known & {labels(pattern) for pattern in near}
    shared = [
        max(len(set(labels(pattern)) & set(labels(seed))) for seed in seeds) for pattern in near
    ]
    assert min(shared) >= 1
    assert np.mean(shared) > 2
    for pattern in near:
        assert 3 <= len(moves(pattern)) <= 6
        assert len(set(labels(pattern))) == len(pattern)
        assert pattern.steps[-1].role in ("likely_next", "recommendation")
        for step in pattern.steps:
            check_step(step, catalog)
        for field in ("item", "brand", "category"):
            lags = [
                step.parameters["lag"]
                for step in pattern.steps
                if step.parameters.get("field") == field
            ]
            assert lags == sorted(lags, reverse=True)  # told oldest first
    assert vary(seeds, catalog, config, known, count=60, seed=0) == near


def test_targets_are_last_training_items_of_disjoint_shoppers(random_shop):
    split, _ = random_shop
    tried, fresh = hold_in(split, DiscoverConfig(users=20, fresh_users=15), seed=0)
    assert len(tried) == 20
    assert len(fresh) == 15
    assert not set(tried.users) & set(fresh.users)
    for sample in (tried, fresh):
        for user, length, target in zip(
            sample.users, sample.prefix_lengths, sample.targets, strict=True
        ):
            assert length >= 1
            assert split.train.sequence(int(user))[length:].tolist() == [target]
    np.testing.assert_array_equal(
        hold_in(split, DiscoverConfig(users=20, fresh_users=15), seed=0)[0].users, tried.users
    )


def test_the_held_in_targets_are_taken_out_of_the_log(random_shop):
    split, _ = random_shop
    samples = hold_in(split, DiscoverConfig(users=20, fresh_users=15), seed=0)
    left = without_targets(split, samples)
    target_of = {
        user: target
        for sample in samples
        for user, target in zip(sample.users.tolist(), sample.targets.tolist(), strict=True)
    }
    for user in range(split.train.user_count):
        whole = split.train.sequence(user).tolist()
        kept = [
            *left.train.sequence(user).tolist(),
            *([target_of[user]] if user in target_of else []),
        ]
        assert kept == whole
    assert dict(zip(left.valid.users.tolist(), left.valid.items.tolist(), strict=True)) == target_of
    assert not len(left.test)


def test_a_ladder_is_one_move_and_survives_variation_whole():
    best = [Step("recommendation", {"rank": rank, "degrees": 8}) for rank in range(1, 6)]
    other = [Step("bought_together", {"rank": rank}) for rank in (1, 2)]
    pattern = ReasoningPattern((*other, Step("price_band"), *best))
    assert moves(pattern) == [tuple(other), (Step("price_band"),), tuple(best)]
    broken = moves(ReasoningPattern((*best[3:], best[1], *best[:2])))
    assert [len(move) for move in broken] == [2, 1, 2]
    assert ladder(Step("bought_together", {"rank": 1}), 2) == tuple(other)


def test_too_few_shoppers_are_refused(random_shop):
    with pytest.raises(
        ConfigError,
        match=r"discover\.users=50 and discover\.fresh_users=50 need 100 .* this log has \d+",
    ):
        hold_in(random_shop[0], DiscoverConfig(users=50, fresh_users=50), seed=0)
