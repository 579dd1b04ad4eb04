"""What a collected run leaves in the results, what it replaces, and what is refused."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from finished_run import draw_ranks, write_run

from benchmarks.suite.collect import COLUMNS, collect, load_rows, ranks_path
from benchmarks.tables.comparisons import difference
from benchmarks.tables.notes import notes
from benchmarks.tables.render import render
from benchmarks.tables.tables import main_table, mean_over_users
from scoter.config import SimulatedConfig
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics, save_user_metrics
from scoter.evaluation.metrics import METRICS, UNSEEN, mean_metrics, per_user
from scoter.evaluation.significance import bootstrap_mean
from scoter.types import UserMetrics


@pytest.fixture
def make_run(tmp_path):
    return lambda name="run", **changes: write_run(tmp_path / name, **changes)


def test_each_metric_becomes_a_row_and_each_rank_a_byte(make_run, tmp_path):
    rows = collect(make_run(), tmp_path / "results")
    stored = pd.read_parquet(tmp_path / "results" / "main.parquet")
    assert tuple(stored.columns) == COLUMNS
    assert len(stored) == len(rows) == 3 * 2 * len(METRICS)
    one = stored.query("method == 'tiger' and split == 'test' and metric == 'ndcg@10'").iloc[0]
    assert one["value"] == mean_metrics(draw_ranks("tiger", 0, "test"))["ndcg@10"]
    assert (one["cpu_hours"], one["epochs"], one["peak_mib"], one["run"]) == (
        1.5,
        12,
        812.5,
        "run-0",
    )
    assert json.loads(one["config"]) == {"training": {"epochs": 12}}
    assert json.loads(one["versions"]) == {"numpy": "2.0"}
    path = ranks_path(tmp_path / "results", "beauty", "tiger", 0, "valid")
    assert path == tmp_path / "results" / "ranks" / "beauty-tiger-s0-valid.parquet"
    assert load_user_metrics(path).ranks.tolist() == draw_ranks("tiger", 0, "valid").ranks.tolist()
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert pq.read_schema(path).field("rank").type == "uint8"
    assert column.compression == "ZSTD"


def test_metrics_among_unseen_items_are_rows_beside_runs_without_them(make_run, tmp_path):
    results, metric = tmp_path / "results", "recall@10/unseen"
    collect(make_run("old"), results)
    assert difference(results, "beauty", "scoter", "tiger", metric) is None
    assert mean_over_users(results, "beauty", "scoter", metric) is None
    before = main_table(results, "beauty")
    rows = collect(make_run("new", methods=("scoter", "tiger"), unseen=True), results)
    pd.testing.assert_frame_equal(main_table(results, "beauty"), before)
    assert set(rows["metric"]) == {*METRICS, *UNSEEN}
    ours, theirs = (draw_ranks(name, 0, "test", unseen=True) for name in ("scoter", "tiger"))
    kept = load_user_metrics(ranks_path(results, "beauty", "scoter", 0, "test"))
    assert kept.unseen_before.tolist() == ours.unseen_before.tolist()
    gap = difference(results, "beauty", "scoter", "tiger", metric)
    wanted = per_user(ours, metric) - per_user(theirs, metric)
    assert gap == bootstrap_mean(wanted, seed=0)
    assert difference(results, "beauty", "scoter", "popularity", metric) is None


def test_a_method_without_a_cost_has_an_empty_one(make_run, tmp_path):
    run = make_run()
    told = json.loads((run / "run.json").read_text())
    del told["methods"]["popularity"]["cpu_seconds"], told["methods"]["popularity"]["peak_mib"]
    (run / "run.json").write_text(json.dumps(told))
    rows = collect(run, tmp_path / "results").set_index("method")
    assert rows.loc["popularity", ["cpu_hours", "peak_mib"]].isna().all(axis=None)
    assert rows.loc["tiger", ["cpu_hours", "peak_mib"]].notna().all(axis=None)


def test_a_second_run_replaces_its_own_rows_and_no_other(make_run, tmp_path):
    results = tmp_path / "results"
    collect(make_run("a"), results)
    collect(make_run("b", seed=1), results)
    collect(make_run("c", methods=("tiger",), key="again"), results)
    runs = {(row["method"], row["seed"]): row["run"] for row in load_rows(results)}
    assert runs == {("tiger", 0): "again"} | {
        (method, seed): f"run-{seed}"
        for method in ("scoter", "tiger", "popularity")
        for seed in (0, 1)
        if (method, seed) != ("tiger", 0)
    }
    assert len(load_rows(results)) == 6 * 2 * len(METRICS)


def test_the_order_of_collecting_leaves_no_trace(make_run, tmp_path):
    first, second = make_run("a"), make_run("b", seed=1)
    for name, order in (("x", (first, second)), ("y", (second, first))):
        for run in order:
            collect(run, tmp_path / name)
    assert (tmp_path / "x" / "main.parquet").read_bytes() == (
        tmp_path / "y" / "main.parquet"
    ).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"commit": "0123456789abcdef0123456789abcdef01234567+dirty"},
            r"\+dirty' is not a clean commit; commit your changes",
        ),
        ({"commit": "unknown"}, "'unknown' is not a clean commit"),
        ({"commit": None}, "None is not a clean commit"),
        ({"seed": None}, "seed = None in run 'run-0'.*--seed"),
        ({"seed": True}, "seed = True"),
        (
            {"full_data": False, "note": "2,000 users"},
            r"not run on a whole dataset \(2,000 users\)",
        ),
        ({"methods": {}}, "failed: its run.json lists no methods"),
        (
            {"methods": {"tiger": {"metrics": {"valid": {"mrr": 0.1}}}}},
            "'tiger' has no metrics for test",
        ),
        ({"dataset": "../beauty"}, "'../beauty'.*will not do"),
    ],
)
def test_a_run_that_cannot_stand_in_a_table_is_refused(make_run, tmp_path, changes, message):
    run = make_run()
    (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | changes))
    with pytest.raises(DataError, match=message):
        collect(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_metric_that_is_not_a_number_is_a_failed_run(make_run, tmp_path):
    run = make_run()
    told = json.loads((run / "run.json").read_text())
    told["methods"]["tiger"]["metrics"]["test"]["recall@5"] = float("nan")
    (run / "run.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match=r"tiger failed on beauty: its test recall@5 is nan"):
        collect(run, tmp_path / "results")


def test_an_unfinished_folder_is_refused(make_run, tmp_path):
    run = make_run()
    (run / "manifest.json").unlink()
    with pytest.raises(DataError, match="holds no finished run"):
        collect(run, tmp_path / "results")


def test_metrics_that_the_ranks_do_not_confirm_are_refused(make_run, tmp_path):
    run = make_run()
    save_user_metrics(
        UserMetrics(users=np.arange(600), ranks=np.ones(600, int), depth=20),
        run / "ranks" / "tiger-test.parquet",
    )
    with pytest.raises(DataError, match=r"tiger's test recall@5 is 0\..*its ranks give 1\.0"):
        collect(run, tmp_path / "results")


def test_no_results_say_how_to_make_some(tmp_path):
    with pytest.raises(DataError, match="python -m benchmarks collect"):
        load_rows(tmp_path)


def test_the_simulated_shop_is_collected_under_its_lambda_and_a_changed_shop_is_not(
    make_run, tmp_path
):
    shop = asdict(SimulatedConfig(order=0.5))
    data = {"name": "simulated", "max_users": 0, "simulated": shop}
    rows = collect(
        make_run("a", full_data=False, dataset="simulated", config={"data": data}),
        tmp_path / "results",
    )
    assert set(rows["dataset"]) == {"simulated-lambda-0_5"}
    for change in ({"simulated": {**shop, "noise": 0.5}}, {"max_users": 10}):
        changed = make_run(
            str(change)[2:8],
            full_data=False,
            dataset="simulated",
            config={"data": {**data, **change}},
        )
        with pytest.raises(DataError, match="the simulated shop as it comes"):
            collect(changed, tmp_path / "results")


def test_protocol_b_has_a_dataset_of_its_own_and_test_metrics_alone(make_run, tmp_path):
    data = {"name": "beauty", "max_users": 0, "simulated": None, "protocol": "B"}
    run = make_run("a", methods=("tiger", "scoter"), dataset="beauty-b", config={"data": data})
    for path in (run / "ranks").glob("*-valid.parquet"):
        path.unlink()
    told = json.loads((run / "run.json").read_text())
    for outcome in told["methods"].values():
        del outcome["metrics"]["valid"]
    (run / "run.json").write_text(json.dumps(told))
    results = tmp_path / "results"
    rows = collect(run, results)
    assert {(row.dataset, row.split) for row in rows.itertuples()} == {("beauty-b", "test")}
    names = {path.name for path in (results / "ranks").iterdir()}
    assert names == {"beauty-b-tiger-s0-test.parquet", "beauty-b-scoter-s0-test.parquet"}
    table = render(results, "beauty-b", "markdown")
    assert "| scoter |" in table
    assert "| 0.0928 | 0.0523 |" in table
    assert "filtered; trained on all that is before the test item" in table


def test_protocol_b_shows_published_rows_until_something_is_measured(make_run, tmp_path):
    collect(make_run("a"), tmp_path / "results")
    table = render(tmp_path / "results", "toys-b", "markdown")
    assert "| 0.0970 | 0.0580 |" in table
    assert "Nothing was measured here yet: `python -m benchmarks run --only toys-b`." in table


def test_the_headline_difference_is_among_the_notes(make_run, tmp_path):
    collect(make_run("a", methods=("tiger", "tiger-meanpool", "scoter")), tmp_path / "results")
    found = notes(tmp_path / "results", "beauty")[0]
    gain = draw_ranks("scoter", 0, "test").ranks, draw_ranks("tiger-meanpool", 0, "test").ranks
    means = [((ranks > 0) & (ranks <= 10)).mean() for ranks in gain]
    assert f"recall@10 {means[0] - means[1]:+.4f} [" in found


def stored(folder, full_data=False, **changes):
    """A run whose SCoTER read chains that a language model had written."""
    run = write_run(folder, methods=("tiger", "scoter"), full_data=full_data, **changes)
    told = json.loads((run / "run.json").read_text())
    told["methods"]["scoter"]["config"]["fusion"] = {"kind": "structured"}
    told["methods"]["tiger"]["config"]["fusion"] = None
    data = {"name": "beauty", "max_users": 0 if full_data else 600, "simulated": None}
    told |= {"chains_model": "Some Model-135M", "note": "proves the plumbing only"}
    told["config"] = {"chains": {"source": "reason/some"}, "data": data}
    (run / "run.json").write_text(json.dumps(told))
    return run


def test_stored_chains_carry_the_name_of_their_model(tmp_path):
    results = tmp_path / "results"
    collect(stored(tmp_path / "run"), results)
    rows = load_rows(results)
    assert {(row["dataset"], row["method"]) for row in rows} == {
        ("beauty-600-users", "tiger"),
        ("beauty-600-users", "scoter@some-model-135m"),
    }
    path = ranks_path(results, "beauty-600-users", "scoter@some-model-135m", 0, "test")
    assert load_user_metrics(path).ranks.tolist() == draw_ranks("scoter", 0, "test").ranks.tolist()
    table = main_table(results, "beauty-600-users").set_index("method")
    gain = table.loc["scoter@some-model-135m", "difference recall@10"]
    expected = [
        mean_metrics(draw_ranks(name, 0, "test"))["recall@10"] for name in ("scoter", "tiger")
    ]
    assert gain == pytest.approx(expected[0] - expected[1], abs=1e-12)
    assert "scoter@some-model-135m: chains by Some Model-135M; proves the plumbing only." in notes(
        results, "beauty-600-users"
    )


def test_stored_chains_of_all_users_stand_beside_those_of_the_catalogue(tmp_path):
    results = tmp_path / "results"
    collect(write_run(tmp_path / "plain"), results)
    collect(stored(tmp_path / "run", full_data=True, key="stored"), results)
    runs = {row["method"]: row["run"] for row in load_rows(results) if row["dataset"] == "beauty"}
    assert runs == {
        "popularity": "run-0",
        "scoter": "run-0",
        "tiger": "stored",
        "scoter@some-model-135m": "stored",
    }


def test_the_mined_pattern_is_kept_with_the_places_of_the_picture(tmp_path):
    told = {"steps": ["a"]}
    mined = {"pattern": told, "clusters": [{"patterns": ["a", "b"], "gains": [0.2, 0.1]}]}
    run = write_run(tmp_path / "run", seed=1, pattern={**mined, "recommender": {"mean": 0.1}})
    point = {"x": 0.5, "y": 1.5, "cluster": 0, "gain": 0.2}
    (run / "points.json").write_text(json.dumps([{**point, "label": "a > b"}]))
    collect(run, tmp_path / "results")
    kept = json.loads((tmp_path / "results/patterns/beauty-s1.json").read_text())
    assert (kept["run_seed"], kept["pattern"], kept["points"]) == (1, told, [point])
    assert kept["clusters"] == [{"patterns": ["a"], "gains": [0.2]}]
