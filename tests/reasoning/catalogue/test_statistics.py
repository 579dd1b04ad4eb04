import numpy as np
import pytest

from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.types import InteractionLog


def brute_force(statistics: FoldedStatistics, fold: int) -> np.ndarray:
    counts = np.zeros((statistics.item_count, statistics.item_count))
    for user in range(statistics.log.user_count):
        if statistics.user_folds[user] == fold:
            continue
        items = statistics.log.sequence(user)
        for first in range(len(items)):
            for gap in range(1, statistics.window + 1):
                if first + gap < len(items):
                    counts[items[first], items[first + gap]] += statistics.decay ** (gap - 1)
    return counts


def test_transitions_equal_a_count_by_hand(random_shop):
    split, catalog = random_shop
    for window, folds in ((1, 3), (4, 10)):
        statistics = FoldedStatistics(
            split.train, catalog.item_count, seed=2, folds=folds, window=window
        )
        assert len(statistics.transitions) == folds + 1
        for fold in range(folds + 1):  # no user is in the last
            np.testing.assert_allclose(
                statistics.transitions[fold].toarray(), brute_force(statistics, fold), atol=1e-12
            )


def test_popularity_counts_the_other_groups_only(random_shop):
    split, catalog = random_shop
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=0, folds=4)
    for fold in range(5):
        others = [
            split.train.sequence(user) for user in range(60) if statistics.user_folds[user] != fold
        ]
        np.testing.assert_array_equal(
            statistics.popularity[fold], np.bincount(np.concatenate(others), minlength=40)
        )


def test_groups_follow_the_key_and_the_seed_not_the_place():
    log = InteractionLog(
        np.arange(200) % 7, np.arange(201), tuple(f"shopper {user}" for user in range(200))
    )
    order = np.random.default_rng(0).permutation(200)[:120]
    other = InteractionLog(
        np.zeros(120, np.int64), np.arange(121), tuple(log.user_keys[user] for user in order)
    )
    folds = FoldedStatistics(log, 7, seed=3).user_folds
    np.testing.assert_array_equal(FoldedStatistics(other, 7, seed=3).user_folds, folds[order])
    assert (FoldedStatistics(log, 7, seed=4).user_folds != folds).any()
    assert np.bincount(folds, minlength=10).min() >= 8


def test_a_prefix_leaves_its_user_out_while_the_log_goes_on(random_shop):
    log = random_shop[0].train
    statistics = FoldedStatistics(log, 40, seed=0, folds=4)
    users = np.arange(log.user_count)
    for before_the_end in (1, 2):
        left_out = statistics.left_out(users, log.lengths - before_the_end)
        np.testing.assert_array_equal(left_out, statistics.user_folds)
    for prefix_lengths in (log.lengths, log.lengths + 1):
        assert (statistics.left_out(users, prefix_lengths) == 4).all()
    assert (statistics.left_out(np.full(3, -1), np.arange(3)) == 4).all()


def test_an_own_log_never_enters_the_own_statistics(random_shop):
    split, catalog = random_shop
    log = split.train
    statistics = FoldedStatistics(log, catalog.item_count, seed=0)
    for user in (0, 17, 59):
        items = log.items.copy()
        items[log.offsets[user] : log.offsets[user + 1]] = (
            np.arange(log.lengths[user]) % catalog.item_count
        )
        changed = FoldedStatistics(
            InteractionLog(items, log.offsets, log.user_keys), catalog.item_count, seed=0
        )
        fold = statistics.user_folds[user]
        assert (statistics.transitions[fold] != changed.transitions[fold]).nnz == 0
        np.testing.assert_array_equal(statistics.popularity[fold], changed.popularity[fold])


@pytest.mark.parametrize("lengths", [[1, 1, 1], [1, 0, 5]])
def test_short_logs_have_no_pairs_across_shoppers(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    log = InteractionLog(np.arange(offsets[-1]), offsets, ("a", "b", "c"))
    statistics = FoldedStatistics(log, int(offsets[-1]), seed=0)
    for fold in range(10):
        np.testing.assert_allclose(
            statistics.transitions[fold].toarray(), brute_force(statistics, fold), atol=1e-12
        )
