"""The simulated shop against its own definition: brute-force recall, Monte-Carlo of the Bayes
ranking, and the catalogue."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from scoter.config import SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.errors import ConfigError


def _last_plans_and_targets(shop):
    steps = shop.config.plan_length
    sequences = [shop.log.sequence(user) for user in range(shop.log.user_count)]
    plans = np.stack([shop.item_brands[sequence[-steps - 1 : -1]] for sequence in sequences])
    return plans, np.asarray([sequence[-1] for sequence in sequences])


@pytest.mark.parametrize("order", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("k", [1, 10])
def test_best_recall_is_what_the_bayes_ranking_reaches(order, k):
    shop = simulate(
        SimulatedConfig(users=20_000, brands=5, items_per_cell=3, order=order, noise=0.1), seed=3
    )
    plans, targets = _last_plans_and_targets(shop)
    scores = shop.item_probabilities(plans)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    hits = (np.argpartition(-scores, k - 1, axis=1)[:, :k] == targets[:, None]).any(axis=1)
    standard_error = hits.std() / np.sqrt(len(hits))
    assert abs(hits.mean() - shop.best_recall(k)) < 3 * standard_error


@pytest.mark.parametrize("order", [0.3, 1.0])
def test_best_unordered_recall_is_what_a_ranking_by_multiset_reaches(order):
    shop = simulate(SimulatedConfig(users=20_000, brands=4, items_per_cell=3, order=order), seed=5)
    plans, targets = _last_plans_and_targets(shop)
    scores = (
        shop.item_probabilities(plans) + shop.item_probabilities(plans[:, ::-1])
    ) / 2  # either brand may have come first
    hits = (np.argpartition(-scores, 9, axis=1)[:, :10] == targets[:, None]).any(axis=1)
    assert abs(hits.mean() - shop.best_recall_unordered(10)) < 3 * hits.std() / np.sqrt(len(hits))


@pytest.mark.parametrize(
    ("order", "plan_length", "k"), [(1.0, 2, 3), (0.5, 2, 7), (0.0, 3, 4), (0.7, 3, 1)]
)
def test_recalls_equal_a_plain_enumeration(order, plan_length, k):
    config = SimulatedConfig(
        users=5, brands=3, items_per_cell=2, plan_length=plan_length, order=order, noise=0.2
    )
    shop = simulate(config, seed=1)
    number, category_of = shop.brand_numbers.tolist(), shop.categories_by_number.tolist()
    plans = list(product(range(3), repeat=plan_length))

    def item_probabilities(plan):
        by_order = category_of[
            sum(place * number[brand] for place, brand in enumerate(plan, 1)) % 3
        ]
        by_sum = category_of[sum(number[brand] for brand in plan) % 3]
        result = []
        for category, weight in zip(
            shop.item_categories.tolist(), shop.weights.tolist(), strict=True
        ):
            p = (
                0.8 * (order * (by_order == category) + (1 - order) * (by_sum == category))
                + 0.2 / 3
            )
            result.append(p * weight / 3)
        return np.asarray(result)

    every = {plan: item_probabilities(plan) for plan in plans}
    ordered = np.mean([np.sort(every[plan])[-k:].sum() for plan in plans])
    groups: dict = {}
    for plan in plans:
        groups.setdefault(tuple(sorted(plan)), []).append(every[plan])
    unordered = sum(
        len(group) / len(plans) * np.sort(np.mean(group, axis=0))[-k:].sum()
        for group in groups.values()
    )
    unplanned = np.sort(np.mean(list(every.values()), axis=0))[-k:].sum()
    assert shop.best_recall(k) == pytest.approx(ordered, abs=1e-12)
    assert shop.best_recall_unordered(k) == pytest.approx(unordered, abs=1e-12)
    assert shop.best_recall_unplanned(k) == pytest.approx(unplanned, abs=1e-12)


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_order_is_worth_nothing_at_lambda_zero_and_much_at_lambda_one(k):
    without, fully = (
        simulate(SimulatedConfig(users=2, order=order), seed=0) for order in (0.0, 1.0)
    )
    assert without.best_recall(k) == pytest.approx(without.best_recall_unordered(k), rel=1e-12)
    assert fully.best_recall(k) > 1.25 * fully.best_recall_unordered(k)


@pytest.mark.parametrize("plan_length", [2, 3])
def test_one_step_alone_says_nothing_where_the_number_of_brands_is_prime(plan_length):
    shop = simulate(SimulatedConfig(users=2, brands=5, plan_length=plan_length), seed=0)
    plans = np.asarray(list(product(range(5), repeat=plan_length)))
    probabilities = shop.category_probabilities(plans)
    for step in range(plan_length):
        for brand in range(5):
            np.testing.assert_allclose(probabilities[plans[:, step] == brand].mean(axis=0), 1 / 5)


def test_recall_is_in_closed_form_when_only_order_matters():
    config = SimulatedConfig(users=2, brands=8, items_per_cell=8, order=1.0, noise=0.05)
    top_item = 1 / sum(
        1 / rank for rank in range(1, 9)
    )  # eight brands' first items, then two second items
    expected = (0.95 + 0.05 / 8) * (8 * top_item + 2 * top_item / 2) / 8
    assert simulate(config, 0).best_recall(10) == pytest.approx(expected)
    assert simulate(config, 0).best_recall(512) == pytest.approx(1)


def test_text_does_not_reveal_the_brand_and_titles_tell_items_apart():
    shop = simulate(SimulatedConfig(users=2, brands=8, items_per_cell=8), seed=0)
    columns = shop.catalog.columns
    brand_words = {
        word.lower() for brand in columns["brand"] for word in brand.replace("&", " ").split()
    }
    text = [
        f"{title} {' '.join(levels)}".lower()
        for title, levels in zip(columns["title"], columns["categories"], strict=True)
    ]
    assert not any(brand_words & set(line.split()) for line in text)
    assert len(set(columns["title"])) == 512
    for word in range(8):
        inside = [
            line
            for line, category in zip(text, shop.item_categories, strict=True)
            if category == word
        ]
        name = Counter(
            levels[0]
            for levels, c in zip(columns["categories"], shop.item_categories, strict=True)
            if c == word
        )
        assert len(name) == 1
        assert all(next(iter(name)).lower() in line for line in inside)
    for column in (
        "title",
        "categories",
    ):  # the same wording occurs with every brand about as often
        first = [cell.split()[0] if column == "title" else cell[1] for cell in columns[column]]
        assert (
            len(
                {
                    brand
                    for brand, word in zip(columns["brand"], first, strict=True)
                    if word == first[0]
                }
            )
            >= 4
        )
    assert all(price > 0 for price in columns["price"])


def test_brands_are_uniform_and_do_not_predict_themselves():
    shop = simulate(SimulatedConfig(users=20_000, brands=4), seed=2)
    brands = shop.item_brands[shop.log.items]
    assert np.bincount(brands) / len(brands) == pytest.approx([0.25] * 4, abs=0.01)
    pairs = np.bincount(brands[:-1] * 4 + brands[1:], minlength=16) / (len(brands) - 1)
    assert pairs == pytest.approx([1 / 16] * 16, abs=0.005)


def test_one_seed_gives_one_shop_and_more_shoppers_change_no_catalogue():
    small, same, large = (simulate(SimulatedConfig(users=users), seed=9) for users in (40, 40, 90))
    assert np.array_equal(small.log.items, same.log.items)
    assert np.array_equal(small.log.times, same.log.times)
    assert small.catalog.columns == large.catalog.columns
    assert np.array_equal(small.brand_numbers, large.brand_numbers)
    assert not np.array_equal(
        small.log.items, simulate(SimulatedConfig(users=40), seed=10).log.items
    )


def test_every_target_follows_a_whole_plan_and_times_rise():
    shop = simulate(SimulatedConfig(users=300, min_length=5, max_length=6), seed=0)
    assert set(shop.log.lengths) == {5, 6}
    assert leave_one_out(shop.log).histories("valid").lengths.min() >= shop.config.plan_length
    assert all(
        (np.diff(shop.log.times[low:high]) > 0).all()
        for low, high in zip(shop.log.offsets, shop.log.offsets[1:], strict=False)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 1.5}, "order is 1.5; it must be between 0 and 1"),
        ({"brands": 400}, "brands is 400; it must be between 2 and 16"),
        ({"min_length": 3}, "min_length is 3; it must be at least plan_length"),
        ({"max_length": 5}, "max_length is 5; it must be at least min_length"),
        ({"noise": -0.1}, "noise is -0.1"),
    ],
)
def test_a_setting_out_of_range_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        simulate(SimulatedConfig(**change), 0)


def test_recall_beyond_the_catalogue_and_too_many_plans_are_refused():
    with pytest.raises(ConfigError, match=r"k is 19; .* between 1 and 18"):
        simulate(SimulatedConfig(users=2, brands=3, items_per_cell=2), 0).best_recall(19)
    with pytest.raises(ConfigError, match=r"brands=16 and plan_length=6 make 16,777,216 plans"):
        simulate(SimulatedConfig(users=2, brands=16, plan_length=6, min_length=8), 0).best_recall(5)
