from collections import Counter

import numpy as np
import pytest
from scipy.sparse import csr_array

from scoter.reasoning.catalogue.facets import read_facets
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.successors import (
    LAG_DECAY,
    _best_columns,
    commonest,
    likely_next,
    popular_in,
)
from scoter.reasoning.catalogue.view import View, every_prefix, look


@pytest.fixture(scope="module")
def scene(random_shop):
    split, catalog = random_shop
    users, prefix_lengths, _ = every_prefix(split)
    view = look(split, users, prefix_lengths, max_items=6)
    return (
        view,
        FoldedStatistics(split.train, catalog.item_count, seed=1, folds=5),
        read_facets(catalog),
    )


@pytest.mark.parametrize(
    ("name", "new_only"), [("item", True), ("item", False), ("brand", False), ("category", False)]
)
@pytest.mark.parametrize("window", [1, 3])
def test_likely_next_equals_a_loop(scene, name, new_only, window):
    view, statistics, facets = scene
    facet = facets[name]
    found, strength = likely_next(view, statistics, facet, 4, window, new_only)
    for row in range(0, len(view), 7):
        fold = statistics.left_out(view.users, view.prefix_lengths)[row]
        transitions, popular = statistics.transitions[fold].toarray(), statistics.popularity[fold]
        scores, fame = np.zeros(len(facet.labels)), np.zeros(len(facet.labels))
        for item, code in enumerate(facet.codes):
            if code >= 0:
                fame[code] += popular[item]
        for lag, source in enumerate(view.recent[row, :window]):
            if source >= 0:
                for item, code in enumerate(facet.codes):
                    if code >= 0:
                        scores[code] += LAG_DECAY**lag * transitions[source, item]
        if new_only:
            scores[[item for item in view.recent[row] if item >= 0]] = 0
        ranked = sorted(
            range(len(scores)), key=lambda code: (-round(scores[code], 9), -fame[code], code)
        )
        wanted = [code if scores[code] > 0 else -1 for code in ranked[:4]]
        assert found[row].tolist() == wanted + [-1] * (4 - len(wanted))
        wanted_strength = [
            scores[code] / scores.sum() ** 0.5 if code >= 0 else 0.0 for code in found[row]
        ]
        np.testing.assert_allclose(strength[row], wanted_strength, atol=1e-9)


def test_commonest_equals_a_counter():
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 5, size=(300, 8))
    for least in (1, 2, 3):
        found = commonest(codes, 3, least)
        for row, result in zip(codes.tolist(), found.tolist(), strict=True):
            votes = Counter(code for code in row if code >= 0)
            ranked = sorted(
                (code for code in votes if votes[code] >= least),
                key=lambda code: (-votes[code], row.index(code)),
            )
            assert result == (ranked + [-1] * 3)[:3]
    assert commonest(codes[:, :2], 4).shape == (300, 4)


def test_popular_in_leaves_out_what_the_row_shows(scene):
    view, statistics, facets = scene
    groups = facets["department"].codes
    chosen = np.random.default_rng(0).integers(-1, groups.max() + 1, size=len(view))
    found = popular_in(view, statistics, groups, chosen, 3)
    for row in range(0, len(view), 5):
        fame = statistics.popularity[statistics.left_out(view.users, view.prefix_lengths)[row]]
        members = [
            item for item in range(len(groups)) if chosen[row] < 0 or groups[item] == chosen[row]
        ]
        ranked = sorted(
            (item for item in members if item not in view.recent[row]),
            key=lambda item: (-fame[item], item),
        )
        assert found[row].tolist() == (ranked + [-1] * 3)[:3]


def test_rows_without_transitions_get_nothing(scene):
    _, statistics, facets = scene
    empty = View(np.array([0]), np.array([1]), np.full((1, 6), -1))
    assert likely_next(empty, statistics, facets["item"], 2, 3, new_only=False)[0].tolist() == [
        [-1, -1]
    ]


def test_best_columns_equal_a_sort_of_each_row():
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 4, size=(200, 90)) * (rng.random((200, 90)) < rng.random((200, 1)))
    ties = -1e-9 * rng.permutation(90)
    best, scored = _best_columns(csr_array(dense.astype(float)), ties, 7)
    for row, found, values in zip(dense, best.tolist(), scored, strict=True):
        ranked = [int(code) for code in np.argsort(-(row + ties)) if row[code]][:7]
        assert found == ranked + [-1] * (7 - len(ranked))
        assert values.tolist() == [*row[ranked], *[0] * (7 - len(ranked))]
