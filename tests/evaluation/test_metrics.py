"""Metrics against ir-measures, and against fractions that a reader can check."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.errors import ConfigError
from scoter.evaluation.evaluator import Evaluator
from scoter.evaluation.metrics import CUTOFFS, METRICS, UNSEEN, mean_metrics, per_user
from scoter.types import Histories, Rankings, Targets, UserMetrics

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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(20, 40))
def test_metrics_among_unseen_items_are_those_of_lists_without_the_history(seed, users, own, items):
    generator = np.random.default_rng(seed)
    lists = np.array([generator.permutation(items)[:DEPTH] for _ in range(users)])
    lists[0, generator.integers(DEPTH) :] = -1
    targets = generator.integers(items, size=users)
    lengths = generator.integers(0, own + 1, size=users)
    histories = Histories(
        np.arange(users),
        generator.integers(items, size=lengths.sum()),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    rankings = Rankings(np.arange(users), lists, np.zeros(lists.shape))
    ours = Evaluator().evaluate(rankings, Targets(np.arange(users), targets), histories)
    unseen = {}
    for user in range(users):
        had = set(histories.sequence(user).tolist())
        if targets[user] not in had:
            unseen[user] = [item for item in lists[user].tolist() if item not in had | {-1}]
    means = mean_metrics(ours)
    assert tuple(means) == ((*METRICS, *UNSEEN) if unseen else METRICS)
    for k in CUTOFFS if unseen else ():
        places = [
            row.index(targets[user]) + 1 if targets[user] in row[:k] else 0
            for user, row in unseen.items()
        ]
        gains = [1 / np.log2(place + 1) if place else 0.0 for place in places]
        short = [len(row) < k and targets[user] not in row for user, row in unseen.items()]
        assert per_user(ours, f"recall@{k}/unseen").tolist() == [place > 0 for place in places]
        assert per_user(ours, f"ndcg@{k}/unseen").tolist() == pytest.approx(gains, abs=1e-15)
        assert means[f"undecided@{k}/unseen"] == pytest.approx(np.mean(short), abs=1e-15)


def test_a_longer_list_adds_no_more_than_the_undecided():
    generator = np.random.default_rng(0)
    lists = np.array([generator.permutation(60) for _ in range(300)])
    everyone, targets = np.arange(300), generator.integers(60, size=300)
    items = np.array([generator.permutation(row[:25])[:12] for row in lists]).ravel()
    histories = Histories(everyone, items, np.arange(0, 3601, 12))
    short, whole = (
        mean_metrics(
            Evaluator().evaluate(
                Rankings(everyone, lists[:, :depth], np.zeros((300, depth))),
                Targets(everyone, targets),
                histories,
            )
        )
        for depth in (20, 60)
    )
    for k in CUTOFFS:
        name, room = f"recall@{k}/unseen", short[f"undecided@{k}/unseen"]
        assert short[name] <= whole[name] <= short[name] + room
    assert short["recall@20/unseen"] < whole["recall@20/unseen"]


def test_unseen_metrics_need_the_histories():
    kept = UserMetrics(users=np.arange(1), ranks=np.array([1]), depth=20)
    with pytest.raises(ConfigError, match=r"'ndcg@10/unseen': nobody counted .*; give the histor"):
        per_user(kept, "ndcg@10/unseen")


def test_a_shallow_ranking_offers_only_the_metrics_it_can_know():
    kept = UserMetrics(users=np.arange(1), ranks=np.array([10]), depth=10)
    assert list(mean_metrics(kept)) == ["recall@5", "ndcg@5", "recall@10", "ndcg@10", "mrr"]
    with pytest.raises(ConfigError, match=r"'recall@20' looks at 20 items, but only 10 were kept"):
        per_user(kept, "recall@20")


@pytest.mark.parametrize(
    "name",
    [
        *("precision@5", "recall", "ndcg@", "recall@0", "recall@-1", "MRR", "ndcg@ten"),
        *("undecided@5", "recall@5/new", "mrr/unseen", "recall@5/"),
    ],
)
def test_an_unknown_metric_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"no metric '{name}'"):
        per_user(UserMetrics(users=np.arange(1), ranks=np.array([1]), depth=20), name)


def test_a_mean_over_nobody_is_refused():
    with pytest.raises(ConfigError, match="0 users"):
        mean_metrics(UserMetrics(users=np.arange(0), ranks=np.arange(0), depth=20))
