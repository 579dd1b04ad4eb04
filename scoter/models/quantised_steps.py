"""A step table as it is shipped: sentence vectors in half precision, or in eight bits with a scale
per row.

It is read with NumPy, whose calls cost less than Torch's where there is one shopper to answer.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.models.step_reader import NOT_GROUNDED, distinct_bags

StepType = Literal["fp16", "int8"]


def quantise(vectors: Float[np.ndarray, "rows dim"], kind: StepType) -> dict[str, np.ndarray]:
    """`vectors` as half-precision numbers; or as int8 and a `scale` per row, so that a row's
    largest entry becomes 127.

    The error of an entry is at most half of its row's scale in int8, and 2^-11 of its size in fp16.

    Example:
        >>> found = quantise(np.array([[0.5, -1.0], [0.0, 0.0]]), "int8")
        >>> found["vectors"].tolist(), (found["scale"] * 127).tolist()
        ([[64, -127], [0, 0]], [1.0, 0.0])
    """
    if kind == "fp16":
        return {"vectors": vectors.astype(np.float16)}
    if kind != "int8":
        raise ConfigError(f"step type {kind!r} is unknown; choose fp16 or int8")
    exact = vectors.astype(np.float32)
    scale = np.abs(exact).max(axis=1, initial=0) / np.float32(127)
    entries = np.rint(exact / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return {"vectors": entries, "scale": scale}


class QuantisedSteps:
    """One chain at most for each user, read from such a table; only the rows that are read are
    turned into fp32.

    Args:
        vectors, scale: what `quantise` gave; `scale` is None for fp16.
        items: the item that each row's sentence names, -1 where it names none.
        indices, offsets: the sentences of step k of user u are
            `indices[offsets[u * K + k]:offsets[u * K + k + 1]]`.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        scale: Float[np.ndarray, " rows"] | None,
        indices: Int[np.ndarray, " entries"],
        offsets: Int[np.ndarray, " bags_plus_1"],
        step_count: int,
        items: Int[np.ndarray, " rows"] | None = None,
    ) -> None:
        self.vectors, self.scale, self.items, self.step_count = vectors, scale, items, step_count
        self.indices, self.offsets = indices, offsets

    def read(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows steps dim"], Bool[Tensor, "rows steps"]]:
        """Mean sentence vector of each step, zeros where it is missing; the prefix length does not
        matter."""
        bags = self._bags_of(users)
        shape = (len(users), self.step_count)
        there = self.offsets[bags + 1] > self.offsets[bags]
        return torch.from_numpy(self.means(bags)).view(*shape, -1), torch.from_numpy(there).view(
            shape
        )

    def read_shared(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[
        Float[Tensor, "distinct dim"], Int[Tensor, "rows steps"], Bool[Tensor, "rows steps"]
    ]:
        """The same; nothing is shared, since few users are read at once."""
        values, mask = self.read(users, prefix_lengths)
        return values.flatten(0, 1), torch.arange(mask.numel()).view(mask.shape), mask

    def means(self, bags: Int[np.ndarray, " bags"]) -> Float[np.ndarray, "bags dim"]:
        """The mean vector of the sentences of each bag, which is one step of one user; zeros where
        there are none."""
        low, counts = self._bags(bags)
        before = np.cumsum(counts) - counts
        values = self.rows(self.indices[np.repeat(low - before, counts) + np.arange(counts.sum())])
        means, there = np.zeros((len(counts), self.vectors.shape[1]), np.float32), counts > 0
        if there.any():
            means[there] = np.add.reduceat(values, before[there]) / counts[there, None].astype(
                np.float32
            )
        return means

    def kinds(
        self,
    ) -> tuple[
        Int[np.ndarray, " kinds"], Int[np.ndarray, "users steps"], Bool[np.ndarray, "users steps"]
    ]:
        """What is said in which place: a bag of each kind, the kind of each step of each user, and
        which steps are there."""
        numbers, _ = distinct_bags(np.asarray(self.indices), np.asarray(self.offsets))
        places = np.arange(len(numbers)) % self.step_count
        _, bags, kind = np.unique(
            numbers * self.step_count + places, return_index=True, return_inverse=True
        )
        shape = (-1, self.step_count)
        return bags, kind.reshape(shape), (np.diff(self.offsets) > 0).reshape(shape)

    def rows(self, chosen: Any) -> Float[np.ndarray, "chosen dim"]:
        """Some rows, a slice or their numbers, in fp32."""
        values = torch.from_numpy(self.vectors[chosen]).float().numpy()
        return values if self.scale is None else values * self.scale[chosen, None]

    def named(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> Int[Tensor, "rows steps"]:
        """The item that each step names, -1 where it names none or says several sentences."""
        if self.items is None:
            raise ConfigError(NOT_GROUNDED)
        bags = self._bags_of(users)
        low, counts = self._bags(bags)
        found, alone = np.full(len(low), -1), counts == 1
        found[alone] = self.items[self.indices[low[alone]]]
        return torch.from_numpy(found).view(len(users), self.step_count)

    def _bags_of(self, users: Int[Tensor, " rows"]) -> Int[np.ndarray, " bags"]:
        """The numbers of all these users' steps."""
        return (users.numpy()[:, None] * self.step_count + np.arange(self.step_count)).ravel()

    def _bags(
        self, bags: Int[np.ndarray, " bags"]
    ) -> tuple[Int[np.ndarray, " bags"], Int[np.ndarray, " bags"]]:
        """Where each bag's sentences begin, and how many there are."""
        low = self.offsets[bags].astype(np.int64)
        return low, self.offsets[bags + 1] - low

    def without_chain(self) -> "NoSteps":
        """What somebody reads who is none of the users."""
        return NoSteps(self.step_count, self.vectors.shape[1])


class NoSteps:
    """A source that has no chain for anybody."""

    def __init__(self, step_count: int, dim: int) -> None:
        self.step_count, self.dim = step_count, dim

    def read(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows steps dim"], Bool[Tensor, "rows steps"]]:
        """Zeros, and nothing that exists."""
        shape = (len(users), self.step_count)
        return torch.zeros(*shape, self.dim), torch.zeros(shape, dtype=torch.bool)

    def read_shared(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> tuple[
        Float[Tensor, "distinct dim"], Int[Tensor, "rows steps"], Bool[Tensor, "rows steps"]
    ]:
        """The same, with one row of zeros."""
        shape = (len(users), self.step_count)
        place = torch.zeros(shape, dtype=torch.long)
        return torch.zeros(1, self.dim), place, torch.zeros(shape, dtype=torch.bool)

    def named(
        self, users: Int[Tensor, " rows"], prefix_lengths: Int[Tensor, " rows"]
    ) -> Int[Tensor, "rows steps"]:
        """-1 everywhere."""
        return torch.full((len(users), self.step_count), -1)
