"""T5 layers (Raffel et al. 2020), written for many short sequences on a processor.

Equal in mathematics to `transformers` T5: RMS norm before each sublayer, no scaling of attention
scores, a bucketed relative position bias shared by all layers, ReLU feed-forward. Masks are
additive and shared by the whole batch, because rows are left-aligned and attention never looks
right. A GPU gets torch's own kernels.

Shape legend: N rows, Q queries, S memory slots, D model width, H heads, E head width.
"""

import math
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

BUCKETS, MAX_DISTANCE = 32, 128  # of relative positions, as in T5


class Dropout(nn.Module):
    """Dropout that draws one random byte per value, an eighth of what `nn.Dropout` draws on a CPU.

    There, drawing the mask costs more than using it; a GPU gets torch's own dropout.

    The rate is rounded to a multiple of 1/256, and the scale with it, so the mean is kept exactly.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.threshold = round(rate * 256)
        self.scale = 256 / max(1, 256 - self.threshold)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if x.is_cuda:
            return nn.functional.dropout(x, self.threshold / 256, self.training)
        return x * self.mask(x) if self.active else x

    def add(
        self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """`x + dropout(y)` in one pass."""
        return torch.addcmul(x, y, self.mask(y)) if self.active and not y.is_cuda else x + self(y)

    @property
    def active(self) -> bool:
        return self.training and self.threshold > 0

    def mask(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zeros, and the scale where a value is kept."""
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # Compared as numbers, since a cast from bool would cost more than the draw.
        return draws.to(x.dtype).ge_(self.threshold).mul_(self.scale)


class RMSNorm(nn.Module):
    """Root-mean-square norm without mean or bias, in fp32; its output is what products take."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        if x.is_cuda:  # where torch has it in one kernel
            normed = nn.functional.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps)
            return normed.to(dtype)
        return cast("Tensor", _RMSNorm.apply(x, self.weight, self.eps, dtype))


class _RMSNorm(torch.autograd.Function):
    """Half the passes over memory that autograd makes of the same formula.

    With y = x r w and r = (mean x^2 + eps)^-1/2: dx = r (g w - x r mean(g w x r)).
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        x = x.float()
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = squares.div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return (unit * weight).to(dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        unit, scale, weight = ctx.saved_tensors
        grad = grads[0].float()
        product = (grad * unit).flatten(0, -2)
        along = torch.mv(product, weight).div_(len(weight)).view(scale.shape)
        of_x = (grad * weight).addcmul_(unit, along, value=-1).mul_(scale)
        return of_x, product.sum(0), None, None


class _ReluDropout(torch.autograd.Function):
    """`relu(x) * mask`, with a mask of zeros and `scale`.

    What is positive afterwards was kept, so the gradient needs neither the mask nor x.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        kept = torch.relu(x).mul_(mask)
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return kept

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grads[0], kept, 0).mul_(ctx.scale), None, None


class Attention(nn.Module):
    """Multi-head attention without biases or score scaling, as in T5."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.q = nn.Linear(dim, inner, bias=False)
        self.k = nn.Linear(dim, inner, bias=False)
        self.v = nn.Linear(dim, inner, bias=False)
        self.o = nn.Linear(inner, dim, bias=False)
        nn.init.normal_(self.q.weight, std=(dim * head_dim) ** -0.5)
        nn.init.normal_(self.k.weight, std=dim**-0.5)
        nn.init.normal_(self.v.weight, std=dim**-0.5)
        nn.init.normal_(self.o.weight, std=inner**-0.5)

    def keys_values(
        self, memory: Float[Tensor, "N S D"]
    ) -> tuple[Float[Tensor, "N H S E"], Float[Tensor, "N H S E"]]:
        """Keys and values of a memory: computed once, however many queries come."""
        return self._split(self.k(memory)), self._split(self.v(memory))

    def forward(
        self,
        x: Float[Tensor, "N Q D"],
        keys_values: tuple[Float[Tensor, "N H S E"], Float[Tensor, "N H S E"]],
        bias: Float[Tensor, "#N #H #Q S"] | None = None,
    ) -> Float[Tensor, "N Q D"]:
        keys, values = keys_values
        scores = self._split(self.q(x)) @ keys.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        mixed = torch.softmax(scores, dim=-1).to(values.dtype) @ values
        return self.o(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "N S inner"]) -> Float[Tensor, "N H S E"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between, as in T5 version 1.0."""

    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.wi = nn.Linear(dim, inner, bias=False)
        self.wo = nn.Linear(inner, dim, bias=False)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.wi.weight, std=dim**-0.5)
        nn.init.normal_(self.wo.weight, std=inner**-0.5)

    def forward(self, x: Float[Tensor, "N Q D"]) -> Float[Tensor, "N Q D"]:
        inner = self.wi(x)
        if inner.is_cuda or not self.dropout.active:
            return self.wo(self.dropout(torch.relu(inner)))
        mask = self.dropout.mask(inner)
        return self.wo(_ReluDropout.apply(inner, mask, self.dropout.scale))


class RelativeBias(nn.Module):
    """One learned bias per head and distance bucket; distances beyond 128 share the last bucket."""

    def __init__(self, heads: int, bidirectional: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BUCKETS, heads)
        nn.init.normal_(self.embedding.weight, std=heads**-0.5)
        self.bidirectional = bidirectional

    def forward(self, length: int) -> Float[Tensor, "1 H length length"]:
        positions = torch.arange(length)
        bucket = self._bucket(positions[None, :] - positions[:, None])
        return self.embedding(bucket).permute(2, 0, 1)[None]

    def _bucket(self, distance: Int[Tensor, "q s"]) -> Int[Tensor, "q s"]:
        """Half of the buckets hold exact distances, the others grow (T5, section 2.1)."""
        buckets = BUCKETS
        offset = torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            offset = (distance > 0).long() * buckets
            away = distance.abs()
        else:
            away = (-distance).clamp(min=0)
        exact = buckets // 2
        ratio = torch.log(away.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
        far = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
        return offset + torch.where(away < exact, away, far)
