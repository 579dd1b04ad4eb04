"""Known truths against other ways to them, and a benchmark that goes on where it stopped."""

import json
import sys

import numpy as np
import pytest

from benchmarks.studies.battery import Law, pairs, student, tasks
from benchmarks.studies.estimators import (
    BMI,
    cells,
    laws,
    measure,
    measure_cell,
    measure_repeat,
    peer_cells,
)
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.estimators_page import broken_bounds, page
from theory.estimators.copula import gaussian_information, normal_scores, student_copula
from theory.estimators.nearest_neighbour import ksg, ross_terms


def test_there_are_forty_tasks_and_maps_leave_margins_apart():
    every, rng = tasks(), np.random.default_rng(0)
    assert len(every) == 40
    for name, law in every.items():
        x, y = law.sample(50, rng)
        assert x.shape[0] == y.shape[0] == 50, name
        assert np.isfinite(np.c_[x, y]).all(), name
    for name in ("bimodal 1 x 1", "wiggly 1 x 1", "half-cube 1 x 1", "uniform margins 1 x 1"):
        plain, bent = (
            every[n].sample(300, np.random.default_rng(1)) for n in ("normal 1 x 1", name)
        )
        for one, other in zip(plain, bent, strict=True):  # a rising map of the same draw
            np.testing.assert_allclose(normal_scores(one), normal_scores(other))
    x, _ = every["spiral 5 x 5"].sample(300, np.random.default_rng(1))
    plain, _ = every["normal pairs 5 x 5"].sample(300, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.linalg.norm(plain, axis=1))


def test_truths_agree_with_estimators_that_are_right_there():
    every, rng = laws(), np.random.default_rng(0)
    for name in ("normal 1 x 1", "normal pairs 5 x 5", "normal dense 50 x 50"):
        found = gaussian_information(*every[name].sample(5000, rng))[0]
        assert found == pytest.approx(every[name].truth, abs=0.1)
    for name in ("Student 2 x 2, 1 df", "Student 5 x 5, 3 df"):
        found = student_copula(*every[name].sample(3000, rng)).value
        assert found == pytest.approx(every[name].truth, abs=0.05)
    for name in ("additive noise .1", "additive noise .75", "Swiss roll 2 x 1"):
        assert ksg(*every[name].sample(3000, rng)) == pytest.approx(every[name].truth, abs=0.1)
    for name in ("labels to normal 1", "labels to uniform"):
        found = ross_terms(*every[name].sample(3000, rng)).mean()
        assert found == pytest.approx(every[name].truth, abs=0.08)
    assert student(1, 10**6, 0.5).truth == pytest.approx(pairs(1, 1, 0.5).truth, abs=1e-5)


def test_it_goes_on_where_it_stopped(tmp_path):
    first = measure(tmp_path, budget=1e9, sizes=(200,), only=("plug_in",))
    assert first["missing"] == 0
    assert len(first["rows"]) == 3
    assert [row["law"] for row in first["repeats"]] == ["independent", "weak"]
    path = tmp_path / "estimators.json"
    kept = json.loads(path.read_text())
    kept["rows"] = kept["rows"][:2]
    path.write_text(json.dumps(kept))
    assert measure(tmp_path, budget=-1.0, sizes=(200,), only=("plug_in",))["missing"] == 1
    again = measure(tmp_path, budget=1e9, sizes=(200,), only=("plug_in",))
    assert [row["value"] for row in again["rows"]] == [row["value"] for row in first["rows"]]
    assert "| plug_in | none |" in page(again).markdown()


def test_a_bound_above_the_truth_is_seen():
    law = Law("discrete", "continuous", 0.0, lambda n, rng: (rng.integers(2, size=n),) * 2)
    row = measure_cell(law, "wrong truth", 300, "usable_information", 0)
    assert broken_bounds([row]) == (1, 1)
    row = measure_repeat(("gaussian", "independent", 400), 40)
    assert 0.85 <= row["within"] <= 1


def test_the_committed_results_have_no_broken_bound():
    made = json.loads((RESULTS / "estimators.json").read_text())
    known = {(row["law"], row["n"], row["estimator"], row["seed"]) for row in made["rows"]}
    assert set(cells()) - known <= {cell for cell in cells() if cell[2] != "automatic"}
    assert broken_bounds(made["rows"])[0] == 0


def test_what_learns_is_measured_with_three_seeds():
    seeds = {name: {cell[3] for cell in cells() if cell[2] == name} for name in ("flow", "ksg_1")}
    assert seeds == {"flow": {0, 1, 2}, "ksg_1": {0}}


def test_another_environment_gets_the_same_sample(tmp_path):
    python = tmp_path / "python"
    asked = "import numpy, sys; print(numpy.load(sys.argv[1])['x'].sum())"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{asked}" "$4"\n')
    python.chmod(0o755)
    law = tasks()["normal 1 x 1"]
    row = measure_cell(law, "normal 1 x 1", 200, "bmi_ksg", 0, str(python))
    assert row["value"] == law.sample(200, np.random.default_rng([0, 200]))[0].sum()
    assert (row["low"], row["certificate"]) == (None, "none")
    bmi = {cell[2] for cell in peer_cells(BMI)}
    assert bmi == set(BMI)
