"""The measurement of training on a GPU, tried on a processor."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.speed import gpu
from benchmarks.speed.__main__ import main
from benchmarks.speed.gpu import Method
from benchmarks.speed.work import random_ids, uniform_log
from scoter.config import MethodConfig, TigerConfig, TrainingConfig
from scoter.errors import ConfigError
from scoter.models.backbones.tiger import Tiger
from scoter.transfer.fusion import StructuredFusion
from scoter.types import ReasoningPattern, Step, StepEmbeddings

SIZE = TigerConfig(dim=8, layers=1, heads=2, head_dim=4, feed_forward=16, max_items=6)
SETTINGS = gpu.Settings(device="cpu", equal_steps=9, timed_steps=4)
RNG = np.random.default_rng(0)
LOG = uniform_log(RNG.integers(2, 12, 30), 40, RNG)


def small(name: str, settings: gpu.Settings) -> Method:
    """A method that reads chains, made without the stages of a run."""
    bags = np.arange(2 * len(LOG.items) + 1)
    vectors = RNG.normal(size=(len(bags) - 1, 4)).astype(np.float32)
    pattern = ReasoningPattern((Step("a"), Step("b")))
    table = StepEmbeddings(vectors, bags[:-1], bags, LOG.offsets, pattern, "none")
    torch.manual_seed(0)
    model = Tiger(replace(SIZE, dropout=0.3, softmax="trie"), random_ids(40, 0))
    model.attach(StructuredFusion(2, 4, 8, 1, 2))
    made = object.__new__(Method)
    made.settings, made.train = settings, LOG
    made.config = MethodConfig(model.config, TrainingConfig(batch_targets=30, precision="fp32"))
    made.opened = (model, None, table)
    return made


def test_steps_in_fixed_shapes_differ_from_plain_ones_by_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "Method", small)
    monkeypatch.setattr(gpu, "ranked_per_second", lambda method: {"512": 1.0})
    lines: list[str] = []
    made = gpu.measure(SETTINGS, ["scoter"], tmp_path, lines.append)
    assert made == json.loads((tmp_path / "gpu.json").read_text())
    losses, speed = made["scoter"]["losses"], made["scoter"]["steps_per_second"]
    assert 0 < losses["from_plain"] < 1e-5
    assert 0 < losses["by_order"] < 1e-5
    assert losses["from_unrecorded"] == 0  # nothing is recorded here
    assert len(speed["plain"]) == len(speed["recorded"]) == SETTINGS.repeats
    assert min(speed["plain"] + speed["recorded"]) > 0
    assert len(lines) == 1
    assert lines[0].startswith("scoter")


def test_a_change_of_arithmetic_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Biased(gpu.FixedStepReader):
        def _means(self, *bags: Any) -> Any:
            return super()._means(*bags) * 1.01 + 0.01

    monkeypatch.setattr(gpu, "FixedStepReader", Biased)
    assert gpu.differences(small("scoter", SETTINGS))["from_plain"] > 1e-5


def test_a_method_that_is_not_measured_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="--methods 'nix' is not measured; choose from: "):
        gpu.Method("nix", SETTINGS)


def test_runs_are_kept_as_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[list[str]] = []

    def loops(count: int, words: list[str], logs: Path, look: Callable[[], None]) -> int:
        assert count == 3
        assert {"--only=beauty/*/0", "--device=cpu", "--budget-minutes=2.00"} <= set(words)
        for run in ("a", "b"):
            (tmp_path / "store" / "run" / run).mkdir(parents=True)
            (tmp_path / "store" / "run" / run / "run.json").write_text("{}")
            look()  # it is not done without its manifest
            (tmp_path / "store" / "run" / run / "manifest.json").write_text("{}")
            look()
            with ZipFile(tmp_path / "out" / "runs.zip") as runs:
                names.append(sorted(name for name in runs.namelist() if name.endswith("n.json")))
        return 0

    monkeypatch.setattr(gpu, "side_by_side", loops)
    settings = replace(SETTINGS, store=tmp_path / "store")
    gpu.train_cells(settings, ["beauty/*/0"], 3, 2.0, tmp_path / "out", print)
    assert names == [["a/run.json"], ["a/run.json", "b/run.json"]]


def test_the_command_trains_cells_in_what_is_left_of_its_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(gpu, "measure", lambda *of: given.append(of))
    monkeypatch.setattr(gpu, "train_cells", lambda *of: given.append(of))
    words = ["gpu", "--minutes", "3", "--device", "cpu", "--methods", "tiger", "--at-once", "2"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    (settings, methods, out, _), (_, only, at_once, minutes, *_) = given
    assert (settings.dataset, settings.device, methods, out) == (
        "beauty",
        "cpu",
        ["tiger"],
        tmp_path,
    )
    assert (only, at_once) == ((), 2)
    assert 2.1 < minutes <= 2.25
