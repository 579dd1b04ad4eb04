"""Lists by reasons: the best of a plain sort, and nothing of a user's own later log in them."""

import numpy as np
import pytest

from scoter.reasoning.catalogue.folded_reasons import ALL, FoldedReasons
from scoter.reasoning.catalogue.reasoner import CatalogReasoner, ranked_steps
from scoter.reasoning.catalogue.reasons import Reasons, conditional_logit, sample_choices
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import View
from scoter.types import Catalog, InteractionLog, Step

USERS, ITEMS = 60, 30


@pytest.fixture(scope="module")
def shop() -> tuple[InteractionLog, Catalog, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, USERS)
    items = rng.integers(ITEMS, size=lengths.sum())
    keys = tuple(f"u{user}" for user in range(USERS))
    log = InteractionLog(items, np.concatenate([[0], np.cumsum(lengths)]), keys)
    columns = {
        "title": tuple(f"item {item}" for item in range(ITEMS)),
        "brand": tuple(f"brand {item % 4}" for item in range(ITEMS)),
        "categories": tuple((f"kind {item % 5}",) for item in range(ITEMS)),
    }
    return log, Catalog(tuple(map(str, range(ITEMS))), columns), rng.normal(size=(ITEMS, 6))


def view_of(log: InteractionLog, users: np.ndarray) -> View:
    lengths = log.lengths[users] - 1
    recent = np.full((len(users), 20), -1)
    for row, (user, length) in enumerate(zip(users, lengths, strict=True)):
        recent[row, :length] = log.sequence(int(user))[:length][::-1]
    return View(users, lengths, recent)


def test_lists_are_those_of_a_sort_without_the_users_fold(shop) -> None:
    log, catalog, texts = shop
    statistics = FoldedStatistics(log, ITEMS, seed=1, folds=4)
    reasons, view = FoldedReasons(catalog, statistics, texts), view_of(log, np.arange(USERS))
    items, shares = reasons.best(view, ALL, 5)
    together, _ = reasons.best(view, "bought together", 5)
    for row in range(0, USERS, 7):
        fold = int(statistics.user_folds[row])
        plain = Reasons(log, catalog, texts, statistics.user_folds != fold)
        recent = view.recent[[row]]
        scores = plain.scores(recent, reasons.weights[fold])[0].astype(float)
        order = np.argsort(-scores, kind="stable")[:5]
        assert items[row].tolist() == order.tolist()
        whole = np.exp(scores - scores.max())
        np.testing.assert_allclose(shares[row], (whole / whole.sum())[order], rtol=1e-4)
        alone = plain.one("bought together", recent)[0]
        alone[recent[recent >= 0]] = 0
        order = [item for item in np.argsort(-alone, kind="stable")[:5] if alone[item] > 0]
        assert [item for item in together[row].tolist() if item >= 0] == order


def test_the_parts_of_an_items_score_add_up_to_it(shop) -> None:
    log, catalog, texts = shop
    statistics = FoldedStatistics(log, ITEMS, seed=1, folds=4)
    reasons, view = FoldedReasons(catalog, statistics, texts), view_of(log, np.arange(USERS))
    items, shares = reasons.best(view, ALL, 4)
    for parts, row, share in zip(reasons.parts(view, items), items, shares, strict=True):
        assert len(parts) == len(row) == 4
        totals = np.array([sum(of_item.values()) for of_item in parts])
        np.testing.assert_allclose(totals - totals[0], np.log(share / share[0]), atol=1e-4)


def test_weights_of_a_fold_are_fitted_on_the_others(shop) -> None:
    log, catalog, texts = shop
    folds = FoldedStatistics(log, ITEMS, seed=1, folds=4).user_folds
    sample = sample_choices(log, catalog, texts, folds, seed=3)
    assert len(sample.folds) == (log.lengths >= 2).sum()
    features, offsets = sample.without(2)
    assert len(features) == (folds[log.lengths >= 2] != 2).sum()
    assert np.isfinite(conditional_logit(features, offsets)).all()
    assert conditional_logit(features[:0], offsets[:0]).tolist() == [0.0] * len(sample.names)


def test_what_a_user_does_later_changes_no_list_of_that_user(shop) -> None:
    log, catalog, texts = shop
    user = int(np.argmax(log.lengths))
    items = log.items.copy()
    items[log.offsets[user + 1] - 1] = (items[log.offsets[user + 1] - 1] + 1) % ITEMS
    other = InteractionLog(items, log.offsets, log.user_keys)
    view, lists = view_of(log, np.array([user])), []
    weights = FoldedReasons(catalog, FoldedStatistics(log, ITEMS, seed=1), texts).weights
    for counted in (log, other):
        reasoner = CatalogReasoner(
            catalog, FoldedStatistics(counted, ITEMS, seed=1), lambda: texts, weights
        )
        steps = [*ranked_steps(catalog), Step("kind_that_follows", {"count": 3})]
        lists.append([reasoner.write(view, step).numbers.tolist() for step in steps])
        assert reasoner.fitted_weights == weights
    assert lists[0] == lists[1]


def test_kinds_that_follow_are_those_of_the_highest_lift(shop) -> None:
    log, catalog, texts = shop
    statistics = FoldedStatistics(log, ITEMS, seed=1, folds=4)
    reasoner = CatalogReasoner(catalog, statistics, lambda: texts)
    view = view_of(log, np.arange(USERS))
    found = reasoner.reasons.kinds(view, 2)
    kinds = reasoner.facets["category"].codes
    for row in range(0, USERS, 9):
        kept = statistics.user_folds != statistics.user_folds[row]
        table, usual = np.zeros((5, 5)), np.zeros(5)
        for user in np.flatnonzero(kept):
            own = kinds[log.sequence(int(user))]
            np.add.at(usual, own, 1)
            np.add.at(table, (own[:-1], own[1:]), 1)
        usual /= usual.sum()
        if view.recent[row, 0] < 0:
            continue
        last = kinds[view.recent[row, 0]]
        lift = (table[last] + 20 * usual) / (table[last].sum() + 20) / usual
        order = [kind for kind in np.argsort(-lift, kind="stable")[:2] if np.log(lift[kind]) > 0]
        assert [kind for kind in found[row].tolist() if kind >= 0] == order
