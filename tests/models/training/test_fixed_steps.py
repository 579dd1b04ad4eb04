"""Padded steps equal plain ones, and no shape in them depends on what a tensor holds."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from test_devices import MODELS, SMALL, chains, reading
from test_training import BUDGET, IDS, LOG
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.work import random_ids
from scoter.config import Gru4RecConfig, SasrecConfig, SimulatedConfig, TigerConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.models.backbones.gru4rec import GRU4Rec
from scoter.models.backbones.sasrec import SASRec
from scoter.models.backbones.tiger import Tiger
from scoter.models.step_reader import FixedStepReader, StepReader
from scoter.models.training import fixed_steps
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.models.training.fixed_steps import FixedSteps, Frame
from scoter.models.training.loop import Descent
from scoter.transfer.collapse import (
    ConcatenationFusion,
    MeanPoolFusion,
    NoiseFusion,
    ShuffledFusion,
    TaggedPoolFusion,
)
from scoter.transfer.fusion import StructuredFusion
from scoter.types import InteractionLog, StepEmbeddings

CPU = torch.device("cpu")
TRIE = TigerConfig(**SMALL, softmax="trie", repeat_bias=True)


def tiger_with(kind: Callable[..., Any], **options: Any) -> Tiger:
    return reading(Tiger(TRIE, IDS), kind(2, 4, 8, 1, 2, dropout=0.0, **options))


ALL = {
    **MODELS,
    "gru4rec": lambda: GRU4Rec(Gru4RecConfig(dim=8, dropout=0.0), 8),
    "tiger with votes": lambda: tiger_with(StructuredFusion, votes=True),
    "tiger with causal steps": lambda: tiger_with(StructuredFusion, roles=[0, 1]),
    "sasrec with votes": lambda: reading(
        SASRec(SasrecConfig(dim=8, layers=1, dropout=0.0), 8),
        StructuredFusion(2, 4, 8, 1, 2, dropout=0.0, votes=True),
    ),
    "mean pool": lambda: tiger_with(MeanPoolFusion),
    "tagged pool": lambda: tiger_with(TaggedPoolFusion),
    "concatenation": lambda: tiger_with(ConcatenationFusion),
}
RANDOM = {
    "negatives": lambda: SASRec(SasrecConfig(dim=8, loss="bce"), 8),
    "noise": lambda: tiger_with(NoiseFusion),
    "shuffled": lambda: tiger_with(ShuffledFusion),
    "dropout": lambda: Tiger(replace(TRIE, dropout=0.3), IDS),
}


def naming() -> StepEmbeddings:
    table = chains()
    return replace(table, named=np.arange(len(table.vectors)) % 8)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ALL)
def test_a_padded_batch_has_the_loss_and_the_gradients_of_the_batch(
    name: str, smoothing: float
) -> None:
    torch.manual_seed(1)
    model, table = ALL[name](), naming()
    windows = cut_windows(LOG, 4)  # some start before their first target
    (batch,) = training_batches(LOG, windows, 1000, 0)
    part = ItemBatch(*(each[-7:] for each in batch))
    frame = Frame(9, part.is_target.shape[1] + 1, CPU)
    frame.fill(batch.share(0, 5))
    frame.fill(part)  # nothing of the batch before is left
    plain, fixed = StepReader(table), FixedStepReader(table)
    found = []
    for asked, reader in ((part, plain), (frame.batch, fixed)):
        model.zero_grad()
        loss = model.loss(asked, reader if model.fusion is not None else None, smoothing)
        loss.backward()
        found.append((loss, [p.grad for p in model.parameters() if p.grad is not None]))
    (loss, gradients), (padded, others) = found
    torch.testing.assert_close(padded, loss, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(others, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["tiger", "scoter", "sasrec"])
def test_two_hundred_padded_steps_have_the_losses_of_plain_ones(kind: str) -> None:
    shop = simulate(SimulatedConfig(users=300, items_per_cell=2), 0)
    log, ids = leave_one_out(shop.log).train, random_ids(shop.catalog.item_count, 0)
    windows, chain = cut_windows(log, 6), chains_of(log)
    batches = [batch for epoch in range(20) for batch in training_batches(log, windows, 128, epoch)]
    found = []
    for padded in (False, True):
        torch.manual_seed(2)
        model = Tiger(TRIE, ids)
        if kind == "sasrec":
            model = SASRec(SasrecConfig(dim=8, layers=1, dropout=0.0), shop.catalog.item_count)
        elif kind == "scoter":
            reading(model, StructuredFusion(2, 4, 8, 1, 2, dropout=0.0, votes=True))
        steps = (FixedStepReader if padded else StepReader)(chain)
        loss = partial(model.loss, steps=steps if model.fusion is not None else None)
        descent = Descent(model, replace(BUDGET, learning_rate=1e-3), 200)
        step: Callable[[ItemBatch], Tensor] = partial(descent.descend, loss)
        step = FixedSteps(step, batches, CPU) if padded else step
        found.append(losses_of(descent, step, batches[:200]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert len(found[0]) == 200
    assert found[0][-1] < found[0][0]


def losses_of(
    descent: Descent, step: Callable[[ItemBatch], Tensor], batches: list[ItemBatch]
) -> list[float]:
    losses = []
    for number, batch in enumerate(batches):
        descent.set_rates(number)
        losses.append(float(step(batch)))
    return losses


def chains_of(log: InteractionLog) -> StepEmbeddings:
    """Up to three random sentences in each of two steps of every prefix."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 2 * len(log.items))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, 80, offsets[-1])
    return replace(naming(), indices=indices, offsets=offsets, starts=log.offsets)


DEPENDS_ON_VALUES = re.compile(
    "_local_scalar_dense|nonzero|masked_select|repeat_interleave.Tensor|equal|bincount|_?unique"
)


class NothingWaits(TorchDispatchMode):
    """Refuses what a recording on a GPU refuses: shapes and numbers that come from what a tensor
    holds, and tensors made from numbers on the processor."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = str(function).removeprefix("aten.")
        indices = args[1] if name.startswith(("index.", "index_put", "_index_put")) else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        if by_mask or DEPENDS_ON_VALUES.match(name) or name.startswith("lift_fresh"):
            raise AssertionError(f"{function} has to know what a tensor holds")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*ALL, *RANDOM])
def test_no_shape_of_a_whole_step_depends_on_what_a_tensor_holds(name: str, precision: str) -> None:
    torch.manual_seed(1)
    model, reader = {**ALL, **RANDOM}[name](), FixedStepReader(naming())
    batches = training_batches(LOG, cut_windows(LOG, 4), 12, 0)
    loss = partial(model.loss, steps=reader if model.fusion is not None else None)
    descent = Descent(model, replace(BUDGET, precision=precision), 10)
    step = FixedSteps(partial(descent.descend, loss), batches, CPU)
    step(batches[0])
    with NothingWaits():
        length = fixed_steps.padded_length(batches[0].is_target.shape[1], step.most)
        descent.descend(loss, step.frames[length].batch)
        with pytest.raises(AssertionError, match="what a tensor holds"):
            descent.descend(loss, batches[0])


def test_a_reader_of_fixed_shapes_reads_what_the_other_one_reads() -> None:
    table = chains_of(LOG)
    plain, fixed = StepReader(table), FixedStepReader(table)
    users = torch.arange(10).repeat_interleave(8)
    lengths = torch.arange(8).repeat(10)  # 0 and 6, 7 have no chain
    values, mask = plain.read(users, lengths)
    found, there = fixed.read(users, lengths)
    assert torch.equal(there, mask)
    torch.testing.assert_close(found, values)
    distinct, place, there = fixed.read_shared(users, lengths)
    assert torch.equal(there, mask)
    torch.testing.assert_close(distinct[place], values)
    assert torch.equal(fixed.named(users, lengths), plain.named(users, lengths))


class Graph:
    """A stand-in for a CUDA graph; it counts its replays."""

    replays = 0

    def pool(self) -> None: ...

    def replay(self) -> None:
        Graph.replays += 1


def recorded(monkeypatch: pytest.MonkeyPatch, refuses: bool) -> tuple[FixedSteps, ItemBatch]:
    """Steps on the processor that take it for a GPU; each gives its number as its loss."""

    @contextmanager
    def record(*of: Any) -> Iterator[None]:
        yield
        if refuses:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    numbers, batches = iter(range(9)), training_batches(LOG, cut_windows(LOG, 4), 1000, 0)
    steps = FixedSteps(lambda batch: torch.tensor(next(numbers)), batches, CPU)
    steps.recording = True
    return steps, batches[0]


def test_a_shape_is_run_once_then_recorded_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, batch = recorded(monkeypatch, refuses=False)
    Graph.replays = 0
    assert [int(steps(batch)) for _ in range(4)] == [0, 1, 1, 1]  # recorded once, as number 1
    assert Graph.replays == 3


def test_what_cannot_be_recorded_is_said_once_and_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps, batch = recorded(monkeypatch, refuses=True)
    assert [int(steps(batch)) for _ in range(4)] == [0, 2, 3, 4]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "which is slower: operation not permitted when stream is capturing" in said[0]
