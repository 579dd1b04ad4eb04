"""The evaluator against a plain search through each list, and the refusal of rankings that are
none."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.errors import DataError
from scoter.evaluation.evaluator import Evaluator, load_user_metrics, save_user_metrics
from scoter.types import Histories, Rankings, Targets, UserMetrics


def ranked(rows, users=None) -> Rankings:
    items = np.array(rows)
    return Rankings(
        np.arange(len(items)) if users is None else np.array(users), items, np.zeros(items.shape)
    )


def wanted(items, users=None) -> Targets:
    return Targets(np.arange(len(items)) if users is None else np.array(users), np.array(items))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_ranks_are_those_of_a_search_through_the_list(data):
    depth = data.draw(st.integers(1, 8))
    lists = data.draw(
        st.lists(st.lists(st.integers(0, 9), unique=True, max_size=depth), min_size=1, max_size=6)
    )
    targets = data.draw(st.lists(st.integers(0, 9), min_size=len(lists), max_size=len(lists)))
    padded = [row + [-1] * (depth - len(row)) for row in lists]
    found = Evaluator().evaluate(ranked(padded), wanted(targets))
    expected = [
        row.index(target) + 1 if target in row else 0
        for row, target in zip(lists, targets, strict=True)
    ]
    assert found.ranks.tolist() == expected
    assert found.depth == depth


def test_scores_are_not_looked_at_so_ties_were_settled_by_the_ranker():
    rankings = Rankings(np.array([7]), np.array([[3, 1, 2]]), np.array([[0.5, 0.5, 0.5]]))
    assert Evaluator().evaluate(rankings, wanted([2], [7])).ranks.tolist() == [3]


@pytest.mark.parametrize(
    ("rankings", "targets", "message"),
    [
        (
            ranked([[1], [2]], [4, 5]),
            wanted([1, 2], [4, 6]),
            "row 1 ranks for user 5, but its target belongs to user 6",
        ),
        (ranked([[1], [2]]), wanted([1]), "2 ranked rows for 2 users, but 1 targets"),
        (ranked([[1, 2], [3, 3]], [8, 9]), wanted([1, 3], [8, 9]), "user 9 lists item 3 twice"),
        (ranked([[1, -1, 2]], [5]), wanted([2], [5]), "user 5 lists item 2 after a -1"),
        (ranked([[1, -1]], [5]), wanted([-1], [5]), "target of user 5 is -1"),
    ],
)
def test_a_ranking_that_is_none_is_refused(rankings, targets, message):
    with pytest.raises(DataError, match=message):
        Evaluator().evaluate(rankings, targets)


@pytest.mark.parametrize(
    ("depth", "kind"), [(20, pa.uint8()), (255, pa.uint8()), (256, pa.uint16())]
)
def test_ranks_survive_a_file_in_small_integers(tmp_path, depth, kind):
    generator = np.random.default_rng(0)
    kept = UserMetrics(
        users=np.arange(0, 6000, 2), ranks=generator.integers(0, depth + 1, 3000), depth=depth
    )
    save_user_metrics(kept, tmp_path / "ranks.parquet")
    again = load_user_metrics(tmp_path / "ranks.parquet")
    assert again.users.tolist() == kept.users.tolist()
    assert again.ranks.tolist() == kept.ranks.tolist()
    assert again.depth == depth
    assert pq.read_schema(tmp_path / "ranks.parquet").field("rank").type == kind
    assert (tmp_path / "ranks.parquet").stat().st_size < 3000 * 2 + 3000


def test_the_unseen_items_before_a_target_survive_a_file(tmp_path):
    ranks, before = np.array([0, 3, 20, 0, 1]), np.array([20, 2, -1, 0, 0])
    save_user_metrics(UserMetrics(np.arange(5), ranks, 20, before), tmp_path / "ranks.parquet")
    assert load_user_metrics(tmp_path / "ranks.parquet").unseen_before.tolist() == before.tolist()
    assert pq.read_schema(tmp_path / "ranks.parquet").field("unseen_before").type == pa.int8()
    for wrong in ([21, 0, 0, 0, 0], [0, 3, 0, 0, 0], [0, 0, 0, -2, 0]):
        metrics = UserMetrics(np.arange(5), ranks, 20, np.array(wrong))
        save_user_metrics(metrics, tmp_path / "wrong.parquet")
        with pytest.raises(DataError, match="more unseen items before a target than items"):
            load_user_metrics(tmp_path / "wrong.parquet")


def test_histories_of_other_users_are_refused():
    histories = Histories(np.array([4]), np.array([1]), np.array([0, 1]))
    with pytest.raises(DataError, match="1 histories and 1 targets are not of the same users"):
        Evaluator().evaluate(ranked([[1]], [3]), wanted([1], [3]), histories)


def test_a_file_of_something_else_is_refused(tmp_path):
    pq.write_table(pa.table({"user": [1], "rank": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="not a file of ranks"):
        load_user_metrics(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"b\.parquet cannot be read"):
        load_user_metrics(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"c\.parquet cannot be read"):
        load_user_metrics(tmp_path / "c.parquet")


def test_a_rank_below_the_depth_kept_is_refused(tmp_path):
    save_user_metrics(
        UserMetrics(users=np.arange(1), ranks=np.array([21]), depth=20), tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match="holds rank 21 although only 20"):
        load_user_metrics(tmp_path / "a.parquet")


def test_evaluation_and_its_report_leave_torch_unloaded():
    modules = (
        "scoter.evaluation.evaluator, scoter.evaluation.significance, scoter.evaluation.metrics, "
        "scoter.report"
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
