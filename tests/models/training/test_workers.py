"""Two processes train as one does, and one goes on where two stopped."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from parallel_fit import STEADY
from safetensors.torch import load_file
from test_training import LOG, make, train

from scoter.errors import ConfigError
from scoter.models.training.batches import cut_windows, training_batches
from scoter.models.training.precision import resolve_device
from scoter.models.training.workers import DataParallel

HERE = Path(__file__).parent
needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None,
    reason="the package accelerate is absent (extra 'distributed')",
)


@pytest.mark.parametrize("kind", ["tiger", "ce"])
@pytest.mark.parametrize("world", [2, 7, 100])
def test_weighted_gradients_of_the_shares_are_that_of_the_batch(kind: str, world: int) -> None:
    model = make(kind, dropout=0.0).eval()
    (batch,) = training_batches(LOG, cut_windows(LOG, 6), 1000, 0)
    model.loss(batch).backward()
    whole = [
        parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None
    ]
    model.zero_grad()
    parts = [
        part for part in (batch.share(rank, world) for rank in range(world)) if part.target_count
    ]
    assert sum(part.target_count for part in parts) == batch.target_count
    for part in parts:
        (model.loss(part) * (part.target_count / batch.target_count)).backward()
    for ours, expected in zip(
        [p.grad for p in model.parameters() if p.grad is not None], whole, strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    wanted = "torchrun" if importlib.util.find_spec("accelerate") else r"scoter\[distributed\]"
    with pytest.raises(ConfigError, match=wanted):
        DataParallel()
    with pytest.raises(ConfigError, match="choose cpu or cuda"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds 0 GPUs"):
            resolve_device("cuda")


def test_one_process_never_loads_accelerate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)  # an import of it would fail
    _, log = train("ce", tmp_path)
    assert (log.workers, log.device) == (1, "cpu")


def together(folder: Path, kind: str, kill_at: int = 0) -> None:
    """Two gloo processes."""
    folder.mkdir(exist_ok=True)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    given = [str(HERE / "parallel_fit.py"), str(folder), kind, str(kill_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *given], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr


def losses(curve: list[dict[str, float]]) -> np.ndarray:
    return np.array([entry["loss"] for entry in curve])


@needs_accelerate
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["tiger", "ce"])
def test_two_processes_have_the_loss_curve_of_one(kind: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    _, log = train(kind, tmp_path / "one", config=STEADY, dropout=0.0)
    together(tmp_path / "two", kind)
    curve = json.loads((tmp_path / "two" / "curve.json").read_text())
    assert len(curve) == STEADY.epochs
    np.testing.assert_allclose(losses(curve), losses(log.curve), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        [e["ndcg@10"] for e in curve], [e["ndcg@10"] for e in log.curve], rtol=0, atol=1e-5
    )
    ours, other = (load_file(tmp_path / "two" / f"weights-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(ours[name], other[name]) for name in ours)
    # Two that are killed and go on leave the same bytes; one that goes on for two leaves the same
    # curve.
    together(tmp_path / "killed", kind, kill_at=7)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "checkpoint.safetensors").write_bytes(
        (tmp_path / "killed" / "checkpoint.safetensors").read_bytes()
    )
    together(tmp_path / "killed", kind)
    again = load_file(tmp_path / "killed" / "weights-0.safetensors")
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    _, resumed = train(kind, tmp_path / "alone", config=STEADY, dropout=0.0)
    assert resumed.workers == 1
    np.testing.assert_allclose(losses(resumed.curve), losses(log.curve), rtol=0, atol=1e-5)


@pytest.mark.slow
@needs_accelerate
def test_the_whole_command_runs_in_two_processes(tmp_path: Path) -> None:
    small = (
        "data.simulated.users=150",
        "methods.*.training.epochs=1",
        "methods.*.training.evaluate_every=1",
    )
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "scoter.cli.main",
        "run",
        "simulated-smoke",
    ]
    command = [
        *launch,
        "--data-parallel",
        "--store",
        str(tmp_path),
        "--json",
        *(part for one in small for part in ("--set", one)),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    json.loads(done.stdout)  # one object: only the first process prints
    (run,) = (tmp_path / "run").glob("*/run.json")
    methods = json.loads(run.read_text())["methods"]
    assert {name: one["workers"] for name, one in methods.items() if one["epochs"]} == {
        "tiger": 2,
        "tiger-meanpool": 2,
        "scoter": 2,
    }
