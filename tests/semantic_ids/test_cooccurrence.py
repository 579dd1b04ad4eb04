"""Co-occurrence vectors against counts made by hand and by three loops."""

from collections import Counter
from math import log

import numpy as np
import pytest

from scoter.config import SemanticIdConfig
from scoter.semantic_ids.build import build_semantic_ids
from scoter.semantic_ids.diagnostics import CollapseError
from scoter.semantic_ids.vectors import beside, cooccurrence_vectors, directions, ppmi
from scoter.types import InteractionLog


def log_of(*sequences: list[int]) -> InteractionLog:
    offsets = np.cumsum([0, *map(len, sequences)])
    items = np.array([item for sequence in sequences for item in sequence], np.int64)
    return InteractionLog(items, offsets, tuple(map(str, range(len(sequences)))))


def test_ppmi_of_a_tiny_log_by_hand() -> None:
    """Window 1. Ordered pairs: 01, 10, 12, 21 (first user), 01, 10 (second), 33 does not count: n =
    6, n_i = 2 3 1 0.

    So 01 holds 2 of 6 where 2 x 3 / 6 = 1 is expected by chance, and 12 holds 1 where 3 x 1 / 6 =
    1/2 is.
    """
    wanted = np.zeros((5, 5))
    wanted[0, 1] = wanted[1, 0] = log(2 / 1)
    wanted[1, 2] = wanted[2, 1] = log(1 / 0.5)
    np.testing.assert_allclose(
        ppmi(log_of([0, 1, 2], [0, 1], [3, 3]), 5, window=1).toarray(), wanted, atol=1e-12
    )


def test_ppmi_equals_three_loops() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(12, size=length).tolist() for length in (1, 2, 5, 9, 14, 3)]
    counts: Counter[tuple[int, int]] = Counter()
    for sequence in sequences:
        for here, one in enumerate(sequence):
            for there, other in enumerate(sequence):
                if one != other and 0 < abs(here - there) <= 3:
                    counts[one, other] += 1
    total = sum(counts.values())
    margin = Counter()
    for (one, _), count in counts.items():
        margin[one] += count
    wanted = np.zeros((12, 12))
    for (one, other), count in counts.items():
        wanted[one, other] = max(0.0, log(count * total / (margin[one] * margin[other])))
    np.testing.assert_allclose(ppmi(log_of(*sequences), 12, window=3).toarray(), wanted, atol=1e-12)


def test_vectors_factor_the_matrix_and_unseen_items_are_zero() -> None:
    """At full rank the singular values agree with those of the dense matrix, and an item outside
    the log is zero."""
    rng = np.random.default_rng(1)
    train = log_of(*[rng.integers(10, size=8).tolist() for _ in range(6)])
    vectors = cooccurrence_vectors(train, 11, 11, seed=0)
    exact = np.linalg.svd(ppmi(train, 11).toarray(), compute_uv=False)
    np.testing.assert_allclose(np.square(vectors).sum(axis=0), exact, atol=1e-5)
    np.testing.assert_allclose(vectors[10], 0, atol=1e-6)
    np.testing.assert_array_equal(
        cooccurrence_vectors(train, 11, 4, seed=3), cooccurrence_vectors(train, 11, 4, seed=3)
    )


def test_items_of_one_crowd_are_neighbours() -> None:
    rng = np.random.default_rng(2)
    crowds = [rng.permutation(10)[:6] + 10 * (user % 2) for user in range(200)]
    vectors = cooccurrence_vectors(log_of(*[crowd.tolist() for crowd in crowds]), 20, 4, seed=0)
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -np.inf)
    assert (similar.argmax(axis=1) // 10 == np.arange(20) // 10).all()


def test_two_views_weigh_alike_whatever_their_scales_and_an_unknown_item_keeps_its_text_alone() -> (
    None
):
    rng = np.random.default_rng(0)
    text, bought = rng.normal(3, 5, (50, 7)), rng.normal(0, 0.01, (50, 4))
    bought[8] = 0
    both = beside(text, bought, weight=2.0)
    lengths = np.square(both[:, :7]).sum(axis=1).mean(), np.square(both[:, 7:]).sum(axis=1).mean()
    np.testing.assert_allclose(lengths, (1, 4), rtol=1e-5)
    np.testing.assert_array_equal(both[8, 7:], 0)
    np.testing.assert_allclose(both[np.arange(50) != 8, 7:].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(
        beside(text * 9, bought * rng.uniform(1, 9, (50, 1)), 2.0), both, atol=1e-5
    )


def test_a_rare_items_code_depends_on_what_it_stands_beside_and_not_on_how_often() -> None:
    rng = np.random.default_rng(4)
    lengths = np.exp(rng.normal(0, 2, 400))  # a few popular items, many rare ones
    vectors = np.repeat(np.eye(8), 50, axis=0) * lengths[:, None]
    config = SemanticIdConfig(levels=1, codebook_size=8)
    found, _ = build_semantic_ids(
        directions(vectors) + rng.normal(0, 1e-3, vectors.shape), config, seed=0
    )
    kinds = {(int(code), row // 50) for row, code in enumerate(found.codes[:, 0])}
    assert len(kinds) == 8
    with pytest.raises(CollapseError):
        build_semantic_ids(vectors + rng.normal(0, 1e-3, vectors.shape), config, seed=0)


def test_directions_have_one_length_before_centring_and_leave_the_unknown_at_the_centre() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(1, 1, (20, 3)).astype(np.float32)
    vectors[3] = 0
    found = directions(vectors)
    known = np.arange(20) != 3
    np.testing.assert_allclose(found[known].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_array_equal(found[3], 0)
    unit = vectors[known] / np.linalg.norm(vectors[known], axis=1, keepdims=True)
    np.testing.assert_allclose(found[known], unit - unit.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(directions(np.zeros((4, 2))), 0)


@pytest.mark.parametrize("seed", range(6))
def test_any_small_shop_without_text_gets_unique_ids(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = (1, 2, 5, 12, 40, 141)[seed]
    train = log_of(
        *[
            rng.integers(max(1, items // 2), size=rng.integers(2, 9)).tolist()
            for _ in range(1 + 4 * seed)
        ]
    )
    vectors = directions(cooccurrence_vectors(train, items, 128, seed=1))
    for collisions in ("level", "reassign"):
        ids, _ = build_semantic_ids(
            vectors, SemanticIdConfig(collisions=collisions, components=512), seed=0
        )
        assert len(np.unique(ids.codes, axis=0)) == items
