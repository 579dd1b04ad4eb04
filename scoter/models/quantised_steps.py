"""A step table as it is shipped: sentence vectors in half precision, or in eight bits.

It is read with NumPy, whose calls cost less than torch's where one user is asked for.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.models.step_reader import NOT_GROUNDED, Dense, Rows, Unshared, distinct_bags
from scoter.types import entries_of

StepType = Literal["fp16", "int8"]


def quantise(vectors: Float[np.ndarray, "rows dim"], kind: StepType) -> dict[str, np.ndarray]:
    """`vectors` in half precision; or as int8 with a `scale` per row, whose largest entry is 127.

    The error of an entry is at most half of its row's scale in int8, and 2^-11 of its size in fp16.

    >>> made = quantise(np.array([[0.5, -1.0], [0.0, 0.0]]), "int8")
    >>> made["vectors"].tolist(), (made["scale"] * 127).tolist()
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


class QuantisedSteps(Unshared):
    """One chain at most for each user of such a table; only the rows read are turned into fp32.

    Args:
        vectors: what `quantise` gave.
        scale: what `quantise` gave; None for fp16.
        indices: the sentences of step k of user u are
            `indices[offsets[u * K + k]:offsets[u * K + k + 1]]`.
        items: the item that each row's sentence names, -1 where it names none.
        stated: how sure each entry is, as in `StepEmbeddings`.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        scale: Float[np.ndarray, " rows"] | None,
        indices: Int[np.ndarray, " entries"],
        offsets: Int[np.ndarray, " bags_plus_1"],
        step_count: int,
        items: Int[np.ndarray, " rows"] | None = None,
        stated: Float[np.ndarray, " entries"] | None = None,
    ) -> None:
        self.vectors, self.scale, self.items, self.step_count = vectors, scale, items, step_count
        self.indices, self.offsets, self.stated = indices, offsets, stated

    def read(self, users: Rows, prefix_lengths: Rows) -> Dense:
        """Mean sentence vector of each step, zeros where it is missing, whatever the length."""
        bags, shape = self._bags_of(users), (len(users), self.step_count)
        there = torch.from_numpy(self.offsets[bags + 1] > self.offsets[bags])
        return torch.from_numpy(self.means(bags)).view(*shape, -1), there.view(shape)

    def means(self, bags: Int[np.ndarray, " bags"]) -> Float[np.ndarray, "bags dim"]:
        """The mean vector of each bag, a step of a user; zeros where it has no sentence."""
        low, counts = self._bags(bags)
        take, before = entries_of(low, counts)
        values = self.rows(self.indices[take])
        means, there = np.zeros((len(counts), self.vectors.shape[1]), np.float32), counts > 0
        if there.any():
            sizes = counts[there, None].astype(np.float32)
            means[there] = np.add.reduceat(values, before[:-1][there]) / sizes
        return means

    def kinds(
        self,
    ) -> tuple[
        Int[np.ndarray, " kinds"], Int[np.ndarray, "users steps"], Bool[np.ndarray, "users steps"]
    ]:
        """What is said in which place: a bag of each kind, each step's kind, which steps exist."""
        numbers, _ = distinct_bags(np.asarray(self.indices), np.asarray(self.offsets))
        places = np.arange(len(numbers)) % self.step_count
        keys, shape = numbers * self.step_count + places, (-1, self.step_count)
        _, bags, kind = np.unique(keys, return_index=True, return_inverse=True)
        return bags, kind.reshape(shape), (np.diff(self.offsets) > 0).reshape(shape)

    def rows(self, chosen: slice | Int[np.ndarray, " chosen"]) -> Float[np.ndarray, "chosen dim"]:
        """Some rows in fp32."""
        values = torch.from_numpy(self.vectors[chosen]).float().numpy()
        return values if self.scale is None else values * self.scale[chosen, None]

    def named(self, users: Rows, prefix_lengths: Rows) -> Int[Tensor, "rows steps"]:
        """The item that each step names, -1 where it names none or says several sentences."""
        if self.items is None:
            raise ConfigError(NOT_GROUNDED)
        low, counts = self._bags(self._bags_of(users))
        items, alone = np.full(len(low), -1), counts == 1
        items[alone] = self.items[self.indices[low[alone]]]
        return torch.from_numpy(items).view(len(users), self.step_count)

    def certainty(self, users: Rows, prefix_lengths: Rows) -> Float[Tensor, "rows steps"]:
        """The share that each step states for what it names, 0 where it states none."""
        low, counts = self._bags(self._bags_of(users))
        shares, alone = np.zeros(len(low), np.float32), counts == 1
        if self.stated is not None:
            shares[alone] = self.stated[low[alone]]
        return torch.from_numpy(shares).view(len(users), self.step_count)

    def _bags_of(self, users: Rows) -> Int[np.ndarray, " bags"]:
        return (users.numpy()[:, None] * self.step_count + np.arange(self.step_count)).ravel()

    def _bags(
        self, bags: Int[np.ndarray, " bags"]
    ) -> tuple[Int[np.ndarray, " bags"], Int[np.ndarray, " bags"]]:
        low = self.offsets[bags].astype(np.int64)
        return low, self.offsets[bags + 1] - low


class NoSteps(Unshared):
    """A source that has no chain for anybody."""

    def __init__(self, step_count: int, dim: int) -> None:
        self.step_count, self.dim = step_count, dim

    def read(self, users: Rows, prefix_lengths: Rows) -> Dense:
        """Zeros, and nothing that exists."""
        shape = (len(users), self.step_count)
        return torch.zeros(*shape, self.dim), torch.zeros(shape, dtype=torch.bool)

    def named(self, users: Rows, prefix_lengths: Rows) -> Int[Tensor, "rows steps"]:
        return torch.full((len(users), self.step_count), -1)

    def certainty(self, users: Rows, prefix_lengths: Rows) -> Float[Tensor, "rows steps"]:
        return torch.zeros(len(users), self.step_count)
