"""What each step of a chain contributes to an item: its score without that step."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.backbones.backbone import Backbone
from scoter.models.step_reader import Redirected
from scoter.protocols import StepSource
from scoter.types import Histories


def contributions(
    network: Backbone,
    histories: Histories,
    items: Int[np.ndarray, "rows k"],
    steps: StepSource,
    variants: int,
) -> Float[np.ndarray, "rows steps k"]:
    """The score of each item minus that with one step hidden; zero where the step is missing.

    A history is scored once with all steps and once without each: `variants` times.
    """
    rows = len(histories)
    repeated = histories.select(np.repeat(np.arange(rows), variants))
    numbered = Histories(np.arange(rows * variants), repeated.items, repeated.offsets)
    hidden = _OneHidden(steps, histories.users, variants)
    scores = network.rescore(numbered, np.repeat(items, variants, axis=0), hidden)
    scores = scores.reshape(rows, variants, -1)
    with np.errstate(invalid="ignore"):
        parts = scores[:, :1] - scores[:, 1:]
    return np.where(items[:, None] >= 0, parts, 0)


class _OneHidden(Redirected):
    """User u reads the chain of `known[u // variants]` without step u % variants; 0 hides none."""

    def __init__(self, source: StepSource, known: Int[np.ndarray, " rows"], variants: int) -> None:
        numbers = torch.from_numpy(known.astype(np.int64))
        super().__init__(source, lambda users, lengths: (numbers[users // variants], lengths))
        self.variants = variants

    def read(self, users: Tensor, prefix_lengths: Tensor) -> tuple[Tensor, Tensor]:
        steps, mask = super().read(users, prefix_lengths)
        return steps, mask & self._left(users)

    def read_shared(self, users: Tensor, prefix_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, place, mask = super().read_shared(users, prefix_lengths)
        return steps, place, mask & self._left(users)

    def _left(self, users: Tensor) -> Tensor:
        return (users % self.variants)[:, None] != torch.arange(1, self.variants)
