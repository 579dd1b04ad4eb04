"""Chains with one step wiped: what leave-one-step-out is checked against."""

import torch

from scoter.models.step_reader import Redirected
from scoter.protocols import StepSource


class Without(Redirected):
    """A reader whose step number `step` is wiped: its embedding and its place in the mask."""

    def __init__(self, reader: StepSource, step: int) -> None:
        super().__init__(reader, lambda users, lengths: (users, lengths))
        self.step = step

    def read(
        self, users: torch.Tensor, prefix_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        steps, mask = (part.clone() for part in super().read(users, prefix_lengths))
        steps[:, self.step], mask[:, self.step] = 0, False
        return steps, mask

    def read_shared(
        self, users: torch.Tensor, prefix_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        steps, mask = self.read(users, prefix_lengths)
        return steps.flatten(0, 1), torch.arange(mask.numel()).view(mask.shape), mask
