"""How a chain is read: self-attention among steps, and gated attention from states to slots."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoter.models.layers import Dropout
from scoter.models.step_reader import ChainMemory


class CausalSteps(nn.Module):
    """Role vectors, then `slots + attention(slots)`, where step k reads the steps 1..k that exist.

    `roles` holds a number for each step's role.
    """

    def __init__(self, roles: Sequence[int], dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.roles: Tensor
        self.register_buffer("roles", torch.tensor(list(roles)), persistent=False)
        self.role = nn.Parameter(torch.randn(max(roles) + 1, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(
        self, slots: Float[Tensor, "rows steps dim"], mask: Bool[Tensor, "rows steps"]
    ) -> Float[Tensor, "rows steps dim"]:
        count = slots.shape[1]
        slots = slots + self.role[self.roles]
        parts = self.query_key_value(self.norm(slots)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        # A step reads itself even where it is missing, so that no row of the attention is empty;
        # nobody reads it then.
        earlier = torch.ones(count, count, dtype=torch.bool).tril()
        seen = (mask[:, None, :] & earlier) | torch.eye(count, dtype=torch.bool)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, seen[:, None])
        return slots + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))


class GatedAttention(nn.Module):
    """`hidden + gate * attention(hidden, slots)`, with a sigmoid gate computed from both.

    Without `gate`, the gate is 1. Where `record` is a list, each call appends (mean gate of each
    row, mean attention of each row's slots).

    Shape legend: N rows, Q queries, D width, H heads, E head width, S slots.
    """

    def __init__(self, dim: int, heads: int, gate: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.gate = nn.Linear(2 * dim, dim) if gate else None
        self.record: list[tuple[Tensor, Tensor]] | None = None

    def forward(
        self, hidden: Float[Tensor, "N Q D"], memory: ChainMemory, layer: int
    ) -> Float[Tensor, "N Q D"]:
        normed = self.norm(hidden)
        query = self._split(self.query(normed)) * ((hidden.shape[-1] // self.heads) ** -0.5)
        if hidden.shape[1] < memory.slots.shape[1] and layer not in memory.keys_values:
            mixed, attention = self._read_slots(query, memory)
        else:
            mixed, attention = self._read_keys(query, memory, layer)
        context = self.out(mixed)
        if self.gate is None:
            gate = torch.ones_like(context)
        else:
            gate = torch.sigmoid(self.gate(torch.cat([normed.to(context.dtype), context], dim=-1)))
        if self.record is not None:
            self.record.append((gate.float().mean(dim=(1, 2)), attention.float().mean(dim=(1, 2))))
        return hidden + gate * context

    def _read_keys(
        self, query: Float[Tensor, "N H Q E"], memory: ChainMemory, layer: int
    ) -> tuple[Float[Tensor, "N Q D"], Float[Tensor, "N H Q S"]]:
        """Values mixed by attention, and the attention; keys and values are kept in `memory`."""
        if layer not in memory.keys_values:
            key, value = self.key_value(memory.slots).chunk(2, dim=-1)
            memory.keys_values[layer] = (self._split(key), self._split(value))
        key, value = memory.keys_values[layer]
        scores = query @ key.transpose(-1, -2) + memory.bias.to(query.dtype)
        attention = torch.softmax(scores, dim=-1)
        return (attention.to(value.dtype) @ value).transpose(1, 2).flatten(2), attention

    def _read_slots(
        self, query: Float[Tensor, "N H Q E"], memory: ChainMemory
    ) -> tuple[Float[Tensor, "N Q D"], Float[Tensor, "N H Q S"]]:
        """The same, with the maps to keys and values applied to fewer vectors.

        q (W s + b) = (q W) s + q b, where the last part moves no softmax; and the mean of W s + b
        is W of the mean, plus b.
        """
        rows, heads, queries, width = query.shape
        key_map, value_map = self.key_value.weight.view(2, heads, width, -1)  # each: H E D
        asked = query.permute(1, 0, 2, 3).reshape(heads, rows * queries, width) @ key_map
        asked = asked.view(heads, rows, queries, -1).transpose(0, 1)
        asked = asked.reshape(rows, heads * queries, -1)
        # Slots from the left: the gradient of the other product has rows of a dozen numbers, which
        # takes ten times as long.
        scores = (memory.slots @ asked.transpose(1, 2)).transpose(1, 2)
        scores = scores.reshape(rows, heads, queries, -1) + memory.bias.to(query.dtype)
        attention = torch.softmax(scores, dim=-1)
        mean = attention.to(memory.slots.dtype).view(rows, heads * queries, -1) @ memory.slots
        mean = mean.view(rows, heads, queries, -1).transpose(0, 1)
        mixed = mean.reshape(heads, rows * queries, -1) @ value_map.transpose(1, 2)
        mixed = mixed.view(heads, rows, queries, width).permute(1, 2, 0, 3).flatten(2)
        return mixed + self.key_value.bias[heads * width :], attention

    def _split(self, x: Float[Tensor, "N S D"]) -> Float[Tensor, "N H S E"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
