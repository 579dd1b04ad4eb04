"""The same models on a real GPU and on the processor; skipped where there is no GPU."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_devices import HISTORIES, MODELS, chains
from test_training import LOG
from torch import Tensor

from scoter.config import Gru4RecConfig, TrainingConfig
from scoter.models.backbones.gru4rec import GRU4Rec
from scoter.models.layers import Dropout
from scoter.models.step_reader import FixedStepReader, StepReader
from scoter.models.training import loop as training
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.models.training.fixed_steps import FixedSteps

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
ALL = {**MODELS, "gru4rec": lambda: GRU4Rec(Gru4RecConfig(dim=8, dropout=0.0), 8)}


@pytest.mark.parametrize("name", ALL)
def test_a_gpu_gives_the_losses_gradients_and_items_of_the_processor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = training_batches(LOG, cut_windows(LOG, 4), 1000, 0)
    found = {}
    monkeypatch.setattr(
        torch.backends.cudnn, "allow_tf32", False
    )  # to which cuDNN rounds a GRU's products
    for device in (torch.device("cpu"), torch.device("cuda", 0)):
        torch.manual_seed(1)
        model = ALL[name]().to(device)
        steps = StepReader(chains(), device) if model.fusion is not None else None
        with training.placed(device):
            loss = model.loss(batch.to(device), steps)
        loss.backward()
        gradients = [
            parameter.grad.cpu() for parameter in model.parameters() if parameter.grad is not None
        ]
        ranked = model.recommend(HISTORIES, 5, steps)
        found[device.type] = (loss.detach().cpu(), gradients, ranked)
    (loss, gradients, ranked), (expected, references, rankings) = found["cuda"], found["cpu"]
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(gradients, references, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ranked.items, rankings.items)
    np.testing.assert_allclose(ranked.scores, rankings.scores, atol=1e-4)


def test_dropout_on_a_gpu_keeps_the_mean_and_drops_at_the_rounded_rate() -> None:
    dropout, ones = Dropout(0.2), torch.ones(1 << 20, device="cuda")
    for dropped in (dropout(ones), dropout.add(torch.zeros_like(ones), ones)):
        assert abs(float((dropped == 0).float().mean()) - 51 / 256) < 0.002
        assert abs(float(dropped.mean()) - 1) < 0.002
    dropout.eval()
    assert torch.equal(dropout(ones), ones)


@pytest.mark.parametrize("padded", [False, True])
def test_training_that_is_cut_off_on_a_gpu_goes_on_as_if_it_had_not_been(
    padded: bool, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    def train(folder: Path, cut_at: int = 0) -> dict[str, Tensor]:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(3)
        model = MODELS["tiger"]().to("cuda")
        windows = cut_windows(LOG, 4)

        def on_step(step: int) -> None:
            if step == cut_at:
                raise Cut

        training.fit(
            model,
            lambda epoch: training_batches(LOG, windows, 12, epoch),
            model.loss,
            lambda: {training.SELECTION_METRIC: 0.5},
            TrainingConfig(epochs=4, evaluate_every=1, patience=9, precision="fp32"),
            seed=5,
            scratch=folder,
            label="tiger",
            on_step=on_step,
            takes_padding=padded,
        )
        return {name: value.cpu() for name, value in model.state_dict().items()}

    whole = train(tmp_path / "whole")
    with pytest.raises(Cut):
        train(
            tmp_path / "cut", cut_at=2 * len(training_batches(LOG, cut_windows(LOG, 4), 12, 0)) + 1
        )
    resumed = train(tmp_path / "cut")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_recorded_steps_equal_the_same_steps_unrecorded(name: str) -> None:
    windows, device = cut_windows(LOG, 4), torch.device("cuda", 0)
    batches = [batch for seed in range(6) for batch in training_batches(LOG, windows, 12, seed)]
    found = []
    for recording in (False, True):
        torch.manual_seed(3)
        model = ALL[name]().to(device)
        for module in model.modules():
            if isinstance(module, Dropout):
                module.threshold = 64
        steps = FixedStepReader(chains(), device) if model.fusion is not None else None
        descent = training.Descent(model, TrainingConfig(learning_rate=1e-2), 100)
        step = FixedSteps(
            partial(descent.descend, partial(model.loss, steps=steps)), batches, device
        )
        step.recording = recording
        losses = []
        for number, batch in enumerate(batches):
            descent.set_rates(number)
            losses.append(step(batch).clone())
        assert any(frame.graph for frame in step.frames.values()) == recording
        found.append(torch.stack(losses).cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_a_step_that_cannot_be_recorded_is_said_and_dropout_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = torch.device("cuda", 0)
    weight = torch.ones(64, device=device, requires_grad=True)
    batches = training_batches(LOG, cut_windows(LOG, 4), 1000, 0)

    def waits(batch: ItemBatch) -> Tensor:
        dropped = torch.nn.functional.dropout(weight, 0.5).sum()
        return dropped if float(dropped) > -1 else weight.sum()

    steps = FixedSteps(waits, batches, device)
    losses = [float(steps(batches[0])) for _ in range(6)]
    assert len(set(losses)) > 1
    assert capsys.readouterr().err.count("run unrecorded") == 1
