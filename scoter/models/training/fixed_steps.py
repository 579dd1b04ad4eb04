"""Training steps in a few fixed shapes, which a GPU records once and replays.

A step of a small model starts over a thousand kernels of a few microseconds each, and starting them
one by one takes ten times as long as running them. A CUDA graph starts a whole step at once:
forward, loss, backward, clipping and AdamW. It repeats what was recorded, at the addresses where it
was recorded, so each batch is padded to one of a few shapes and copied into buffers that stay.

A recorded step has the kernels of the same step unrecorded, and draws the same random numbers.
Compiling the step would change its kernels, and would take minutes for each shape and process.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from scoter.models.training.batches import ItemBatch, PaddedBatch

BLANKS = (-1, False, 0, 0)  # of each part of an `ItemBatch`, where it holds nothing


class FixedSteps:
    """The steps of one training on padded batches; on a GPU, recorded and replayed.

    The first step in a shape runs as it is, which sets up what a recording cannot; the second one
    is recorded. Where that fails, this says so and runs the same steps as they are.

    Args:
        descend: a batch on the device -> its loss, after a whole step down it.
        batches: those of an epoch; every epoch has batches of the same sizes.
    """

    def __init__(
        self,
        descend: Callable[[ItemBatch], Tensor],
        batches: Sequence[ItemBatch],
        device: torch.device,
    ) -> None:
        self.descend, self.device = descend, device
        shapes = [tuple(batch.is_target.shape) for batch in batches]
        self.most = max(targets for _, targets in shapes)
        self.rows: dict[int, int] = {}  # by padded length
        for rows, targets in shapes:
            length = padded_length(targets, self.most)
            self.rows[length] = max(rows, self.rows.get(length, 0))
        self.frames: dict[int, Frame] = {}
        self.recording = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if self.recording else None
        self.graph: torch.cuda.CUDAGraph | None = None  # the latest, whose memory the next shares

    def __call__(self, batch: ItemBatch) -> Tensor:
        """The loss of a batch before a step down it."""
        length = padded_length(batch.is_target.shape[1], self.most)
        frame = self.frames.get(length)
        if frame is None:
            frame = self.frames[length] = Frame(self.rows[length], length, self.device)
        with self._on_its_stream():
            frame.fill(batch)
            if self.recording and frame.graph is None and frame.ran:
                self._record(frame)
            if frame.graph is None:
                frame.loss, frame.ran = self.descend(frame.batch), True
            else:
                frame.graph.replay()
        return frame.loss

    @contextmanager
    def _on_its_stream(self) -> Iterator[None]:
        """A stream for steps alone, since torch's default stream cannot be recorded."""
        if self.stream is None:
            yield
            return
        outside = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            yield
        outside.wait_stream(self.stream)

    def _record(self, frame: "Frame") -> None:
        graph, pool = torch.cuda.CUDAGraph(), None if self.graph is None else self.graph.pool()
        try:
            with torch.cuda.graph(graph, pool, self.stream):
                frame.loss = self.descend(frame.batch)
        except RuntimeError as error:
            self.recording = False
            if torch.cuda.is_initialized():  # what failed has left its generator as if it went on
                generator = torch.cuda.default_generators[torch.cuda.current_device()]
                generator.graphsafe_set_state(generator.clone_state())
            why = str(error.__context__ or error).splitlines()[0]
            print(f"training steps run unrecorded, which is slower: {why}", file=sys.stderr)
        else:
            frame.graph = self.graph = graph


class Frame:
    """The buffers of one shape, the loss of the latest step in it, and its graph if it has one."""

    def __init__(self, rows: int, targets: int, device: torch.device) -> None:
        columns, integers = (rows, targets), {"dtype": torch.int64, "device": device}
        self.batch = PaddedBatch(
            torch.zeros((rows, targets + 1), **integers),
            torch.zeros(columns, dtype=torch.bool, device=device),
            torch.zeros(rows, **integers),
            torch.zeros(columns, **integers),
        )
        self.loss = torch.zeros((), device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.ran = False

    def fill(self, batch: ItemBatch) -> None:
        """Copy a batch from the processor's memory, without waiting for the GPU."""
        for buffer, part, blank in zip(self.batch, batch, BLANKS, strict=True):
            whole = torch.full(buffer.shape, blank, dtype=part.dtype, pin_memory=buffer.is_cuda)
            whole[tuple(map(slice, part.shape))] = part
            buffer.copy_(whole, non_blocking=True)


def padded_length(targets: int, most: int) -> int:
    """`targets` rounded up, in two steps an octave, but to no more than `most`.

    >>> [padded_length(targets, most=20) for targets in (1, 2, 3, 5, 7, 9, 13, 17)]
    [1, 2, 3, 6, 8, 12, 16, 20]
    """
    step = 2 ** max(0, (targets - 1).bit_length() - 2)
    return min(most, step * -(-targets // step))
