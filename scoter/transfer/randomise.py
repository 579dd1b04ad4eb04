"""Controls that put chance in the place of order or of content, drawn afresh whenever a chain is
read.

Both draw from torch's generator, in training and in evaluation, so that a run repeats bit for bit.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoter.transfer.collapse import BagFusion
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.reading import ChainMemory


class ShuffledFusion(BagFusion):
    """The structured arm, positions and all, on steps whose order is drawn afresh for every
    example.

    A fresh uniform order makes the chain worth exactly what its multiset is worth (C2a of
    theory/STATEMENTS.md); a fixed order would lose nothing, and shuffling a finished model would
    measure a shift of distribution. The statistics are those of the bag, since those of a position
    would tell where a step came from.
    """

    def encode(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> ChainMemory:
        """As the structured arm, after a permutation of each row's steps, the missing ones among
        them."""
        mask = self.kept(mask)
        order = torch.rand(mask.shape).argsort(dim=1)
        steps = steps.gather(1, order[..., None].expand_as(steps))
        return self._memory(
            self.project(self.standardise(steps, mask)) + self.position, mask.gather(1, order)
        )


class NoiseFusion(StructuredFusion):
    """The structured arm on noise: each step is replaced by a random vector of its own length,
    whatever it says."""

    def encode(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> ChainMemory:
        return super().encode(noise_like(steps), mask)

    def set_statistics(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> None:
        """Those of noise, whose mean is zero and whose size is one."""


def noise_like(steps: Float[Tensor, "rows steps step_dim"]) -> Float[Tensor, "rows steps step_dim"]:
    """A random direction, uniform on the sphere, for each step; the norm alone is kept."""
    return torch.nn.functional.normalize(torch.randn_like(steps), dim=-1) * steps.norm(
        dim=-1, keepdim=True
    )
