"""`python -m benchmarks exact` on a small simulated run, from its folder alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.studies.exact import measure
from scoter import pipeline
from scoter.config import with_overrides
from scoter.errors import ConfigError, DataError
from scoter.experiments import experiment
from scoter.storage.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = [
        "data.simulated.users=120",
        "methods.*.training.epochs=1",
        "methods.*.training.evaluate_every=1",
    ]
    smoke = with_overrides(experiment("simulated-smoke"), tiny)
    smoke = replace(
        smoke, methods={name: smoke.methods[name] for name in ("popularity", "tiger", "scoter")}
    )
    return pipeline.run(smoke, store=Store(tmp_path_factory.mktemp("store"))).path


def test_rows_for_each_beam_and_a_second_time_replaces_them(run: Path, tmp_path: Path) -> None:
    printed = CliRunner().invoke(
        main,
        ["exact", str(run), "--users", "30", "--results", str(tmp_path)],
        catch_exceptions=False,
    )
    assert printed.output.count("of the exact top ten") == 3
    rows = json.loads((tmp_path / "exact.json").read_text())
    assert [row["beams"] for row in rows] == [10, 20, 50]
    overlaps = [row["overlap"] for row in rows]
    assert 0 < overlaps[0] <= overlaps[1] <= overlaps[2] <= 1
    assert all(row["users"] == 30 and row["exact_cpu_seconds"] > 0 for row in rows)
    assert all(
        row["encoder_influence"] > 0 and row["encoder_influence_of_another"] > 0 for row in rows
    )
    measure(run, "scoter", 30, results=tmp_path)
    measure(run, "tiger", 30, results=tmp_path)
    after = json.loads((tmp_path / "exact.json").read_text())
    assert [(row["method"], row["beams"]) for row in after] == [
        (name, b) for name in ("scoter", "tiger") for b in (10, 20, 50)
    ]
    assert [row["overlap"] for row in after[3:]] == overlaps


def test_what_cannot_be_measured_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no finished run"):
        measure(tmp_path)
    with pytest.raises(
        ConfigError,
        match="method = 'popularity' is no TIGER of this run; choose from: scoter, tiger",
    ):
        measure(run, "popularity", results=tmp_path)
