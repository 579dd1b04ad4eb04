"""Training: target positions per CPU-second of `scoter.models.training.loop.fit` and of a T5 on
sliding windows."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.speed.timing import Clock, Sample
from benchmarks.speed.work import (
    SIZE,
    SlidingWindows,
    Work,
    item_tokens,
    reference_batch,
    sliding_windows,
)
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
    torch.manual_seed(derive_seed(seed, "weights"))
    return Tiger(size, ids)


class OurTraining:
    """The training loop as a user of scoter runs it, on a share of an epoch's batches that holds
    all lengths in proportion.

    A few users' batch goes first and is not timed: it warms up, and it makes the optimiser's state.
    Checkpoints are not timed.
    """

    def __init__(
        self,
        work: Work,
        model: Tiger,
        precision: str,
        batches: int,
        budget: int = CONFIG.batch_targets,
    ) -> None:
        self.log, self.model, self.precision, self.count = work.log, model, precision, batches
        self.windows, self.budget = cut_windows(work.log, model.config.max_items), budget

    def __call__(self, repeat: int) -> Sample:
        epoch = training_batches(
            self.log, self.windows, self.budget, derive_seed(0, "batches", repeat)
        )
        chosen = in_proportion(epoch, self.count, repeat)
        return time_steps(
            self.model, [warm_up(self.log, self.model.config.max_items), *chosen], self.precision
        )


def warm_up(log: InteractionLog, max_items: int) -> ItemBatch:
    """One small batch."""
    few = users_of(log, np.arange(4))
    return training_batches(few, cut_windows(few, max_items), 64, 0)[0]


def time_steps(model: nn.Module, batches: Sequence[ItemBatch], precision: str) -> Sample:
    """Train on `batches` with `fit` and time all steps but the first."""
    clocks: list[Clock] = []
    samples: list[Sample] = []
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
            model.loss,  # pyright: ignore[reportArgumentType]
            lambda: {"ndcg@10": 0.0},
            config,
            seed=0,
            scratch=Path(folder),
            label="speed",
            on_step=on_step,
        )
    return samples[0]


def in_proportion(batches: Sequence[ItemBatch], count: int, phase: int) -> list[ItemBatch]:
    """`count` batches spread evenly over the lengths of all, starting at another place for each
    `phase`."""
    if count >= len(batches):
        return list(batches)
    ordered = sorted(batches, key=lambda batch: batch.items.shape[-1])
    places = (np.arange(count) + (0.5 + 0.618 * phase) % 1) * len(batches) / count
    return [ordered[place] for place in places.astype(int)]


class ReferenceTraining:
    """The T5 of transformers as people run it: one sample per target, full attention in its
    encoder, random batches."""

    def __init__(
        self,
        work: Work,
        model: Tiger,
        precision: str,
        batches: int,
        rows: int = REFERENCE_BATCH,
        similar: bool = False,
    ) -> None:
        """With `similar`, batches of windows of similar length, which people seldom do: less
        padding, the same function."""
        self.log, self.precision, self.count, self.rows, self.similar = (
            work.log,
            precision,
            batches,
            rows,
            similar,
        )
        self.windows, self.tokens = (
            sliding_windows(work.log, model.config.max_items),
            item_tokens(work.ids),
        )
        self.reference = to_transformers(model).train()
        groups = parameter_groups(self.reference, CONFIG)
        self.optimizer = torch.optim.AdamW(groups, lr=CONFIG.learning_rate, fused=True)
        self.padded_to: list[int] = []
        self._step(np.arange(8))

    def __call__(self, repeat: int) -> Sample:
        batches = self._batches(repeat)
        clock = Clock()
        self.padded_to += [self._step(chosen) for chosen in batches]
        return clock.stop(sum(len(chosen) for chosen in batches))

    def _batches(self, repeat: int) -> list[np.ndarray]:
        order = np.random.default_rng(derive_seed(0, "sliding", repeat)).permutation(
            len(self.windows.target)
        )
        if not self.similar:
            return np.split(order[: self.count * self.rows], self.count)
        lengths = (self.windows.target - self.windows.begin)[order]
        ordered = order[np.argsort(lengths, kind="stable")]
        places = (
            (np.arange(self.count) + (0.5 + 0.618 * repeat) % 1)
            * (len(order) - self.rows)
            / self.count
        )
        return [ordered[place : place + self.rows] for place in places.astype(int)]

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
    """Mean loss over all targets of some users, ours minus that of the T5 with the same weights, in
    evaluation mode.

    Only users of one window (at most `max_items` + 1 events) count, whose targets read the same
    items on both sides.

    Returns:
        `causal`: with the item-causal mask, all targets; must be zero.
        `single`: as people run it, the targets that read one item, where both attend alike; must be
            zero.
        `full`: as people run it, all targets; *not* zero, because full attention is another
            function.
    """
    levels = len(work.ids.codebook_sizes)
    short = np.flatnonzero(
        (work.log.lengths >= 2) & (work.log.lengths <= model.config.max_items + 1)
    )
    log = users_of(
        work.log, short[np.linspace(0, len(short) - 1, min(users, len(short))).astype(int)]
    )
    model, reference = model.eval(), to_transformers(model)
    windows, tokens = sliding_windows(log, model.config.max_items), item_tokens(work.ids)
    batch = reference_batch(log, windows, np.arange(len(windows.target)), tokens)
    lengths = torch.from_numpy(windows.target - windows.begin)
    mask = item_causal_mask(lengths, batch["input_ids"].shape[1] // levels, levels)
    hidden = reference.encoder(input_ids=batch["input_ids"], attention_mask=mask)
    causal = reference(
        encoder_outputs=hidden, attention_mask=batch["attention_mask"], labels=batch["labels"]
    ).loss
    full = reference(**batch).loss
    single = SlidingWindows(windows.begin[lengths == 1], windows.target[lengths == 1])
    alone = reference(**reference_batch(log, single, np.arange(len(single.target)), tokens)).loss
    ours = _mean_loss(model, log)
    pairs = users_of(log, np.arange(log.user_count), first=2)
    return {
        "loss": ours,
        "causal": ours - float(causal),
        "single": _mean_loss(model, pairs) - float(alone),
        "full": ours - float(full),
        "targets": float(len(windows.target)),
    }


def _mean_loss(model: Tiger, log: InteractionLog) -> float:
    batches: list[Any] = training_batches(
        log, cut_windows(log, model.config.max_items), CONFIG.batch_targets, 0
    )
    return sum(float(model.loss(batch)) * batch.target_count for batch in batches) / sum(
        batch.target_count for batch in batches
    )


def users_of(log: InteractionLog, users: np.ndarray, first: int | None = None) -> InteractionLog:
    """Some users' events, or only their `first` ones."""
    rows = [log.sequence(int(user))[:first] for user in users]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return InteractionLog(
        np.concatenate(rows), offsets, tuple(log.user_keys[int(user)] for user in users)
    )
