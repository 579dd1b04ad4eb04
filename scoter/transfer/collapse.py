"""Controls that collapse the structure or break its link to the user, and keep everything else."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoter.errors import ConfigError
from scoter.transfer.fusion import ChainMemory, StructuredFusion
from scoter.types import StepEmbeddings


class MeanPoolFusion(StructuredFusion):
    """The structure-collapsing control: all steps averaged into one vector, through the same gate.

    One position vector instead of K is the only difference in parameters.
    """

    def __init__(self, steps: int, step_dim: int, dim: int, layers: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__(1, step_dim, dim, layers, heads, dropout)

    def encode(self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]) -> ChainMemory:
        """One slot: the mean of the steps that exist. Invariant to their order."""
        total = (steps * mask[..., None]).sum(dim=1, keepdim=True)
        pooled = total / mask.sum(dim=1).clamp(min=1)[:, None, None].to(steps.dtype)
        return super().encode(pooled, torch.any(mask, dim=1, keepdim=True))


def other_users_chains(steps: StepEmbeddings, seed: int) -> StepEmbeddings:
    """The same chains in the wrong hands: every (user, prefix) gets the chain of another user.

    Users are put on a random circle and each chain moves on by a random number of users, so nobody keeps a
    chain of their own as long as there are two users with chains.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(steps.starts)
    users = np.flatnonzero(lengths)
    if len(users) < 2:
        raise ConfigError(f"steps holds chains of {len(users)} users; another user's chain needs at least two users with chains")
    circle = rng.permutation(users)
    place = np.empty(len(lengths), np.int64)
    place[circle] = np.arange(len(users))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    donor = circle[(place[owner] + rng.integers(1, len(users), len(owner))) % len(users)]
    source = steps.starts[donor] + rng.integers(0, lengths[donor])
    bags = (source[:, None] * steps.step_count + np.arange(steps.step_count)).ravel()
    counts = steps.offsets[bags + 1] - steps.offsets[bags]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    take = np.repeat(steps.offsets[bags] - offsets[:-1], counts) + np.arange(offsets[-1])
    return StepEmbeddings(steps.vectors, steps.indices[take], offsets, steps.starts, steps.pattern, steps.encoder)
