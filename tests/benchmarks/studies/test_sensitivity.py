"""Sensitivity against counting by hand."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from finished_run import write_run

from benchmarks.studies.sensitivity import TieDraws, buckets, drop, measure, ties
from benchmarks.studies.study import put
from benchmarks.suite.collect import collect
from benchmarks.tables.sensitivity_page import FILE, POPULARITY, page
from scoter.data.split import leave_one_out
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.types import Catalog, InteractionLog

USERS, ITEMS = 600, 50  # as many users as the finished run has


@pytest.fixture
def results(tmp_path):
    for seed in (0, 1):
        collect(
            write_run(tmp_path / f"run-{seed}", methods=("tiger", "scoter"), seed=seed),
            tmp_path / "results",
        )
    return tmp_path / "results"


def a_log(days: int = 3) -> tuple[InteractionLog, Catalog]:
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 30, USERS)
    items = np.minimum(rng.geometric(0.08, lengths.sum()) - 1, ITEMS - 1)
    times = np.concatenate([np.sort(rng.integers(0, days, length)) for length in lengths]) * 86_400
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    keys = tuple(str(user) for user in range(USERS))
    return InteractionLog(items, offsets, keys, times), Catalog(
        tuple(str(item) for item in range(ITEMS))
    )


def test_buckets_are_those_of_a_loop_over_users(results):
    log, catalog = a_log()
    split = leave_one_out(log)
    rows = buckets(split, catalog, "beauty", results)
    seen = Counter(split.train.items.tolist())
    targets = [int(log.sequence(user)[-1]) for user in range(USERS)]
    hits = {
        name: [
            load_user_metrics(
                results / "ranks" / f"beauty-{name}-s{seed}-test.parquet"
            ).ranks.tolist()
            for seed in (0, 1)
        ]
        for name in ("tiger", "scoter")
    }
    for row in rows:
        chosen = []
        for user in range(USERS):
            before = log.sequence(user)[:-1].tolist()
            numbers = {
                "history": len(before),
                "popularity": seen[targets[user]],
                "repeat": int(targets[user] in before),
            }
            number = numbers[row["kind"]]
            if number >= row["low"] and (row["high"] is None or number <= row["high"]):
                chosen.append(sum(0 < ranks[user] <= 10 for ranks in hits[row["method"]]) / 2)
        assert row["users"] == len(chosen)
        assert row["recall@10"]["mean"] == pytest.approx(np.mean(chosen), abs=1e-12)
        assert row["recall@10"]["low"] <= row["recall@10"]["mean"] <= row["recall@10"]["high"]
    for kind in ("history", "popularity", "repeat"):
        assert (
            sum(row["users"] for row in rows if (row["kind"], row["method"]) == (kind, "tiger"))
            == USERS
        )
    assert {row["low"] for row in rows if row["kind"] == "popularity"} <= {
        low for low, _ in POPULARITY
    }


def test_where_nobody_buys_again_nothing_is_said_of_it(results):
    items = np.concatenate(
        [np.random.default_rng(user).permutation(ITEMS)[:5] for user in range(USERS)]
    )
    log = InteractionLog(
        items, np.arange(0, 5 * USERS + 1, 5), tuple(str(user) for user in range(USERS))
    )
    rows = buckets(
        leave_one_out(log), Catalog(tuple(str(item) for item in range(ITEMS))), "beauty", results
    )
    assert {row["kind"] for row in rows} == {"history", "popularity"}


def test_ranks_of_other_users_than_the_datas_are_refused(results):
    log, catalog = a_log()
    fewer = InteractionLog(log.items[: log.offsets[400]], log.offsets[:401], log.user_keys[:400])
    with pytest.raises(DataError, match="not of the users of this beauty; point --data"):
        buckets(leave_one_out(fewer), catalog, "beauty", results)


def test_the_drop_is_the_difference_of_the_collected_means(results):
    rows = {(row["method"], row["metric"]): row for row in drop("beauty", results)}
    assert set(rows) == {
        (name, metric) for name in ("tiger", "scoter") for metric in ("recall@10", "ndcg@10")
    }
    for (method, _), row in rows.items():
        assert row["difference"]["mean"] == pytest.approx(row["test"] - row["valid"], abs=1e-12)
        if row["metric"] == "recall@10":
            files = [results / "ranks" / f"beauty-{method}-s{seed}-test.parquet" for seed in (0, 1)]
            hits = [
                (load_user_metrics(path).ranks > 0) & (load_user_metrics(path).ranks <= 10)
                for path in files
            ]
            assert row["test"] == pytest.approx(np.mean(hits), abs=1e-12)


def test_ties_are_kept_where_only_rows_are_new(results, monkeypatch):
    log, catalog = a_log()
    shop = SimpleNamespace(log=log, catalog=catalog)
    monkeypatch.setattr("benchmarks.studies.sensitivity.open_dataset", lambda *_: shop)
    put(results / FILE, "beauty", {"ties": {"as": "before"}})
    measured = measure("beauty", results, keep_ties=True)
    assert measured["ties"] == {"as": "before"}
    assert json.loads((results / FILE).read_text())["beauty"]["drop"] == drop("beauty", results)


def test_shuffled_ties_are_measured_on_the_shuffled_targets():
    log, catalog = a_log()
    found = ties(log, catalog, "shop", TieDraws(3))
    assert found is not None
    same = [
        log.times[e] == log.times[e + 1]
        for u in range(USERS)
        for e in range(log.offsets[u], log.offsets[u + 1] - 1)
    ]
    assert found["share_of_tied_steps"] == pytest.approx(np.mean(same), abs=1e-12)
    assert [row["draw"] for row in found["rows"]] == [None, 0, 1, 2]
    split = leave_one_out(log)
    top = np.argsort(-np.bincount(split.train.items, minlength=ITEMS), kind="stable")[:10]
    assert found["rows"][0]["recall@10"] == pytest.approx(
        np.isin(split.test.items, top).mean(), abs=1e-12
    )
    assert found["rows"][0]["other_targets"] == 0
    assert all(0.2 < row["other_targets"] < 1 for row in found["rows"][1:])
    assert len({row["recall@10"] for row in found["rows"][1:]}) == 3


def test_without_ties_nothing_moves_and_without_times_nothing_is_measured():
    log, catalog = a_log()
    ordered = InteractionLog(log.items, log.offsets, log.user_keys, np.arange(len(log.items)))
    found = ties(ordered, catalog, "shop", TieDraws(2))
    assert found is not None
    assert found["share_of_tied_steps"] == 0
    assert len({row["recall@10"] for row in found["rows"]}) == 1
    assert {row["other_targets"] for row in found["rows"]} == {0}
    timeless = InteractionLog(log.items, log.offsets, log.user_keys)
    assert ties(timeless, catalog, "shop", TieDraws(2)) is None
    empty = {"commit": "0" * 40, "drop": [], "buckets": [], "ties": None}
    assert "no ties" in page(empty).markdown()


@pytest.mark.slow
def test_sasrec_is_trained_on_each_draw(tmp_path):
    log, catalog = a_log()
    from scoter.data.prepared import save_prepared

    save_prepared(log, catalog, tmp_path / "shop")
    found = ties(log, catalog, "shop", TieDraws(2, 1, tmp_path / "store", tmp_path / "shop"))
    assert found is not None
    rows = [row for row in found["rows"] if row["method"] == "sasrec-ce"]
    assert len({row["ndcg@10"] for row in rows}) == 3
    kept = {"commit": "0" * 40, "drop": [], "buckets": [], "ties": found}
    assert "SASRec was trained for 1 epochs only" in page(kept).markdown()
