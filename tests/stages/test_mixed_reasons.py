"""What is mixed into a recommender's scores: the shares that steps rank by, and unseen items."""

import numpy as np
from scipy.sparse import csr_array

from scoter.config import SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.reasoning.catalogue.reasons import Reasons
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.stages.models import LISTED, _unseen, reason_scores
from scoter.types import Histories


def test_shares_are_those_of_all_reasons_without_the_users_fold() -> None:
    shop = simulate(SimulatedConfig(users=120), seed=0)
    split, catalog = leave_one_out(shop.log), shop.catalog
    histories = split.histories("valid")
    scores = reason_scores(split, catalog, {"valid": histories}, seed=2, texts=None)["valid"]
    assert (np.diff(scores.indptr) == LISTED).all()
    folds = FoldedStatistics(split.train, catalog.item_count, 2).user_folds
    for row in range(0, len(histories), 31):
        kept = folds != folds[histories.users[row]]
        names = Reasons(split.train, catalog, None, kept).names
        assert "near in words" not in names
        shares = np.sort(scores.data[scores.indptr[row] : scores.indptr[row + 1]])
        assert 0 < shares[0] <= shares[-1] < 1
        assert shares.sum() <= 1 + 1e-5


def test_items_of_the_history_lose_their_scores() -> None:
    histories = Histories(np.arange(2), np.array([0, 2, 1]), np.array([0, 2, 3]))
    left = _unseen(csr_array(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])), histories)
    assert left.toarray().tolist() == [[0.0, 2.0, 0.0], [4.0, 0.0, 0.0]]
