"""Training: targets per CPU-second of `scoter.models.training.loop.fit` and of a T5 on windows."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from benchmarks.speed.timing import Clock, Sample
from benchmarks.speed.work import SIZE, SlidingWindows, Work, reference_batch, sliding_windows
from scoter.config import TigerConfig, TrainingConfig
from scoter.models.backbones.t5 import item_causal_mask, to_transformers
from scoter.models.backbones.tiger import Tiger
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.models.training.loop import fit, parameter_groups
from scoter.models.training.precision import autocast
from scoter.seeding import derive_seed
from scoter.types import InteractionLog, SemanticIds

REFERENCE_BATCH = 256
CONFIG = TrainingConfig()


def build(ids: SemanticIds, size: TigerConfig = SIZE, seed: int = 0) -> Tiger:
    """A TIGER with random weights."""
    torch.manual_seed(derive_seed(seed, "weights"))
    return Tiger(size, ids)


@dataclass(frozen=True, eq=False)
class OurTraining:
    """scoter's training loop, on some of an epoch's batches that hold all lengths in proportion.

    A small batch goes first and is not timed: it warms up, and makes the optimiser's state.
    Checkpoints are not timed.
    """

    work: Work
    model: Tiger
    precision: str
    batches: int  # in a repeat
    budget: int = CONFIG.batch_targets  # targets in a batch

    def __call__(self, repeat: int) -> Sample:
        log, most = self.work.log, self.model.config.max_items
        order = derive_seed(0, "batches", repeat)
        epoch = training_batches(log, cut_windows(log, most), self.budget, order)
        batches = [warm_up(log, most), *in_proportion(epoch, self.batches, repeat)]
        return time_steps(self.model, batches, self.precision)


def warm_up(log: InteractionLog, max_items: int) -> ItemBatch:
    """One small batch."""
    few = users_of(log, np.arange(4))
    return training_batches(few, cut_windows(few, max_items), 64, 0)[0]


def time_steps(model: nn.Module, batches: Sequence[ItemBatch], precision: str) -> Sample:
    """Train on `batches` with `fit` and time all steps but the first."""
    clocks, samples = list[Clock](), list[Sample]()
    units = sum(batch.target_count for batch in batches[1:])

    def on_step(step: int) -> None:
        if step == 1:
            clocks.append(Clock())
        if step == len(batches):
            samples.append(clocks[0].stop(units))

    config = TrainingConfig(epochs=1, precision="bf16" if precision == "bf16" else "fp32")
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            lambda epoch: batches,
            cast(Callable[[Any], torch.Tensor], model.loss),
            lambda: {"ndcg@10": 0.0},
            config,
            seed=0,
            scratch=Path(folder),
            label="speed",
            on_step=on_step,
        )
    return samples[0]


def in_proportion(batches: Sequence[ItemBatch], count: int, phase: int) -> list[ItemBatch]:
    """`count` batches of all lengths in proportion, others for each `phase`."""
    if count >= len(batches):
        return list(batches)
    ordered = sorted(batches, key=lambda batch: batch.items.shape[-1])
    return [ordered[place] for place in _spread(len(batches), count, phase)]


def _spread(total: int, count: int, phase: int) -> list[int]:
    places = (np.arange(count) + (0.5 + 0.618 * phase) % 1) * total / count
    return places.astype(int).tolist()


class ReferenceTraining:
    """The T5 of transformers as people run it: a sample per target, full attention in its encoder.

    Batches are random. With `similar` they hold windows of similar length, which people seldom do:
    less padding, the same function.
    """

    def __init__(
        self,
        work: Work,
        model: Tiger,
        precision: str,
        batches: int,
        rows: int = REFERENCE_BATCH,
        similar: bool = False,
    ) -> None:
        self.log, self.precision, self.count, self.rows = work.log, precision, batches, rows
        self.similar, self.tokens = similar, model.item_tokens
        self.windows = sliding_windows(work.log, model.config.max_items)
        self.reference = to_transformers(model).train()
        groups = parameter_groups(self.reference, CONFIG)
        self.optimizer = torch.optim.AdamW(groups, lr=CONFIG.learning_rate, fused=True)
        self.padded_to: list[int] = []  # tokens, of each batch that was timed
        self._step(np.arange(8))

    def __call__(self, repeat: int) -> Sample:
        batches = self._batches(repeat)
        clock = Clock()
        self.padded_to += [self._step(chosen) for chosen in batches]
        return clock.stop(sum(len(chosen) for chosen in batches))

    def _batches(self, repeat: int) -> list[np.ndarray]:
        rng = np.random.default_rng(derive_seed(0, "sliding", repeat))
        order = rng.permutation(len(self.windows.target))
        if not self.similar:
            return np.split(order[: self.count * self.rows], self.count)
        lengths = (self.windows.target - self.windows.begin)[order]
        ordered = order[np.argsort(lengths, kind="stable")]
        starts = _spread(len(order) - self.rows, self.count, repeat)
        return [ordered[start : start + self.rows] for start in starts]

    def _step(self, chosen: np.ndarray) -> int:
        batch = reference_batch(self.log, self.windows, chosen, self.tokens)
        with autocast(self.precision):
            loss = self.reference(**batch).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.reference.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        return batch["input_ids"].shape[1]


@torch.inference_mode()
def loss_difference(work: Work, model: Tiger, users: int = 64) -> dict[str, float]:
    """Mean loss, ours minus that of the T5 with the same weights, in evaluation mode.

    Only users of one window (at most `max_items` + 1 items) count: their targets read the same
    items on both sides. `causal` (all targets, item-causal mask) and `single` (targets that read
    one item) must be zero; `full` (all targets, full attention) is another function.
    """
    most, lengths = model.config.max_items, work.log.lengths
    short = np.flatnonzero((lengths >= 2) & (lengths <= most + 1))
    chosen = np.linspace(0, len(short) - 1, min(users, len(short))).astype(int)
    log = users_of(work.log, short[chosen])
    model, reference, tokens = model.eval(), to_transformers(model), model.item_tokens
    windows = sliding_windows(log, most)
    batch = reference_batch(log, windows, np.arange(len(windows.target)), tokens)
    items = torch.from_numpy(windows.target - windows.begin)
    mask = item_causal_mask(items, batch["input_ids"].shape[1] // model.levels, model.levels)
    hidden = reference.encoder(input_ids=batch["input_ids"], attention_mask=mask)
    rest = {name: batch[name] for name in ("attention_mask", "labels")}
    causal, full = reference(encoder_outputs=hidden, **rest).loss, reference(**batch).loss
    single = SlidingWindows(windows.begin[items == 1], windows.target[items == 1])
    alone = reference(**reference_batch(log, single, np.arange(len(single.target)), tokens)).loss
    ours, pairs = _mean_loss(model, log), users_of(log, np.arange(log.user_count), first=2)
    return {
        "loss": ours,
        "causal": ours - float(causal),
        "single": _mean_loss(model, pairs) - float(alone),
        "full": ours - float(full),
        "targets": float(len(windows.target)),
    }


def _mean_loss(model: Tiger, log: InteractionLog) -> float:
    windows = cut_windows(log, model.config.max_items)
    batches = training_batches(log, windows, CONFIG.batch_targets, 0)
    total = sum(float(model.loss(batch)) * batch.target_count for batch in batches)
    return total / sum(batch.target_count for batch in batches)


def users_of(log: InteractionLog, users: np.ndarray, first: int | None = None) -> InteractionLog:
    """Some users' interactions, or only their `first` ones."""
    rows = [log.sequence(user)[:first] for user in users.tolist()]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    keys = tuple(log.user_keys[user] for user in users.tolist())
    return InteractionLog(np.concatenate(rows), offsets, keys)
