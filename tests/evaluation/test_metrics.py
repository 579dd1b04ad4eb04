"""Metrics against ir-measures, and against fractions that a reader can check."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.errors import ConfigError
from scoter.evaluation.evaluator import Evaluator
from scoter.evaluation.metrics import CUTOFFS, METRICS, mean_metrics, per_user
from scoter.types import Rankings, Targets, UserMetrics

DEPTH = 20
ORACLE = {f"recall@{k}": ir_measures.parse_measure(f"R@{k}") for k in CUTOFFS}
ORACLE |= {f"ndcg@{k}": ir_measures.parse_measure(f"nDCG@{k}") for k in CUTOFFS}
ORACLE["mrr"] = ir_measures.RR


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 5), st.integers(21, 60))
def test_every_metric_of_every_user_is_that_of_ir_measures(seed, users, score_values, items):
    generator = np.random.default_rng(seed)
    rows, scores, runs, qrels = [], [], [], []
    targets = generator.integers(items, size=users)
    for user in range(users):
        listed = generator.permutation(items)[: generator.integers(1, DEPTH + 1)]
        score = generator.integers(score_values, size=len(listed)).astype(float)
        order = np.lexsort(
            (-listed, -score)
        )  # trec_eval settles a tied score by the larger document name
        row, own = np.full(DEPTH, -1), np.full(DEPTH, -np.inf)
        row[: len(listed)], own[: len(listed)] = listed[order], score[order]
        rows.append(row)
        scores.append(own)
        runs += [
            ir_measures.ScoredDoc(str(user), f"{item:03d}", value)
            for item, value in zip(listed, score, strict=True)
        ]
        qrels.append(ir_measures.Qrel(str(user), f"{targets[user]:03d}", 1))
    rankings = Rankings(np.arange(users), np.array(rows), np.array(scores))
    ours = Evaluator().evaluate(rankings, Targets(np.arange(users), targets))
    theirs = {
        (one.measure, int(one.query_id)): one.value
        for one in ir_measures.iter_calc(list(ORACLE.values()), qrels, runs)
    }
    for name, measure in ORACLE.items():
        expected = np.array([theirs[measure, user] for user in range(users)])
        np.testing.assert_array_max_ulp(per_user(ours, name), expected, maxulp=1)
        assert mean_metrics(ours)[name] == pytest.approx(expected.mean(), abs=1e-15)


def test_fractions_that_a_reader_can_check():
    kept = UserMetrics(users=np.arange(4), ranks=np.array([1, 3, 7, 0]), depth=20)
    means = mean_metrics(kept)
    assert tuple(means) == METRICS
    assert means["recall@5"] == 2 / 4
    assert means["recall@10"] == means["recall@20"] == 3 / 4
    assert means["ndcg@5"] == (1 + 1 / 2) / 4
    assert means["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 4, abs=1e-15)
    assert means["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 7) / 4, abs=1e-15)


def test_a_shallow_ranking_offers_only_the_metrics_it_can_know():
    kept = UserMetrics(users=np.arange(1), ranks=np.array([10]), depth=10)
    assert list(mean_metrics(kept)) == ["recall@5", "ndcg@5", "recall@10", "ndcg@10", "mrr"]
    with pytest.raises(ConfigError, match=r"'recall@20' looks at 20 items, but only 10 were kept"):
        per_user(kept, "recall@20")


@pytest.mark.parametrize(
    "name", ["precision@5", "recall", "ndcg@", "recall@0", "recall@-1", "MRR", "ndcg@ten"]
)
def test_an_unknown_metric_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"no metric '{name}'"):
        per_user(UserMetrics(users=np.arange(1), ranks=np.array([1]), depth=20), name)


def test_a_mean_over_nobody_is_refused():
    with pytest.raises(ConfigError, match="0 users"):
        mean_metrics(UserMetrics(users=np.arange(0), ranks=np.arange(0), depth=20))
