"""Controls that draw order or content at random whenever a chain is read.

Both draw from torch's generator, in training and in evaluation, so that a run repeats bit for bit.
"""

import torch

from scoter.models.step_reader import ChainMemory
from scoter.transfer.collapse import BagFusion
from scoter.transfer.fusion import Mask, Steps, StructuredFusion


class ShuffledFusion(BagFusion):
    """The structured arm, positions and all, on steps in a fresh random order for every example.

    A fresh uniform order makes the chain worth exactly what its multiset is worth (C2a of
    theory/STATEMENTS.md). A fixed order would lose nothing, and shuffling a finished model would
    measure a shift of distribution. The statistics are those of the bag, since those of a position
    would tell where a step came from.
    """

    @staticmethod
    def slot_labels(steps: list[str]) -> list[str]:
        return [f"any step, place {place}" for place in range(1, len(steps) + 1)]

    def encode(self, steps: Steps, mask: Mask) -> ChainMemory:
        """As the structured arm, after a permutation of each row's steps, missing ones included."""
        mask = self.kept(mask)
        order = torch.rand(mask.shape).argsort(dim=1)
        steps = steps.gather(1, order[..., None].expand_as(steps))
        slots = self.project(self.standardise(steps, mask)) + self.position
        return self._memory(slots, mask.gather(1, order))


class NoiseFusion(StructuredFusion):
    """The structured arm on noise: each step is a random vector of the step's own length."""

    ordered = False

    def encode(self, steps: Steps, mask: Mask) -> ChainMemory:
        return super().encode(noise_like(steps), mask)

    def set_statistics(self, steps: Steps, mask: Mask) -> None:
        """Those of noise, whose mean is zero and whose size is one."""


def noise_like(steps: Steps) -> Steps:
    """A random direction, uniform on the sphere, for each step; the norm alone is kept."""
    unit = torch.nn.functional.normalize(torch.randn_like(steps), dim=-1)
    return unit * steps.norm(dim=-1, keepdim=True)
