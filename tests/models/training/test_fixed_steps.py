"""Padded steps equal plain ones, and no shape in them depends on what a tensor holds."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from test_devices import MODELS, SMALL, chains, reading
from test_training import BUDGET, IDS, LOG
from torch.utils._python_dispatch import TorchDispatchMode

from scoter.config import Gru4RecConfig, SasrecConfig, TigerConfig
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
from scoter.transfer.collapse import ConcatenationFusion, MeanPoolFusion, TaggedPoolFusion
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.randomise import NoiseFusion, ShuffledFusion
from scoter.types import StepEmbeddings

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


@pytest.mark.parametrize("kind", ["tiger", "sasrec"])
def test_two_hundred_padded_steps_have_the_losses_of_plain_ones(kind: str) -> None:
    shop = simulate(users=400, seed=0)
    log, items = leave_one_out(shop.log).train, shop.catalog.item_count
    windows = cut_windows(log, 6)
    batches = [batch for epoch in range(40) for batch in training_batches(log, windows, 128, epoch)]
    losses = []
    for padded in (False, True):
        torch.manual_seed(2)
        model = build(kind, items)
        descent = Descent(model, replace(BUDGET, learning_rate=1e-3), 200)
        step = partial(descent.descend, model.loss)
        if padded:
            step = FixedSteps(step, batches[:10], CPU)
        losses.append([])
        for number, batch in enumerate(batches[:200]):
            descent.set_rates(number)
            losses[-1].append(float(step(batch)))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[0][-1] < losses[0][0]
