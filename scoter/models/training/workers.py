"""The processes that train one model: one alone, or several that share every batch.

Sharing is data parallelism through accelerate (extra `distributed`), started by `torchrun` or
`accelerate launch`. Each process reads every `count`-th row of a batch, and gradients are averaged
so that they equal those of the whole batch. Dropout is drawn at each step from its number and the
process's, so that a resumed run needs the first process's generator alone.

Limit: what depends on other rows of a batch (the negatives of InfoNCE) or on random draws is a
process's own. Such training equals that of one process in distribution, not number by number.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from scoter.errors import ConfigError
from scoter.models.training.batches import ItemBatch
from scoter.models.training.precision import device_of
from scoter.seeding import derive_seed

Loss = Callable[[ItemBatch], Tensor]


class Workers:
    """The processes that the training loop runs in: here, one alone."""

    count, is_first = 1, True

    def share(self, model: nn.Module, loss: Loss) -> Loss:
        """A loss whose gradients in every process are those of `loss` on the whole batch."""
        device = device_of(model)
        return loss if device.type == "cpu" else lambda batch: loss(batch.to(device))

    def start_step(self, seed: int) -> None:
        """Seed what this process draws in the step."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over the processes."""
        return value

    def from_first(self, value: float) -> float:
        """The first process's number."""
        return value

    def wait(self) -> None:
        """Until all processes are here."""


class DataParallel(Workers):
    """The processes of this launch; one waits for another's validation for up to a day."""

    def __init__(self, device: str = "cpu") -> None:
        if find_spec("accelerate") is None:
            needed = "pip install 'scoter[distributed]'"
            raise ConfigError(f"data-parallel training needs accelerate; {needed}")
        if "WORLD_SIZE" not in os.environ:
            raise ConfigError(
                "data-parallel training was asked for, but this is a single process; start it with "
                "`torchrun --nproc-per-node N -m scoter.cli.main run ... --data-parallel`"
            )
        import accelerate  # pyright: ignore[reportMissingImports]

        handlers = [
            accelerate.DistributedDataParallelKwargs(
                broadcast_buffers=False, find_unused_parameters=True
            ),
            accelerate.InitProcessGroupKwargs(timeout=timedelta(days=1)),
        ]
        self.accelerator = accelerate.Accelerator(cpu=device == "cpu", kwargs_handlers=handlers)
        self.count, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.is_first = self.rank == 0

    def share(self, model: nn.Module, loss: Loss) -> Loss:
        device, module = device_of(model), self.accelerator.prepare(_Loss(model, loss))

        def shared(batch: ItemBatch) -> Tensor:
            part, targets = batch.share(self.rank, self.count), batch.target_count
            weight = self.count * part.target_count / targets  # gradients are averaged, not summed
            if not weight:
                part = batch.share(0, len(batch.users))  # one row, whose gradient counts nothing
            return module(part.to(device)) * weight

        return shared

    def start_step(self, seed: int) -> None:
        torch.manual_seed(derive_seed(seed, "process", self.rank))

    def mean(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value.double(), "mean")

    def from_first(self, value: float) -> float:
        from accelerate.utils import broadcast  # pyright: ignore[reportMissingImports]

        device = self.accelerator.device
        return float(broadcast(torch.tensor(value, dtype=torch.float64, device=device)))

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


class _Loss(nn.Module):
    """The loss as the forward pass of a module with the model's parameters, to be synchronised."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: ItemBatch) -> Tensor:
        return self.loss(batch)
