"""The one training loop of every network: schedule, early stopping, exact resumption.

Batches are a function of the seed and the epoch, and a checkpoint holds the generator's state and
the place in the epoch. A run that is killed and resumed therefore equals the run that was not, bit
for bit on one machine.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from scoter.config import TrainingConfig
from scoter.errors import ConfigError, StoreError
from scoter.models.training.batches import ItemBatch
from scoter.models.training.checkpoint import (
    Checkpoint,
    Place,
    TrainingLog,
    load_weights,
    save_weights,
)
from scoter.models.training.fixed_steps import FixedSteps
from scoter.models.training.memory import peak_mib
from scoter.models.training.precision import autocast, device_of, name_of, placed, resolve_precision
from scoter.models.training.workers import Workers
from scoter.seeding import derive_seed
from scoter.storage.store import hash_file

SELECTION_METRIC = "ndcg@10"
SECONDS_BETWEEN_CHECKPOINTS = 60

Loss = Callable[[ItemBatch], Tensor]


def fit(
    model: nn.Module,
    batches: Callable[[int], Sequence[ItemBatch]],
    loss: Loss,
    evaluate: Callable[[], dict[str, float]] | None,
    config: TrainingConfig,
    *,
    seed: int,
    scratch: Path,
    label: str,
    on_step: Callable[[int], None] = lambda step: None,
    workers: Workers | None = None,
    progress: bool = True,
    takes_padding: bool = False,
) -> TrainingLog:
    """Train `model` in place, where it is, and leave the weights of its best epoch in it.

    Args:
        batches: epoch -> its batches; must be a pure function.
        loss: batch -> mean loss over its targets.
        evaluate: validation metrics, among them ndcg@10, of all validation users; None where there
            are none: the last epoch is then the best.
        scratch: folder for checkpoints; what it holds of this very run is resumed.
        label: what the progress bar says; dropout is drawn from it and `seed`.
        on_step: called after each optimiser step with its number, from 1.
        workers: the processes that share each batch; None for this one alone. Several call `fit`
            with equal arguments; the first validates and writes, and its log is the whole one.
        takes_padding: whether `loss` may be given a `PaddedBatch`; a GPU then records its steps.
    """
    alone, workers = workers is None, workers or Workers()
    torch.manual_seed(derive_seed(seed, label, "dropout"))
    loss, first = workers.share(model, loss), batches(0)
    descent = Descent(model, config, config.epochs * len(first))
    descend: Callable[[ItemBatch], Tensor] = partial(descent.descend, loss)
    if takes_padding and alone and descent.device.type == "cuda":
        descend = FixedSteps(descend, first, descent.device)
    run = _Run(descent, workers, scratch, progress=progress, label=label)
    coming = batches(run.place.epoch) if run.place.epoch else first
    while run.place.epoch < config.epochs and not run.stopped:
        epoch = run.place.epoch
        model.train()
        for number, batch in run.left(coming):
            step = epoch * len(first) + number
            workers.start_step(derive_seed(seed, label, "dropout", step))
            descent.set_rates(step)
            run.note(workers.mean(descend(batch)), batch.target_count)
            on_step(step + 1)
        coming = batches(epoch + 1)  # while a GPU is still at this epoch
        run.end_epoch(evaluate)
    return run.end()


class _Run:
    """The log and the files of one training, and where it stands."""

    def __init__(
        self, descent: "Descent", workers: Workers, scratch: Path, *, progress: bool, label: str
    ) -> None:
        self.descent, self.config, self.workers = descent, descent.config, workers
        self.scratch, self.best_file = scratch, scratch / "best.safetensors"
        self.progress, self.label = progress and workers.is_first, label
        self.log = TrainingLog(precision=descent.precision, device=name_of(descent.device))
        self.place = Place()
        self.checkpoint = Checkpoint(scratch, descent.model, descent.optimizer)
        if self.checkpoint.path.exists():
            self.log, self.place = self.checkpoint.load()
        self.losses = torch.tensor(self.place.loss_sum, dtype=torch.float64, device=descent.device)
        self.log.workers = workers.count
        self.clock, self.saved_at = time.process_time(), time.monotonic()

    @property
    def stopped(self) -> bool:
        """Whether patience is at an end."""
        waited = self.log.epochs - self.log.best_epoch
        patience = self.config.patience * self.config.evaluate_every
        return self.log.best_epoch > 0 and waited >= patience

    def left(self, batches: Sequence[ItemBatch]) -> Iterable[tuple[int, ItemBatch]]:
        """The batches of this epoch that are still to be trained on, with their numbers."""
        done = self.place.step
        numbered = list(enumerate(batches))[done:]
        title = f"{self.label} epoch {self.place.epoch + 1}/{self.config.epochs}"
        hidden = None if self.progress else True
        total = len(batches)
        return tqdm(numbered, title, total, initial=done, disable=hidden, leave=False)

    def note(self, loss: Tensor, targets: int) -> None:
        """One more step, whose mean loss is given; a checkpoint now and then."""
        self.losses += loss.double() * targets  # on the device, which nothing waits for
        self.place.targets += targets
        self.place.step += 1
        since = time.monotonic() - self.saved_at
        if self.workers.is_first and since > SECONDS_BETWEEN_CHECKPOINTS:
            self._save()
            self.saved_at = time.monotonic()

    def end_epoch(self, evaluate: Callable[[], dict[str, float]] | None) -> None:
        """Validate where it is time to, and keep the weights if they are the best so far."""
        log, place, config = self.log, self.place, self.config
        epoch = place.epoch + 1
        entry = {"epoch": epoch, "loss": float(self.losses) / max(1, place.targets)}
        if not math.isfinite(entry["loss"]):
            diverged = f"{self.label}: the loss of epoch {epoch} is {entry['loss']}"
            rate = f"learning_rate = {config.learning_rate:g}"
            raise ConfigError(f"{diverged}; train it with less than {rate}, or check its inputs")
        last = epoch == config.epochs
        if evaluate is None:
            if last:
                self._keep(epoch)
        elif last or epoch % config.evaluate_every == 0:
            metrics = evaluate() if self.workers.is_first else {}
            value = self.workers.from_first(metrics.get(SELECTION_METRIC, 0.0))
            entry |= {**metrics, SELECTION_METRIC: value}
            if value > log.best_value:
                log.best_value = value
                self._keep(epoch)
        log.curve.append(entry)
        log.epochs = epoch
        self.place = Place(epoch)
        self.losses.zero_()
        self._spend()
        if self.workers.is_first:
            self._save()
        if self.progress:
            values = ", ".join(f"{key} {value:.4g}" for key, value in entry.items())
            tqdm.write(f"{self.label}: {values}, {log.cpu_seconds:.0f} CPU-s", file=sys.stderr)

    def end(self) -> TrainingLog:
        """The log, with the best weights in the model."""
        # Until the first has written the best weights, and then until all have read them.
        self.workers.wait()
        best = self.checkpoint.best
        lost = not self.best_file.exists() or hash_file(self.best_file) != best
        if self.workers.is_first and best and lost:
            raise StoreError(
                f"{self.best_file} was altered or removed since it was written; delete the folder "
                f"{self.scratch} to train from the start"
            )
        load_weights(self.descent.model, self.best_file)
        self.workers.wait()
        self.log.peak_mib = max(self.log.peak_mib, peak_mib())
        return self.log

    def _keep(self, epoch: int) -> None:
        self.log.best_epoch = epoch
        if self.workers.is_first:
            save_weights(self.descent.model, self.best_file)
            self.checkpoint.best = hash_file(self.best_file)

    def _save(self) -> None:
        self._spend()
        self.place.loss_sum = float(self.losses)
        self.checkpoint.save(self.log, self.place)

    def _spend(self) -> None:
        now = time.process_time()
        self.log.cpu_seconds += now - self.clock
        self.clock = now


class Descent:
    """AdamW with clipped gradients along a schedule, in the precision of `config`."""

    def __init__(self, model: nn.Module, config: TrainingConfig, total_steps: int) -> None:
        self.model, self.config, self.total_steps = model, config, total_steps
        self.device = device_of(model)
        self.precision = resolve_precision(config.precision, self.device)
        groups, on_gpu = parameter_groups(model, config), self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups, fused=True, capturable=on_gpu)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        if on_gpu:  # a recorded step finds its rates at an address
            # The first steps are not recorded, of which AdamW would warn.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            for group in self.optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"], device=self.device)

    def step(self, number: int, loss: Loss, batch: ItemBatch) -> float:
        """Step `number`, from 0, down the `loss` of `batch`, whose value before it is returned."""
        self.set_rates(number)
        return float(self.descend(loss, batch))

    def set_rates(self, number: int) -> None:
        """The learning rates of step `number`, from 0."""
        factor = schedule(number, self.total_steps, self.config.warmup_share)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def descend(self, loss: Loss, batch: ItemBatch) -> Tensor:
        """A step down the `loss` of `batch`, whose value before it is returned."""
        with autocast(self.precision, self.device), placed(self.device):
            value = loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        return value.detach()


def schedule(step: int, total: int, warmup_share: float) -> float:
    """Learning-rate factor: linear warm-up, then a cosine to a hundredth.

    >>> [round(schedule(step, 100, 0.1), 3) for step in (0, 9, 10, 99)]
    [0.1, 1.0, 1.0, 0.01]
    """
    warmup = max(1, round(total * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return max(0.01, 0.5 * (1 + math.cos(math.pi * progress)))


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, object]]:
    """Tables (the model's own embeddings), other matrices, and vectors, which do not decay.

    Tables learn `embedding_rate` times as fast. T5 starts its embedding with unit variance, ten
    times the deviation of its matrices. Adam moves every number by about the learning rate, so at
    one rate for all the embedding hardly moves.
    """
    tables = [module.weight for module in model.children() if isinstance(module, nn.Embedding)]
    known = {id(table) for table in tables}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    rate, decay = config.learning_rate, config.weight_decay
    matrices, vectors = [p for p in others if p.ndim >= 2], [p for p in others if p.ndim < 2]
    return [
        {"params": tables, "lr": rate * config.embedding_rate, "weight_decay": decay},
        {"params": matrices, "lr": rate, "weight_decay": decay},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
    ]
