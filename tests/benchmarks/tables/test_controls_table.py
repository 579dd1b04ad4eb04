"""The table of controls against the ranks that it is made from."""

import json
from pathlib import Path

import numpy as np
import pytest
from finished_run import draw_ranks, write_run

from benchmarks.studies.parameters import count_parameters
from benchmarks.suite.cells import CONTROLLED
from benchmarks.suite.collect import RESULTS, collect
from benchmarks.tables.controls import FILE, ablation_pages, controls_table, page
from scoter.errors import DataError
from scoter.evaluation.metrics import per_user

METHODS = ("tiger", "scoter", "tiger-meanpool", "control-bag", "control-noise", "popularity")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "run", methods=METHODS)
    told = json.loads((run / "run.json").read_text())
    for method in METHODS:
        told["methods"][method]["config"] = {
            "model": {"kind": "popularity" if method == "popularity" else "tiger"}
        }
    (run / "run.json").write_text(json.dumps(told))
    collect(run, tmp_path / "results")
    (tmp_path / "results" / FILE).write_text(
        json.dumps({"beauty": {"tiger": 1000, "control-bag": 17}})
    )
    return tmp_path / "results"


def test_each_arm_has_its_parameters_metrics_and_differences(results: Path) -> None:
    table = controls_table(results, "beauty").set_index("method")
    assert list(table.index) == [
        "tiger",
        "tiger-meanpool",
        "scoter",
        "control-bag",
        "control-noise",
    ]
    assert (table.loc["tiger", "added"], table.loc["control-bag", "added"]) == (1000, 17)
    assert np.isnan(table.loc["control-noise", "added"])
    values = {name: per_user(draw_ranks(name, 0, "test"), "ndcg@10") for name in table.index}
    for name in table.index:
        assert table.loc[name, "ndcg@10"] == pytest.approx(values[name].mean())
        for other in ("tiger", "scoter"):
            found = table.loc[name, f"ndcg@10 - {other}"]
            if name == other:
                assert found is None
            else:
                assert float(found.mean) == pytest.approx((values[name] - values[other]).mean())
                assert found.low <= found.mean <= found.high
    assert "| control-bag | 17 |" in page(results, "beauty").markdown()


def test_without_tiger_or_scoter_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    collect(write_run(tmp_path / "run", methods=("popularity",)), tmp_path / "results")
    with pytest.raises(DataError, match="'beauty' has no results of scoter and tiger"):
        controls_table(tmp_path / "results", "beauty")


def test_the_committed_counts_are_those_of_today() -> None:
    assert json.loads((RESULTS / FILE).read_text()) == {
        dataset: count_parameters(dataset) for dataset in CONTROLLED
    }


def test_each_row_of_the_ablation_stands_beside_the_row_before(tmp_path: Path) -> None:
    names = ("tiger-paper", "tiger-trie", "tiger")
    run = write_run(tmp_path / "run", methods=names, experiment="beauty-quarter-tiger")
    collect(run, tmp_path / "results")
    table = ablation_pages(tmp_path / "results")["tiger"].markdown()
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if "| tiger" in line]
    assert [row[0] for row in rows] == [*names]
    values = [per_user(draw_ranks(name, 0, "test"), "ndcg@10").mean() for name in names]
    assert rows[2][5].split()[0] == f"{values[2] - values[1]:+.4f}"
