"""The measurement of cost measures both arms on the same requests, and its ratio is a ratio."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.latency import latencies, measure
from benchmarks.studies.training_cost import ratio
from scoter.errors import ConfigError, DataError
from scoter.stages.finished import find_methods
from scoter.storage.store import Artefact, Store


def test_a_ratio_of_paired_times_does_not_see_what_slows_both() -> None:
    rng = np.random.default_rng(0)
    load = rng.lognormal(0, 1, 400)
    found = ratio((1.2 * load).tolist(), load.tolist(), np.median)
    assert [found[name] for name in ("mean", "low", "high")] == pytest.approx([1.2] * 3)


def test_latencies_of_two_bundles(bundles: dict[str, Path]) -> None:
    found = latencies({name: bundles[name] for name in ("tiger", "scoter")}, "scoter", 12, 1)
    assert (found["requests"], found["threads"], found["language_model_calls"]) == (12, 1, 0)
    for name in ("tiger", "scoter"):
        assert 0 < found[name]["p50"] <= found[name]["p99"]
    assert found["p50_ratio"]["low"] <= found["p50_ratio"]["mean"] <= found["p50_ratio"]["high"]
    assert found["p50_ratio"]["mean"] == pytest.approx(
        found["scoter"]["p50"] / found["tiger"]["p50"]
    )


def test_what_cannot_be_compared_is_named(finished: tuple[Store, Artefact], tmp_path: Path) -> None:
    run = finished[1].path
    assert list(find_methods([run], ("tiger", "scoter"))) == ["tiger", "scoter"]
    with pytest.raises(ConfigError, match="no run given has a method 'control-bag'"):
        measure([run], "control-bag", results=tmp_path)
    with pytest.raises(DataError, match="holds no finished run"):
        find_methods([tmp_path], ("tiger",))
