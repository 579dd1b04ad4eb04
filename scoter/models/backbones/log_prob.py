"""log p of one item a state, under the softmax over a catalogue, for training.

All logits of a batch are hundreds of megabytes. Where each step asks the system for them anew, a
processor spends as long on clearing pages as on arithmetic; here steps share one buffer, which
holds the softmax between the forward and the backward pass.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BLOCK = 2**20  # logits that are worked on at a time; they fit in a cache
_free: list[Tensor] = []  # buffers that no backward pass waits for


def log_prob(
    states: Float[Tensor, "N D"], vectors: Float[Tensor, "items D"], items: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """The log of the softmax of `states @ vectors.T` at one item a row, in nats.

    Gradients on a processor may be asked for once: the backward pass uses up what it needs.

    >>> log_prob(torch.zeros(1, 2), torch.ones(4, 2), torch.tensor([3])).exp()
    tensor([0.2500])
    """
    plain = type(states) is Tensor  # what stands for one, such as a wrapper, goes torch's own way
    if plain and states.device.type == "cpu" and torch.is_grad_enabled():
        return _LogProb.apply(states, vectors, items)
    logits = nn.functional.linear(states, vectors)
    logits = logits.to(_wide(logits.dtype))
    return torch.log_softmax(logits, -1).gather(1, items[:, None])[:, 0]


def forget() -> None:
    """Give the shared buffers back, as between the steps of training and an evaluation."""
    _free.clear()


class _LogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, vectors: Tensor, items: Tensor) -> Tensor:
        cast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if cast else states.dtype
        with torch.autocast("cpu", enabled=False):
            states, vectors = states.to(dtype), vectors.to(dtype)
            softmax = _buffer(len(states) * len(vectors), dtype).view(len(states), len(vectors))
            wide = _wide(dtype)
            found = torch.empty(len(states), dtype=wide)
            for rows in _blocks(softmax):
                logits = torch.mm(states[rows], vectors.T, out=softmax[rows]).to(wide)
                top = logits.amax(1, keepdim=True)
                own = logits.gather(1, items[rows, None]) - top
                total = logits.sub_(top).exp_().sum(1, keepdim=True)
                found[rows] = (own - total.log())[:, 0]
                torch.div(logits, total, out=softmax[rows])
        ctx.save_for_backward(states, vectors, items)
        ctx.softmax = softmax
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        states, vectors, items = ctx.saved_tensors
        softmax, ctx.softmax = ctx.softmax, None
        if softmax is None:
            raise RuntimeError("log_prob keeps what one backward pass needs; compute the loss anew")
        weights = gradients[0].to(states.dtype)[:, None]
        of_states = torch.empty_like(states)
        for rows in _blocks(softmax):
            part = (
                softmax[rows].mul_(-weights[rows]).scatter_add_(1, items[rows, None], weights[rows])
            )
            of_states[rows] = part @ vectors
        of_vectors = softmax.T @ states
        _free.append(softmax.view(-1))
        return of_states.to(gradients[0].dtype), of_vectors.to(gradients[0].dtype), None


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _buffer(count: int, dtype: torch.dtype) -> Tensor:
    """A free buffer's first `count` numbers, or a new one's; smaller ones are let go."""
    while _free:
        kept = _free.pop()
        whole = kept.untyped_storage().nbytes() // kept.element_size()
        if kept.dtype == dtype and whole >= count:
            return kept.as_strided((count,), (1,))
    return torch.empty(count, dtype=dtype)


def _blocks(softmax: Float[Tensor, "N items"]) -> list[slice]:
    size = max(1, BLOCK // softmax.shape[1])
    return [slice(start, start + size) for start in range(0, len(softmax), size)]
