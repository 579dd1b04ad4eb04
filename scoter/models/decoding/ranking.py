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
from scoter.protocols import StepSource
from scoter.types import Histories, Rankings

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone

AfterBatch = Callable[[np.ndarray], None]
Best = Callable[[HistoryBatch], tuple[Tensor, Tensor]]


def ignore(rows: Int[np.ndarray, " batch"]) -> None:
    """What to do after a batch where nothing is to be done."""


@contextmanager
def evaluating(model: "Backbone") -> Iterator[None]:
    """`inferring`, in evaluation mode; the mode is restored afterwards."""
    training = model.training
    model.eval()
    try:
        with inferring(model):
            yield
    finally:
        model.train(training)


@contextmanager
def inferring(model: "Backbone") -> Iterator[None]:
    """No gradients, and the model's own precision and device."""
    device = device_of(model)
    with torch.inference_mode(), autocast(model.precision, device), placed(device):
        yield


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


def rank_unseen(
    model: "Backbone",
    histories: Histories,
    k: int,
    steps: StepSource | None = None,
    after_batch: AfterBatch = ignore,
) -> Rankings:
    """The `k` best items after each history among those that it does not hold.

    All are ranked deeper by the length of the longest history. So a beam search is as wide for all
    of them, and wide enough for each.
    """
    deeper = int(histories.lengths.max(initial=0))
    return model.recommend(histories, k + deeper, steps, after_batch).unseen(histories, k)
