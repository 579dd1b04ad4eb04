"""What is mixed into a recommender's scores: the shares that steps rank by, and unseen items."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import softmax

from scoter.config import SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.reasoning.catalogue.folded_reasons import FoldedReasons
from scoter.reasoning.catalogue.reasons import LAGS, Reasons
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.stages.models import (
    LAG_DECAY,
    LISTED,
    WINDOW,
    _unseen,
    reason_scores,
    transition_scores,
)
from scoter.types import Catalog, Histories, Split


@pytest.fixture(scope="module")
def shop() -> tuple[Split, Catalog]:
    shop = simulate(SimulatedConfig(users=120), seed=0)
    return leave_one_out(shop.log), shop.catalog


def test_shares_are_those_of_all_reasons_counted_on_all_logs(shop: tuple[Split, Catalog]) -> None:
    split, catalog = shop
    histories = split.histories("valid")
    scores = reason_scores(split, catalog, {"valid": histories}, seed=2, texts=None)["valid"]
    assert (np.diff(scores.indptr) == LISTED).all()
    statistics = FoldedStatistics(split.train, catalog.item_count, 2)
    weights = FoldedReasons(catalog, statistics, None).weights[statistics.folds]
    reasons = Reasons(split.train, catalog, None)
    assert "near in words" not in reasons.names
    wanted = softmax(reasons.scores(histories.newest(LAGS), weights).astype(float), axis=1)
    best = np.sort(wanted, axis=1)[:, -LISTED:]
    np.testing.assert_allclose(np.sort(scores.data.reshape(best.shape), axis=1), best, rtol=1e-3)


def test_transitions_are_counted_on_all_logs(shop: tuple[Split, Catalog]) -> None:
    split, catalog = shop
    histories = split.histories("test")
    scores = transition_scores(split, catalog.item_count, histories).toarray()
    for row in range(0, len(histories), 31):
        wanted = np.zeros(catalog.item_count)
        last = histories.select(np.array([row])).items[::-1][:WINDOW]
        for lag, source in enumerate(last):
            for user in range(split.train.user_count):
                items = split.train.sequence(user)
                for first, item in enumerate(items):
                    for gap, later in enumerate(items[first + 1 : first + 6]):
                        wanted[later] += (item == source) * LAG_DECAY**lag * 0.8**gap
        np.testing.assert_allclose(scores[row], wanted, atol=1e-9)


def test_items_of_the_history_lose_their_scores() -> None:
    histories = Histories(np.arange(2), np.array([0, 2, 1]), np.array([0, 2, 3]))
    left = _unseen(csr_array(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])), histories)
    assert left.toarray().tolist() == [[0.0, 2.0, 0.0], [4.0, 0.0, 0.0]]
