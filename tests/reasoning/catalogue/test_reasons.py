"""Each reason is what a plain loop counts, and the weights are those that made the choices."""

from itertools import pairwise

import numpy as np
import pytest

from scoter.reasoning.catalogue.reasons import (
    LAGS,
    Reasons,
    best_items,
    conditional_logit,
    fit_weights,
)
from scoter.types import Catalog, InteractionLog

LISTS = [[0, 1, 2, 1], [3, 1, 4], [2, 0, 3, 4, 1], [4, 4, 0]]
LOG = InteractionLog(np.concatenate(LISTS), np.cumsum([0, *map(len, LISTS)]), tuple("abcd"))
CATALOG = Catalog(
    tuple("vwxyz"),
    {
        "title": tuple("vwxyz"),
        "brand": ("Lumi", "Lumi", "", "Nora", "Nora"),
        "categories": (("Skin", "Soap"), ("Skin", "Oil"), ("Skin", "Soap"), (), ("Hair", "Dye")),
    },
)
TEXTS = np.random.default_rng(1).standard_normal((5, 3))
RECENT = np.full((2, 20), -1)
RECENT[0, :3], RECENT[1, :1] = (1, 2, 0), 4
HISTORIES = [[1, 2, 0], [4]]


@pytest.fixture(scope="module")
def reasons() -> dict[str, np.ndarray]:
    counted = Reasons(LOG, CATALOG, TEXTS)
    return {name: counted.one(name, RECENT) for name in counted.names}


def _share(gap: int) -> np.ndarray:
    counts = np.zeros((5, 5))
    for items in LISTS:
        for place in range(len(items) - gap):
            counts[items[place], items[place + gap]] += 1
    return counts / (counts.sum(axis=1, keepdims=True) + 5)


def test_what_follows(reasons: dict[str, np.ndarray]) -> None:
    for lag, name in enumerate(("follows", "follows two later", "follows three later")):
        rows = [_share(lag + 1)[h[lag]] if lag < len(h) else np.zeros(5) for h in HISTORIES]
        np.testing.assert_allclose(reasons[name], np.sqrt(rows), atol=1e-6)
    soon = np.zeros((5, 5))
    for items in LISTS:
        for place, item in enumerate(items):
            for gap, later in enumerate(items[place + 1 : place + 6]):
                soon[item, later] += 0.8**gap
    soon /= soon.sum(axis=1, keepdims=True) + 5
    rows = [sum(0.5**lag * soon[item] for lag, item in enumerate(h)) for h in HISTORIES]
    np.testing.assert_allclose(reasons["follows soon"], np.sqrt(rows), atol=1e-6)


def test_what_is_bought_together(reasons: dict[str, np.ndarray]) -> None:
    bought = np.array([[item in items for item in range(5)] for items in LISTS], float)
    cosine = bought.T @ bought / np.sqrt(np.outer(bought.sum(axis=0), bought.sum(axis=0)))
    np.fill_diagonal(cosine, 0)
    rows = [sum(0.7**lag * cosine[item] for lag, item in enumerate(h)) for h in HISTORIES]
    np.testing.assert_allclose(reasons["bought together"], np.sqrt(rows), atol=1e-6)
    np.testing.assert_allclose(reasons["popular"][1], np.log1p(np.bincount(LOG.items)), atol=1e-6)


def test_what_is_near_in_words(reasons: dict[str, np.ndarray]) -> None:
    centred = TEXTS - TEXTS.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for row, history in enumerate(HISTORIES):
        mean = sum(0.7**lag * centred[item] for lag, item in enumerate(history))
        near = centred @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(reasons["near in words"][row], near, atol=1e-5)
        nearest = (centred[history] @ centred.T).max(axis=0)
        np.testing.assert_allclose(reasons["near in words to one"][row], nearest, atol=1e-5)


def test_kinds_and_brands(reasons: dict[str, np.ndarray]) -> None:
    kinds = ["Soap", "Oil", "Soap", None, "Dye"]
    pairs = [(kinds[a], kinds[b]) for items in LISTS for a, b in pairwise(items)]
    usual = [kinds[item] for item in LOG.items]
    for item, kind in enumerate(kinds):
        before = sum(first == "Oil" and second is not None for first, second in pairs)
        if kind is None:
            assert reasons["kind that follows"][0, item] == 0
            continue
        base = usual.count(kind) / (len(usual) - usual.count(None))
        share = (pairs.count(("Oil", kind)) + 20 * base) / (before + 20)
        expected = np.log(share / base + 1e-3)
        assert reasons["kind that follows"][0, item] == pytest.approx(expected, abs=1e-5)
    lumi = np.sqrt((1 + 0.8**2) / (1 + 0.8**2))
    assert reasons["share of the brand"][0].tolist() == pytest.approx([lumi, lumi, 0, 0, 0])
    assert reasons["bought before"][0].tolist() == [1, 1, 1, 0, 0]
    assert reasons["bought last"][0].tolist() == [0, 1, 0, 0, 0]


def test_reasons_for_new_items_say_nothing_of_what_the_history_has(
    reasons: dict[str, np.ndarray],
) -> None:
    had = np.array([[item in history for item in range(5)] for history in HISTORIES])
    of_had = ("bought", "comes back", "others come back")
    for name, values in Reasons(LOG, CATALOG, TEXTS).each(RECENT):
        ours = name.startswith(of_had) and name != "bought together"
        assert (np.where(had, 0, values) == 0).all() if ours else (values[had] == 0).all(), name
        np.testing.assert_array_equal(values, np.where(had == ours, reasons[name], 0), name)


def test_users_who_are_left_out_are_not_counted() -> None:
    fewer = InteractionLog(LOG.items[:7], LOG.offsets[:3], ("a", "b"))
    kept = np.array([True, True, False, False])
    ours, theirs = Reasons(LOG, CATALOG, TEXTS, kept), Reasons(fewer, CATALOG, TEXTS)
    for (name, left), (_, right) in zip(ours.each(RECENT), theirs.each(RECENT), strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)


def test_the_weighted_sum_ranks(reasons: dict[str, np.ndarray]) -> None:
    weights = {name: 0.1 * place for place, name in enumerate(reasons)}
    each = Reasons(LOG, CATALOG, TEXTS).each(RECENT)
    total = sum(weights[name] * value for name, value in each)
    scores = Reasons(LOG, CATALOG, TEXTS).scores(RECENT, weights)
    np.testing.assert_allclose(scores, total, rtol=1e-5, atol=1e-6)
    items, shares = best_items(scores, 3)
    assert items.tolist() == np.argsort(-total, axis=1, kind="stable")[:, :3].tolist()
    chances = np.exp(total) / np.exp(total).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(shares), np.take_along_axis(chances, items, 1), rtol=1e-4)


def test_offsets_undo_uneven_sampling() -> None:
    """Choices among 40 items, of which each user is shown a few, drawn unevenly."""
    rng = np.random.default_rng(3)
    users, items, drawn = 6000, 40, 15
    values = rng.standard_normal((items, 2)).astype(np.float32)
    scores = values @ np.array([1.0, -0.7])
    target = (scores + rng.gumbel(size=(users, items))).argmax(axis=1)
    chance = np.exp(0.8 * values[:, 0])
    chance /= chance.sum()
    others = rng.choice(items, size=(users, drawn), p=chance)
    shown = np.concatenate([target[:, None], others], axis=1)
    offsets = -np.log(chance[shown] * drawn)
    offsets[:, 1:][others == target[:, None]] = -np.inf
    offsets[:, 0] = 0
    found = conditional_logit(values[shown], offsets)
    np.testing.assert_allclose(found, [1.0, -0.7], atol=0.06)
    uneven = conditional_logit(values[shown], np.zeros_like(offsets))
    assert np.abs(uneven - [1.0, -0.7]).max() > 0.2


def test_weights_find_the_reason_that_rules() -> None:
    """Users who go round a circle of items: what follows the last one decides."""
    rng = np.random.default_rng(0)
    starts, items = rng.integers(30, size=400), 30
    walks = (starts[:, None] + np.arange(5)) % items
    log = InteractionLog(walks.ravel(), np.arange(401) * 5, tuple(map(str, range(400))))
    catalog = Catalog(tuple(map(str, range(items))), {})
    weights = fit_weights(log, catalog, None, seed=0)
    again = fit_weights(log, catalog, None, seed=0)
    assert weights == again
    assert max(weights, key=lambda name: weights[name]) in ("follows", "follows soon")
    scores = Reasons(log, catalog).scores(log.histories.newest(LAGS)[:50], weights)
    assert (scores.argmax(axis=1) == (walks[:50, -1] + 1) % items).all()


def test_weights_say_how_often_shoppers_come_back() -> None:
    """Half of all choices are the last item again, the others one of 300 at random."""
    rng, items, users = np.random.default_rng(4), 300, 3000
    walks = rng.integers(items, size=(users, 6))
    again = rng.random(users) < 0.5
    walks[:, 5] = np.where(again, walks[:, 4], walks[:, 5])
    log = InteractionLog(walks.ravel(), np.arange(users + 1) * 6, tuple(map(str, range(users))))
    catalog = Catalog(tuple(map(str, range(items))), {})
    weights = fit_weights(log, catalog, None, seed=0)
    chosen = Reasons(log, catalog).scores(log.histories.newest(LAGS)[:, 1:], weights)
    chances = np.exp(chosen - chosen.max(axis=1, keepdims=True))
    last = chances[np.arange(users), walks[:, 4]] / chances.sum(axis=1)
    assert last.mean() == pytest.approx(0.5, abs=0.03)


def test_who_comes_back_to_what() -> None:
    recent = np.full((2, 20), -1)
    recent[0, :4], recent[1, :1] = (1, 2, 1, 0), 4
    found = dict(Reasons(LOG, CATALOG, TEXTS).each(recent))
    activation = np.zeros((2, 5))
    activation[0, :3] = np.log([4**-0.5, 1 + 3**-0.5, 2**-0.5])
    np.testing.assert_allclose(found["bought lately or often"], activation, atol=1e-6)
    lately = [[1 / 4, 1 + 1 / 3, 1 / 2, 0, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_allclose(found["bought lately"], lately, atol=1e-6)
    back = [[np.log(1.2 / 6)] * 3 + [0, 0], [0, 0, 0, 0, np.log(0.2 / 3)]]
    np.testing.assert_allclose(found["comes back to items"], back, atol=1e-6)
    buyers = np.array([sum(item in items for items in LISTS) for item in range(5)])
    again = np.array([sum(items.count(item) > 1 for items in LISTS) for item in range(5)])
    lift = np.log((again / (again.sum() / buyers.sum()) + 10) / (buyers + 10))
    had = np.array(back) != 0
    np.testing.assert_allclose(found["others come back to it"], had * lift, atol=1e-6)


def test_nothing_is_said_of_coming_back_where_nobody_does() -> None:
    once = InteractionLog(np.array([0, 1, 2, 3, 1]), np.array([0, 3, 5]), ("a", "b"))
    assert Reasons(once, CATALOG, TEXTS).names[-1] == "bought last"
    folds = Reasons(LOG, CATALOG, TEXTS, np.array([False, True, True, False])).names
    assert "comes back to items" in folds  # every fold has the reasons of the whole log
