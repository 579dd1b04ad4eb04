"""Groups and ages of chains, recounted one user at a time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.documents import renewed
from benchmarks.studies.buckets import age_rows, by_length, by_popularity, measure, older
from benchmarks.tables.buckets_page import page as page_of
from scoter.stages.finished import find_methods
from scoter.storage.store import Artefact, Store


def test_groups_are_those_of_a_loop_and_leave_nobody_out(finished: tuple[Store, Artefact]) -> None:
    split = find_methods([finished[1].path], ("scoter",))["scoter"].run.split
    histories, targets = split.histories("test"), split.targets("test")
    for row in range(len(targets)):
        length = len(histories.sequence(row))
        bought = int((split.train.items == targets.items[row]).sum())
        in_length = [label for label, chosen in by_length(split).items() if chosen[row]]
        in_count = [label for label, chosen in by_popularity(split).items() if chosen[row]]
        assert in_length == ["2 to 5" if length <= 5 else "6 to 10" if length <= 10 else "11 to 20"]
        assert in_count == [
            "0 to 4" if bought <= 4 else "5 to 19" if bought <= 19 else "20 and more"
        ]


def test_an_old_chain_is_that_of_the_shorter_prefix(finished: tuple[Store, Artefact]) -> None:
    _, reader, _ = find_methods([finished[1].path], ("scoter",))["scoter"].untrained()
    assert reader is not None
    users, lengths = torch.tensor([0, 1, 2]), torch.tensor([6, 2, 7])
    steps, mask = older(reader, 2).read(users, lengths)
    wanted, there = reader.read(users[[0, 2]], lengths[[0, 2]] - 2)
    assert torch.equal(steps[[0, 2]], wanted)
    assert torch.equal(mask[[0, 2]], there)
    assert not mask[1].any()


def test_the_measurement_agrees_with_the_run(
    finished: tuple[Store, Artefact], tmp_path: Path
) -> None:
    found = measure([finished[1].path], users=10, results=tmp_path)
    told = find_methods([finished[1].path], ("scoter",))["scoter"].run.outcome
    rows = {row["metric"]: row for row in found["groups"] if row["kind"] == "all"}
    for metric, row in rows.items():
        assert row["scoter"] == pytest.approx(told["methods"]["scoter"]["metrics"]["test"][metric])
        (same,) = [
            part
            for part in told["differences"]
            if (part["better"], part["worse"], part["metric"]) == ("scoter", "tiger", metric)
        ]
        assert row["mean"] == pytest.approx(same["mean"])
    for kind in ("history length", "target bought in training", "chain"):
        members = [
            row for row in found["groups"] if row["kind"] == kind and row["metric"] == "recall@10"
        ]
        total = sum(row["users"] * row["scoter"] for row in members) / sum(
            row["users"] for row in members
        )
        assert total == pytest.approx(rows["recall@10"]["scoter"])
    assert [row["mean"] for row in found["ages"] if row["age"] == "0"] == [0, 0]
    assert "| 5 purchases old | 10 |" in page_of({"scoter": found}).markdown()
    again = measure([finished[1].path], users=10, results=tmp_path, label="otherwise")
    kept = json.loads((tmp_path / "buckets.json").read_text())
    assert list(kept) == ["scoter", "otherwise"]
    assert kept["otherwise"] == json.loads(json.dumps(again))
    page = renewed(
        f"before\n<!-- buckets:{found['dataset']} -->\nold\n<!-- /buckets -->\nafter\n", tmp_path
    )
    marker = f"<!-- buckets:{found['dataset']} -->"
    assert page == f"before\n{marker}\n{page_of(kept).markdown()}<!-- /buckets -->\nafter\n"
    everybody = [
        row for row in found["groups"] if (row["kind"], row["metric"]) == ("all", "ndcg@10")
    ]
    assert f"| {everybody[0]['tiger']:.4f} | {everybody[0]['scoter']:.4f} |" in page


def test_a_fresh_chain_ranks_as_the_run_did(finished: tuple[Store, Artefact]) -> None:
    method = find_methods([finished[1].path], ("scoter",))["scoter"]
    rows = age_rows(method, 10_000, find_methods([finished[1].path], ("tiger",))["tiger"])
    histories = method.run.split.histories("test")
    ranks = method.run.artefact.path / "ranks" / "scoter-test.parquet"
    from scoter.evaluation.evaluator import load_user_metrics
    from scoter.evaluation.metrics import per_user

    values = per_user(load_user_metrics(ranks), "recall@10")[histories.lengths > 5]
    assert rows[0]["value"] == pytest.approx(float(np.mean(values)))
    tiger = per_user(load_user_metrics(ranks.with_name("tiger-test.parquet")), "ndcg@10")[
        histories.lengths > 5
    ]
    assert (rows[-1]["age"], rows[-1]["metric"]) == ("tiger", "ndcg@10")
    assert rows[-1]["value"] == pytest.approx(float(np.mean(tiger)))
