"""Controls that collapse the structure or break its link to the user, and keep everything else."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoter.errors import ConfigError
from scoter.transfer.fusion import StructuredFusion, directions, mean_of_present, scale_of
from scoter.transfer.reading import ChainMemory
from scoter.types import StepEmbeddings


class MeanPoolFusion(StructuredFusion):
    """The structure-collapsing control: all steps averaged into one vector, through the same gate.

    One position vector instead of K is the only difference in parameters. Each step is centred
    before the pool, as in the structured arm, so that what is compared is the structure and not the
    treatment of the embeddings. The scale is one for the whole pool: a scale per step would weigh
    the steps differently, and so tell their order.
    """

    def __init__(
        self,
        steps: int,
        step_dim: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.1,
        *,
        gate: bool = True,
        keep: Sequence[bool] | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self._start(
            steps,
            1,
            step_dim,
            self.slot_width(steps, step_dim),
            dim,
            layers,
            heads,
            dropout,
            gate,
            keep,
        )

    @staticmethod
    def slot_width(steps: int, step_dim: int) -> int:
        """How many numbers the one slot is made from."""
        return step_dim

    def encode(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> ChainMemory:
        """One slot: the mean of the steps that exist. Swapping what two of them say changes
        nothing."""
        mask = self.kept(mask)
        slots = self.project(self.standardise(steps, mask)) + self.position
        return self._memory(slots, torch.any(mask, dim=1, keepdim=True))

    def standardise(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> Float[Tensor, "rows 1 width"]:
        """The mean of the centred steps, over the scale of such means."""
        return self._pool(steps, mask) / self.scale

    def set_statistics(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> None:
        """Centre each position, then scale the pool, by a sample of chains of training prefixes."""
        self.centre.copy_(mean_of_present(directions(steps), mask))
        squares = (self._pool(steps, mask) ** 2).mean(dim=-1)
        self.scale.copy_(scale_of(squares, torch.any(mask, dim=1, keepdim=True)))

    def _pool(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> Float[Tensor, "rows 1 width"]:
        total = self._gather((directions(steps) - self.centre) * mask[..., None])
        return total / mask.sum(dim=1).clamp(min=1)[:, None, None]

    def _gather(
        self, centred: Float[Tensor, "rows steps step_dim"]
    ) -> Float[Tensor, "rows 1 width"]:
        """All steps, zeros where one is missing, as one vector."""
        return centred.sum(dim=1, keepdim=True)


class TaggedPoolFusion(MeanPoolFusion):
    """One vector of the width of a step that still knows the order: each step is turned by its
    position's rotation, then pooled.

    The rotations are fixed (a shuffle of the axes and random signs, one per position), so that this
    has exactly the parameters of the mean pool. Over a finite set of sentences the pool is
    one-to-one on sequences, with probability one.
    """

    def __init__(
        self,
        steps: int,
        step_dim: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(steps, step_dim, dim, layers, heads, dropout, **options)
        rng = np.random.default_rng(0)
        self.axes: Tensor
        self.register_buffer(
            "axes",
            torch.tensor(np.stack([rng.permutation(step_dim) for _ in range(steps)])),
            persistent=False,
        )
        self.signs: Tensor
        signs = torch.tensor(rng.choice([-1.0, 1.0], (steps, step_dim)), dtype=torch.float32)
        self.register_buffer("signs", signs, persistent=False)

    def _gather(
        self, centred: Float[Tensor, "rows steps step_dim"]
    ) -> Float[Tensor, "rows 1 width"]:
        turned = centred.gather(2, self.axes.expand(len(centred), -1, -1)) * self.signs
        return turned.sum(dim=1, keepdim=True)


class ConcatenationFusion(MeanPoolFusion):
    """All steps side by side in one vector, one slot: nothing is lost, though no step can be
    attended to alone.

    The projection is K times as wide as that of the other arms; nothing else differs in parameters.
    """

    @staticmethod
    def slot_width(steps: int, step_dim: int) -> int:
        return steps * step_dim

    def _gather(
        self, centred: Float[Tensor, "rows steps step_dim"]
    ) -> Float[Tensor, "rows 1 width"]:
        return centred.flatten(1)[:, None]


class BagFusion(StructuredFusion):
    """One slot per step, as in the structured arm and with its parameters, but none knows its
    place.

    All slots get the mean of the position vectors, and one centre and one scale serve all
    positions: those of a position would give it away. What is left is what a step says; where roles
    have wordings of their own, that tells the role.
    """

    def encode(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> ChainMemory:
        """Slots of the steps that exist. Permuting a row's steps permutes its slots, which nobody
        who reads them can see."""
        mask = self.kept(mask)
        return self._memory(
            self.project(self.standardise(steps, mask)) + self.position.mean(0), mask
        )

    def set_statistics(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> None:
        """One centre and one scale for every position."""
        flat, there = directions(steps).flatten(0, 1)[:, None], mask.flatten()[:, None]
        centre = mean_of_present(flat, there)
        self.centre.copy_(centre.expand_as(self.centre))
        self.scale.copy_(scale_of(((flat - centre) ** 2).mean(dim=-1), there).expand_as(self.scale))


def other_users_chains(steps: StepEmbeddings, seed: int) -> StepEmbeddings:
    """The same chains in the wrong hands: every (user, prefix) gets the chain of another user.

    Users are put on a random circle and each chain moves on by a random number of users, so nobody
    keeps a chain of their own as long as there are two users with chains. A user's last two chains
    (before validation and test) may come from any of the donor's; the earlier ones, which training
    reads, from those that a donor's training reads, so that no validation target enters training by
    way of another user.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(steps.starts)
    users = np.flatnonzero(lengths)
    if len(users) < 2:
        raise ConfigError(
            f"steps holds chains of {len(users)} users; another user's chain needs at least two "
            f"users with chains"
        )
    circle = rng.permutation(users)
    place = np.empty(len(lengths), np.int64)
    place[circle] = np.arange(len(users))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    donor = circle[(place[owner] + rng.integers(1, len(users), len(owner))) % len(users)]
    late = np.arange(len(owner)) - steps.starts[owner] >= lengths[owner] - 2
    source = steps.starts[donor] + rng.integers(
        0, np.where(late, lengths[donor], np.maximum(lengths[donor] - 2, 1))
    )
    bags = (source[:, None] * steps.step_count + np.arange(steps.step_count)).ravel()
    counts = steps.offsets[bags + 1] - steps.offsets[bags]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    take = np.repeat(steps.offsets[bags] - offsets[:-1], counts) + np.arange(offsets[-1])
    return replace(steps, indices=steps.indices[take], offsets=offsets)
