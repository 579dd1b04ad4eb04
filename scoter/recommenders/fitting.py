"""Training one network: its batches, its loss, its validation, through the one training loop."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scoter.config import TrainingConfig
from scoter.evaluation.evaluator import Evaluator
from scoter.evaluation.metrics import mean_metrics
from scoter.progress import counting
from scoter.recommenders.shares import fit_shares, shares_of
from scoter.seeding import derive_seed
from scoter.types import Split

if TYPE_CHECKING:
    from torch import Tensor

    from scoter.models.backbones.backbone import Backbone
    from scoter.models.training.batches import ItemBatch
    from scoter.models.training.loop import TrainingLog
    from scoter.models.training.workers import Workers
    from scoter.protocols import StepSource


@dataclass(frozen=True)
class Training:
    """One training: its randomness, its validation, and where it is kept."""

    seed: int  # of batches and dropout
    depth: int  # items ranked for each validation user
    label: str  # of the progress bar; dropout is drawn from it and the seed
    scratch: Path  # folder for checkpoints; this very training is resumed from it
    workers: "Workers | None" = None  # processes that train together; None for this one alone
    progress: bool = True  # whether bars are shown


def fit_network(
    model: "Backbone",
    split: Split,
    steps: "StepSource | None",
    config: TrainingConfig,
    training: Training,
) -> "TrainingLog":
    """Train `model` in place on the training part and leave the best validation epoch's weights.

    Where nobody has a validation target, those of the last epoch are left.
    """
    from scoter.models.training.batches import cut_windows, training_batches
    from scoter.models.training.loop import fit

    windows = cut_windows(split.train, model.config.max_items)
    histories, targets = split.histories("valid"), split.targets("valid")

    def batches(epoch: int) -> "list[ItemBatch]":
        drawn = derive_seed(training.seed, "batches", epoch)
        return training_batches(split.train, windows, config.batch_targets, drawn)

    def evaluate() -> dict[str, float]:
        fit_shares(model, split, steps, training.progress)  # epochs are chosen as they will rank
        with counting("validation", len(histories), "user", training.progress) as note:
            rankings = model.recommend(histories, training.depth, steps, note)
        return mean_metrics(Evaluator().evaluate(rankings, targets))

    def loss(batch: "ItemBatch") -> "Tensor":
        return total_loss(model, batch, steps, config.label_smoothing)

    log = fit(
        model,
        batches,
        loss,
        evaluate if len(targets) else None,
        config,
        seed=training.seed,
        scratch=training.scratch,
        label=training.label,
        workers=training.workers,
        progress=training.progress,
        takes_padding=model.takes_padding and model.alignment is None,
    )
    log.shares = shares_of(model)
    return log


def total_loss(
    model: "Backbone", batch: "ItemBatch", steps: "StepSource | None", label_smoothing: float
) -> "Tensor":
    """The recommender's loss, plus InfoNCE between chains and targets where there is one."""
    loss = model.loss(batch, steps, label_smoothing)
    if model.alignment is None or steps is None:
        return loss
    row, column = batch.places
    read, mask = steps.read(batch.users[row], batch.prefix_lengths[row, column])
    items, histories = batch.targets, batch.histories
    targets = model.output_vectors(items)
    return loss + model.alignment(model.fusion, read, mask, targets, items, histories)
