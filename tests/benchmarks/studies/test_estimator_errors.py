"""Known truths against other ways to them, and a benchmark that goes on where it stopped."""

import json

import numpy as np
import pytest

from benchmarks.studies.estimators import Law, cells, laws, measure, measure_cell
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.estimators_page import broken_bounds, page
from theory.estimators.gaussian import gaussian_information
from theory.estimators.nearest_neighbour import ksg, ross_terms


def test_truths_agree_with_estimators_that_are_right_there():
    every, rng = laws(), np.random.default_rng(0)
    for name in ("normal 1 x 1", "normal 5 x 5", "normal dense 50 x 50", "normal sparse 50 x 50"):
        assert gaussian_information(*every[name].sample(5000, rng))[0] == pytest.approx(
            every[name].truth, abs=0.1
        )
    for name in (
        "student 2 x 2, 3 degrees",
        "half-cube of normal 1 x 1",
        "mixture of normals 1 x 1",
    ):
        assert ksg(*every[name].sample(3000, rng)) == pytest.approx(every[name].truth, abs=0.1)
    for name in ("labels to normal 1", "labels to uniform"):
        assert ross_terms(*every[name].sample(3000, rng)).mean() == pytest.approx(
            every[name].truth, abs=0.08
        )


def test_gaussian_is_unbiased_within_three_hundredths_at_fifty_by_fifty():
    every, rng = laws(), np.random.default_rng(1)
    for name in ("normal dense 50 x 50", "normal sparse 50 x 50"):
        errors = [
            gaussian_information(*every[name].sample(5000, rng))[0] - every[name].truth
            for _ in range(4)
        ]
        assert abs(np.mean(errors)) < 0.03


def test_it_goes_on_where_it_stopped(tmp_path):
    first = measure(1, tmp_path, budget=1e9, sizes=(200,), only=("plug_in",))
    assert first["missing"] == 0
    assert len(first["rows"]) == 3
    path = tmp_path / "estimators.json"
    kept = json.loads(path.read_text())
    kept["rows"] = kept["rows"][:2]
    path.write_text(json.dumps(kept))
    assert measure(1, tmp_path, budget=0.0, sizes=(200,), only=("plug_in",))["missing"] == 1
    again = measure(1, tmp_path, budget=1e9, sizes=(200,), only=("plug_in",))
    assert [row["value"] for row in again["rows"]] == [row["value"] for row in first["rows"]]
    assert "| plug_in | none |" in page(again["rows"]).markdown()


def test_a_bound_above_the_truth_is_seen():
    law = Law("discrete", "continuous", 0.0, lambda n, rng: (rng.integers(2, size=n),) * 2)
    row = measure_cell(law, "wrong truth", 300, "usable_information", 0)
    assert broken_bounds([row]) == (1, 1)


def test_the_committed_results_are_whole():
    rows = json.loads((RESULTS / "estimators.json").read_text())["rows"]
    assert {(row["law"], row["n"], row["estimator"], row["seed"]) for row in rows} == set(cells(1))
    assert broken_bounds(rows)[0] == 0
