"""Ranking many histories in batches: what every neural recommender does around its own scoring."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from scoter.models.training.batches import history_batches
from scoter.models.training.precision import autocast, device_of, placed
from scoter.types import Histories, Rankings

AfterBatch = Callable[[np.ndarray], None]
Best = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def rank_in_batches(
    model: nn.Module,
    best: Best,
    histories: Histories,
    k: int,
    max_items: int,
    rows: int,
    precision: str,
    after_batch: AfterBatch,
) -> Rankings:
    """The `k` best items after each history, in evaluation mode and without gradients.

    `best(items, lengths, users, prefix_lengths)` returns (items, scores) of one batch, best first,
    of any width; a narrower answer than `k` is filled with -1. `after_batch` is called with the row
    numbers of each batch once it is ranked.
    """
    training = model.training
    model.eval()
    items = np.full((len(histories), k), -1, np.int64)
    scores = np.full((len(histories), k), -np.inf, np.float32)
    users, prefix_lengths = (
        torch.from_numpy(values.astype(np.int64)) for values in (histories.users, histories.lengths)
    )
    device = device_of(model)
    with torch.inference_mode(), autocast(precision, device), placed(device):
        for chosen, history, lengths in history_batches(histories, max_items, rows):
            places = torch.from_numpy(chosen)
            asked = (history, lengths, users[places], prefix_lengths[places])
            found, score = (answer.cpu() for answer in best(*(part.to(device) for part in asked)))
            width = min(k, found.shape[1])
            items[chosen, :width], scores[chosen, :width] = (
                found[:, :k].numpy(),
                score[:, :k].float().numpy(),
            )
            after_batch(chosen)
    model.train(training)
    return Rankings(histories.users, items, scores)


def ignore(rows: Int[np.ndarray, " batch"]) -> None:
    """What to do after a batch where nothing is to be done."""
