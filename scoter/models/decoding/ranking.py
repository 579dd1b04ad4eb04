"""Ranking many histories in batches: what every network does around its own scoring."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from scoter.models.training.batches import HistoryBatch, history_batches
from scoter.models.training.precision import autocast, device_of, placed
from scoter.types import Histories, Rankings

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone

AfterBatch = Callable[[np.ndarray], None]
Best = Callable[[HistoryBatch], tuple[Tensor, Tensor]]


@contextmanager
def evaluating(model: "Backbone") -> Iterator[None]:
    """Evaluation mode, no gradients, the model's own precision; the mode is restored afterwards."""
    device = device_of(model)
    # Asked, because setting the mode of every module costs a twentieth of a single request.
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        with torch.inference_mode(), autocast(model.precision, device), placed(device):
            yield
    finally:
        for module in training:
            module.training = True


def rank_in_batches(
    model: "Backbone", best: Best, histories: Histories, k: int, rows: int, after_batch: AfterBatch
) -> Rankings:
    """The `k` best items after each history, in evaluation mode and without gradients.

    Args:
        best: a batch -> (items, scores), best first, of any width; a narrower answer than `k` is
            filled with -1.
    """
    items = np.full((len(histories), k), -1, np.int64)
    scores = np.full((len(histories), k), -np.inf, np.float32)
    device = device_of(model)
    with evaluating(model):
        for batch in history_batches(histories, model.config.max_items, rows):
            found, score = (part[:, :k].cpu() for part in best(batch.to(device)))
            width = found.shape[1]
            items[batch.rows, :width] = found.numpy()
            scores[batch.rows, :width] = score.float().numpy()
            after_batch(batch.rows)
    return Rankings(histories.users, items, scores)


def ignore(rows: Int[np.ndarray, " batch"]) -> None:
    """What to do after a batch where nothing is to be done."""
