"""Dropout for a CPU, where drawing the mask costs more than using it; on a GPU, torch's own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout that draws one random byte per value, an eighth of what `nn.Dropout` draws on a CPU.

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
