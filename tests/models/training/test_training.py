"""A run that is killed and resumed equals the run that was not, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scoter.config import SasrecConfig, TigerConfig, TrainingConfig
from scoter.errors import StoreError
from scoter.models.backbones.sasrec import SASRec
from scoter.models.backbones.tiger import Tiger
from scoter.models.training import loop as training
from scoter.models.training.batches import cut_windows, training_batches
from scoter.models.training.workers import Workers
from scoter.types import InteractionLog, SemanticIds

BUDGET = TrainingConfig(
    epochs=4, batch_targets=10, evaluate_every=2, learning_rate=1e-2, precision="fp32"
)
LOG = InteractionLog(
    np.random.default_rng(0).integers(0, 8, 50), np.arange(11) * 5, tuple(map(str, range(10)))
)
IDS = SemanticIds(np.array([(a, b) for a in range(4) for b in range(2)]), (4, 2))


class Killed(Exception):
    pass


def make(kind: str, dropout: float = 0.3) -> torch.nn.Module:
    torch.manual_seed(1)
    if kind == "tiger":
        return Tiger(
            TigerConfig(dim=8, layers=1, heads=2, head_dim=4, feed_forward=16, dropout=dropout), IDS
        )
    return SASRec(
        SasrecConfig(
            dim=8, layers=1, heads=2, loss="bce" if kind == "bce" else "ce", dropout=dropout
        ),
        8,
    )


def train(
    kind: str,
    scratch: Path,
    kill_at: int = 0,
    config: TrainingConfig = BUDGET,
    workers: Workers | None = None,
    dropout: float = 0.3,
) -> tuple[torch.nn.Module, training.TrainingLog]:
    model = make(kind, dropout)
    windows = cut_windows(LOG, 6)

    def on_step(step: int) -> None:
        if step == kill_at:
            raise Killed

    (probe,) = training_batches(LOG, windows, 1000, 0)

    def evaluate() -> dict[str, float]:
        model.eval()
        return {"ndcg@10": float(torch.exp(-model.loss(probe).detach()))}

    log = training.fit(
        model,
        lambda epoch: training_batches(LOG, windows, config.batch_targets, epoch),
        lambda batch: model.loss(batch),
        evaluate,
        config,
        seed=3,
        scratch=scratch,
        label=kind,
        on_step=on_step,
        workers=workers,
    )
    return model, log


@pytest.mark.parametrize("kind", ["tiger", "ce", "bce"])
@pytest.mark.parametrize("kill_at", [1, 7, 10])
def test_resumed_equals_uninterrupted(
    kind: str, kill_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, whole_log = train(kind, tmp_path / "whole")
    ticks = iter(range(0, 10**6, 100))
    monkeypatch.setattr(
        training.time, "monotonic", lambda: next(ticks)
    )  # a checkpoint after every step
    with pytest.raises(Killed):
        train(kind, tmp_path / "killed", kill_at)
    resumed, resumed_log = train(kind, tmp_path / "killed")
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name
    assert [entry["loss"] for entry in whole_log.curve] == [
        entry["loss"] for entry in resumed_log.curve
    ]


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    training.save_weights(make("tiger"), tmp_path / "weights.safetensors")
    with pytest.raises(
        StoreError,
        match=r"weights\.safetensors does not hold the weights of this model .*train it again",
    ):
        training.load_weights(make("ce"), tmp_path / "weights.safetensors")


def test_loss_falls_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    _, log = train("tiger", tmp_path)
    assert log.curve[-1]["loss"] < log.curve[0]["loss"]
    assert log.best_epoch in (2, 4)
    assert log.cpu_seconds > 0


def test_early_stop_after_patience(tmp_path: Path) -> None:
    model, windows = make("tiger"), cut_windows(LOG, 6)
    config = replace(BUDGET, epochs=20, evaluate_every=1, patience=2)
    log = training.fit(
        model,
        lambda epoch: training_batches(LOG, windows, 10, epoch),
        lambda batch: model.loss(batch),
        lambda: {"ndcg@10": 0.5},
        config,
        seed=0,
        scratch=tmp_path,
        label="stop",
    )
    assert (log.epochs, log.best_epoch) == (3, 1)


def test_only_the_models_own_tables_learn_at_the_embedding_rate_and_no_vector_decays() -> None:
    config = replace(BUDGET, embedding_rate=10.0, weight_decay=0.1)
    model = make("tiger")
    tables, matrices, vectors = training.parameter_groups(model, config)
    assert [id(table) for table in tables["params"]] == [id(model.embedding.weight)]
    assert (tables["lr"], matrices["lr"], vectors["lr"]) == (pytest.approx(0.1), 1e-2, 1e-2)
    assert all(vector.ndim < 2 for vector in vectors["params"])
    assert vectors["weight_decay"] == 0.0
    counts = [sum(p.numel() for p in group["params"]) for group in (tables, matrices, vectors)]
    assert sum(counts) == sum(p.numel() for p in model.parameters())


def test_the_embedding_rate_moves_the_embedding_as_much_faster(tmp_path: Path) -> None:
    start = make("tiger").embedding.weight.detach()
    moved = []
    for rate in (1.0, 10.0):
        config = replace(
            BUDGET,
            epochs=1,
            evaluate_every=1,
            embedding_rate=rate,
            weight_decay=0.0,
            learning_rate=1e-4,
        )
        (tmp_path / str(rate)).mkdir()
        model, _ = train("tiger", tmp_path / str(rate), config=config)
        moved.append(float((model.embedding.weight.detach() - start).abs().mean()))
    assert moved[1] / moved[0] == pytest.approx(10, rel=0.1)
