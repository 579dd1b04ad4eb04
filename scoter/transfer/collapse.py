"""Controls that take one thing from a chain, its structure, order, content or user, and no more.

What is drawn at random whenever a chain is read comes from torch's generator, in training and in
evaluation, so that a run repeats bit for bit.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.errors import ConfigError
from scoter.models.step_reader import ChainMemory
from scoter.transfer.fusion import (
    Mask,
    Steps,
    StructuredFusion,
    directions,
    mean_of_present,
    scale_of,
)
from scoter.types import StepEmbeddings, entries_of


class MeanPoolFusion(StructuredFusion):
    """The structure-collapsing control: all steps averaged into one vector, through the same gate.

    One position vector instead of K is the only difference in parameters. Each step is centred
    before the pool, as in the structured arm, so that the comparison is of structure alone. The
    pool has one scale: a scale per step would weigh steps differently, and so tell their order.
    """

    ordered = False

    @staticmethod
    def sizes(steps: int, step_dim: int) -> tuple[int, int]:
        return 1, step_dim

    @staticmethod
    def slot_labels(steps: list[str]) -> list[str]:
        return ["pooled chain"]

    @property
    def shares_steps(self) -> bool:
        """Only a plain mean of the steps can be taken after they were projected."""
        return type(self) is MeanPoolFusion

    def encode_shared(
        self,
        distinct: Float[Tensor, "distinct step_dim"],
        place: Int[Tensor, "rows steps"],
        mask: Mask,
        named: Int[Tensor, "rows steps"] | None = None,
    ) -> ChainMemory:
        """`encode(distinct[place], mask)`: the mean of projected steps, each projected once."""
        mask = self.kept(mask)
        shares = mask / (mask.sum(dim=1, keepdim=True).clamp(min=1) * self.scale)
        weight = self.project.weight
        projected = nn.functional.linear(directions(distinct), weight)[place]
        centred = projected - nn.functional.linear(self.centre, weight)
        pooled = (centred * shares[..., None]).sum(dim=1) + self.project.bias
        slots = pooled[:, None] + self.position
        return self._memory(slots, torch.any(mask, dim=1, keepdim=True))

    def encode(self, steps: Steps, mask: Mask) -> ChainMemory:
        """One slot, the mean of the steps that exist, whatever their order."""
        mask = self.kept(mask)
        slots = self.project(self.standardise(steps, mask)) + self.position
        return self._memory(slots, torch.any(mask, dim=1, keepdim=True))

    def standardise(self, steps: Steps, mask: Mask) -> Float[Tensor, "rows 1 width"]:
        """The mean of the centred steps, over the scale of such means."""
        return self._pool(steps, mask) / self.scale

    def set_statistics(self, steps: Steps, mask: Mask) -> None:
        """Centre each position, then scale the pool, by chains of training prefixes."""
        self.centre.copy_(mean_of_present(directions(steps), mask))
        squares = (self._pool(steps, mask) ** 2).mean(dim=-1)
        self.scale.copy_(scale_of(squares, torch.any(mask, dim=1, keepdim=True)))

    def _pool(self, steps: Steps, mask: Mask) -> Float[Tensor, "rows 1 width"]:
        total = self._gather((directions(steps) - self.centre) * mask[..., None])
        return total / mask.sum(dim=1).clamp(min=1)[:, None, None]

    def _gather(self, centred: Steps) -> Float[Tensor, "rows 1 width"]:
        """All steps, zeros where one is missing, as one vector."""
        return centred.sum(dim=1, keepdim=True)


class TaggedPoolFusion(MeanPoolFusion):
    """A pool that still knows the order: each position has a fixed rotation of its own.

    The rotations (a permutation of the axes and random signs) have no parameters, so that this has
    exactly those of the mean pool. Over a finite set of sentences the pool is one-to-one on
    sequences, with probability one.
    """

    def _gather(self, centred: Steps) -> Float[Tensor, "rows 1 width"]:
        axes, signs = _rotations(*centred.shape[1:], centred.device)
        turned = centred.gather(2, axes.expand(len(centred), -1, -1)) * signs
        return turned.sum(dim=1, keepdim=True)


@cache
def _rotations(steps: int, step_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    axes = np.stack([rng.permutation(step_dim) for _ in range(steps)])
    signs = rng.choice([-1.0, 1.0], (steps, step_dim)).astype(np.float32)
    return torch.from_numpy(axes).to(device), torch.from_numpy(signs).to(device)


class ConcatenationFusion(MeanPoolFusion):
    """All steps side by side in one slot: nothing is lost, but no step can be attended to alone.

    The projection is K times as wide as in the other arms; nothing else differs in parameters.
    """

    @staticmethod
    def sizes(steps: int, step_dim: int) -> tuple[int, int]:
        return 1, steps * step_dim

    def _gather(self, centred: Steps) -> Float[Tensor, "rows 1 width"]:
        return centred.flatten(1)[:, None]


class BagFusion(StructuredFusion):
    """One slot per step, with the parameters of the structured arm, but no slot knows its place.

    All slots get the mean of the position vectors, and one centre and one scale serve all
    positions. What a step says is left; where roles have wordings of their own, that tells the
    role.
    """

    ordered = False

    def encode(self, steps: Steps, mask: Mask) -> ChainMemory:
        """Slots of the steps that exist; permuting a row's steps changes nothing for readers."""
        mask = self.kept(mask)
        slots = self.project(self.standardise(steps, mask)) + self.position.mean(0)
        return self._memory(slots, mask)

    def set_statistics(self, steps: Steps, mask: Mask) -> None:
        """One centre and one scale for every position."""
        flat, there = directions(steps).flatten(0, 1)[:, None], mask.flatten()[:, None]
        centre = mean_of_present(flat, there)
        self.centre.copy_(centre.expand_as(self.centre))
        self.scale.copy_(scale_of(((flat - centre) ** 2).mean(dim=-1), there).expand_as(self.scale))


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


def other_users_chains(steps: StepEmbeddings, seed: int) -> StepEmbeddings:
    """The same chains with other users: every (user, prefix) gets the chain of another user.

    Users are put on a random circle, and each chain moves on by a random number of users. A user's
    last two chains (before validation and test) may come from any of the donor's. Earlier ones,
    which training reads, come from those that the donor's training reads, so that no validation
    target enters training.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(steps.starts)
    users = np.flatnonzero(lengths)
    if len(users) < 2:
        raise ConfigError(
            f"steps holds chains of {len(users)} users; another user's chain needs at least two"
        )
    circle = rng.permutation(users)
    place = np.empty(len(lengths), np.int64)
    place[circle] = np.arange(len(users))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    donor = circle[(place[owner] + rng.integers(1, len(users), len(owner))) % len(users)]
    late = np.arange(len(owner)) - steps.starts[owner] >= lengths[owner] - 2
    most = np.where(late, lengths[donor], np.maximum(lengths[donor] - 2, 1))
    source = steps.starts[donor] + rng.integers(0, most)
    bags = (source[:, None] * steps.step_count + np.arange(steps.step_count)).ravel()
    counts = steps.offsets[bags + 1] - steps.offsets[bags]
    take, offsets = entries_of(steps.offsets[bags], counts)
    return steps.with_entries(take, offsets, steps.pattern)
