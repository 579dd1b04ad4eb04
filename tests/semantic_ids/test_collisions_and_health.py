"""The collision level, the diagnostics and the collapse error."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scoter.errors import CollapseError, ConfigError
from scoter.semantic_ids.assign import Quantised, add_collision_level, reassign_last_level
from scoter.semantic_ids.diagnostics import check_collapse, check_spread, diagnose

CODES = st.tuples(st.integers(1, 40), st.integers(1, 3)).flatmap(
    lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(0, 3))
)


@settings(max_examples=100, deadline=None)
@given(CODES, st.integers(0, 2**63 - 1))
def test_collision_level_numbers_each_group_from_zero(codes: np.ndarray, seed: int) -> None:
    ids = add_collision_level(codes, (4,) * codes.shape[1], seed)
    np.testing.assert_array_equal(ids.codes[:, :-1], codes)
    groups: dict[tuple, list[int]] = {}
    for row in ids.codes.tolist():
        groups.setdefault(tuple(row[:-1]), []).append(row[-1])
    assert all(sorted(numbers) == list(range(len(numbers))) for numbers in groups.values())
    assert ids.codebook_sizes == (*(4,) * codes.shape[1], max(map(len, groups.values())))
    np.testing.assert_array_equal(
        add_collision_level(codes, (4,) * codes.shape[1], seed).codes, ids.codes
    )


def test_collision_numbers_follow_the_seed_and_not_the_item_number() -> None:
    codes = np.zeros((3, 2), np.int64)
    orders = {
        tuple(add_collision_level(codes, (1, 1), seed).codes[:, -1].tolist()) for seed in range(200)
    }
    assert orders == set(itertools.permutations(range(3)))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_reassigned_codes_are_unique_and_the_nearest_that_can_be(items: int, seed: int) -> None:
    """Against every way of giving distinct last codes, group by group."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(np.repeat(np.arange(3), 4))[:items]  # at most four share one
    book = rng.normal(size=(4, 2)).astype(np.float32)
    residual = rng.normal(size=(items, 2)).astype(np.float32)
    distance = np.square(residual[:, None] - book).sum(axis=2)
    codes = np.column_stack([first, distance.argmin(axis=1)])
    found = reassign_last_level(Quantised(codes, np.stack([book, book]), residual))
    np.testing.assert_array_equal(found[:, 0], first)
    assert len(np.unique(found, axis=0)) == items
    for code in range(3):
        members = np.flatnonzero(first == code)
        ways = itertools.permutations(range(4), len(members))
        best = min(distance[members, list(way)].sum() for way in ways)
        assert distance[members, found[members, 1]].sum() == pytest.approx(best, rel=1e-6)


def test_more_items_than_last_codes_are_refused() -> None:
    full = Quantised(
        np.zeros((3, 2), np.int64), np.zeros((2, 2, 1), np.float32), np.zeros((3, 1), np.float32)
    )
    with pytest.raises(
        ConfigError,
        match=r"3 items share .* has 2: .*codebook_size or .*levels, or set .*collisions=level",
    ):
        reassign_last_level(full)


def test_diagnosis_of_four_items_by_hand() -> None:
    health = diagnose(np.array([[0, 0], [0, 0], [1, 0], [2, 1]]), (4, 2))
    assert health.usage == (0.75, 1.0)
    assert health.perplexity == pytest.approx((2**1.5, 4 / 3**0.75))
    assert health.collision_rate == 0.5
    assert health.largest_group == 2


def test_collapse_names_level_perplexity_and_remedy() -> None:
    codes = np.column_stack([np.arange(1000) % 100, np.arange(1000) % 2])
    check_collapse(codes[:, :1], (256,))
    with pytest.raises(
        CollapseError,
        match=r"level 2: 2 of 256 codes .* 1000 items .* perplexity 2\.00; at least 26\.50 "
        r".*rqkmeans",
    ):
        check_collapse(codes, (256, 256))


def test_one_code_for_all_is_a_collapse_whatever_the_codebook() -> None:
    for size in (2, 3, 256):
        with pytest.raises(CollapseError, match="level 1: 1 of"):
            check_collapse(np.zeros((20, 1), np.int64), (size,))


def test_a_level_with_nothing_left_to_tell_apart_is_no_collapse() -> None:
    check_collapse(np.column_stack([np.arange(50), np.zeros(50, np.int64)]), (256, 256))
    check_collapse(np.zeros((1, 3), np.int64), (1, 1, 1))


def test_spread_is_relative_to_the_norm() -> None:
    apart = np.array([[1.0, 0.0], [1.0, 0.01]])
    check_spread(apart)
    check_spread(1e-6 * apart)
    with pytest.raises(CollapseError, match="2 item vectors are nearly equal"):
        check_spread(apart + np.array([[100.0, 0.0]]))
    with pytest.raises(CollapseError, match="nearly equal"):
        check_spread(np.zeros((5, 3)))
