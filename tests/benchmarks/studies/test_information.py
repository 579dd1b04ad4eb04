"""Usable information of chains: a simulated run from its folder, and forms that lose exactly what
they should."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.studies import information
from scoter import pipeline
from scoter.config import with_overrides
from scoter.errors import ConfigError, DataError
from scoter.experiments import experiment
from scoter.stages.finished import FinishedRun
from scoter.storage.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = [
        "data.simulated.users=150",
        "methods.*.training.epochs=1",
        "methods.*.training.evaluate_every=1",
    ]
    smoke = with_overrides(experiment("simulated-smoke"), tiny)
    smoke = replace(smoke, methods={name: smoke.methods[name] for name in ("popularity", "scoter")})
    return pipeline.run(smoke, store=Store(tmp_path_factory.mktemp("store"))).path


@pytest.mark.slow
def test_rows_of_a_finished_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information, "VECTOR_DIMS", 6)
    printed = CliRunner().invoke(
        main, ["information", str(run), "--results", str(tmp_path)], catch_exceptions=False
    )
    found = json.loads((tmp_path / "information.json").read_text())
    over = [row["name"] for row in found["rows"] if row["kind"] == "over"]
    assert over == [
        "mean pool",
        "position-tagged pool",
        "bag",
        "last step only",
        "another user's chain",
        "fresh shuffle",
        information.NULL,
    ]
    assert sum(row["kind"] == "prefix" for row in found["rows"]) == len(found["pattern"])
    assert all(
        row["low"] <= row["nats"] <= row["high"] and row["n"] == found["users"]
        for row in found["rows"]
    )
    assert printed.output.count("\n") == len(found["rows"])
    assert found["split"] == "valid"


def planted(order: bool, n: int = 1000) -> information.Chains:
    """Two steps of sign vectors; the target's token is read off the difference of the steps, or off
    their sum."""
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((n, 2, 4))
    reading = steps[:, 0] - steps[:, 1] if order else steps[:, 0] + steps[:, 1]
    targets = (2 * reading + rng.gumbel(size=(n, 4))).argmax(1)
    return information.Chains(
        pattern=["first", "second"],
        steps=steps,
        named=np.full((n, 2), -1),
        seen=rng.standard_normal((n, 3)),
        targets=targets,
        users=np.arange(n),
        codes=np.arange(4)[:, None],
        items=np.eye(4),
        counts=np.ones(4),
    )


@pytest.mark.parametrize("order", [True, False])
def test_a_pool_loses_the_difference_of_steps_and_nothing_of_their_sum(
    order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(information, "VECTOR_DIMS", 4)
    rows = {(row["kind"], row["name"]): row for row in information.rows_of(planted(order), seed=0)}
    whole = rows["whole", "ordered chain over the history"]["nats"]
    assert whole > 0.3
    for form in ("mean pool", "fresh shuffle"):
        lost = rows["over", form]
        if order:
            assert lost["nats"] > 0.8 * whole
    assert abs(rows["over", information.NULL]["nats"]) < 0.03
    if not order:
        assert (
            abs(rows["over", "mean pool"]["nats"] - rows["over", information.NULL]["nats"]) < 0.03
        )
    assert rows["over", "another user's chain"]["nats"] == pytest.approx(whole, abs=0.05)
    prefixes = [row["nats"] for (kind, _), row in rows.items() if kind == "prefix"]
    assert min(prefixes) > 0.05
    assert sum(prefixes) == pytest.approx(whole, abs=0.05)


def test_what_cannot_be_measured_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="holds no finished run"):
        information.measure(tmp_path)
    bare = tmp_path / "run" / "bare"
    bare.mkdir(parents=True)
    (bare / "manifest.json").write_text("{}")
    (bare / "run.json").write_text(json.dumps({"artefacts": {}}))
    with pytest.raises(DataError, match="holds no finished run"):
        information.measure(bare)
    monkeypatch.setattr(FinishedRun, "outcome", {"artefacts": {}})
    with pytest.raises(ConfigError, match="none of its methods reads chains"):
        information.measure(run)
