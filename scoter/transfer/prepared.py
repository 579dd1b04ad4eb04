"""A trained fusion whose weights are multiplied out, for reading one chain at a time with as few operations as can be.

With z the normalised state and n = g z + b, what a state needs of its own is linear in z: its queries, and its half of the
gate. What it reads is linear in the mixed values: the context, and the other half of the gate. So a read is a norm, one
product, the attention, one product, a sigmoid and a sum; and a chain costs one product for the keys and values of all layers.
Slots that are missing are left out rather than masked. Multiplying keys into the queries as well, as the decoder does for
its encoder, was tried and costs more per chain than it saves: a chain has few slots and is read nine times.

Shape legend: S slots that exist (the null among them), D width, H heads, N states, L layers.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.reading import ChainMemory


class PreparedFusion:
    """What `fusion` does in evaluation mode, for one chain.

    Example:
        >>> fusion = StructuredFusion(steps=3, step_dim=4, dim=8, layers=2, heads=2).eval()
        >>> steps, mask, hidden = torch.randn(1, 3, 4), torch.tensor([[True, False, True]]), torch.randn(1, 5, 8)
        >>> with torch.inference_mode():
        ...     read = PreparedFusion(fusion).chain(steps[0], mask[0])(hidden, 1)
        ...     torch.allclose(read, fusion(hidden, fusion.encode(steps, mask), 1), atol=1e-5)
        True
    """

    @torch.no_grad()
    def __init__(self, fusion: StructuredFusion) -> None:
        self.fusion, self.heads, self.votes = fusion, fusion.layers[0].heads, fusion.votes is not None
        self.weight = torch.cat([layer.key_value.weight for layer in fusion.layers]).T.contiguous()
        self.bias = torch.cat([layer.key_value.bias for layer in fusion.layers])
        self.layers = [_multiply_out(layer, self.heads) for layer in fusion.layers]

    def chain(
        self, steps: Float[Tensor, "steps step_dim"], mask: Bool[Tensor, " steps"], named: Int[Tensor, " steps"] | None = None
    ) -> "PreparedChain":
        """All that reading this chain needs; `named` says which items its steps name, where these have votes."""
        memory = self.fusion.encode(steps[None], mask[None], *([] if named is None else [named[None]]))
        slots = memory.slots[0, memory.bias[0, 0, 0] == 0]
        told = torch.addmm(self.bias, slots, self.weight).view(len(slots), len(self.layers), 2, self.heads, -1)
        keys, values = told.permute(1, 2, 3, 0, 4).contiguous().unbind(1)  # L H S E
        return PreparedChain(self.layers, keys.transpose(2, 3).unbind(0), values.unbind(0), self.heads, memory, self.fusion.first_layer)


class PreparedChain:
    """One chain, ready to be read by states of any number."""

    def __init__(
        self,
        layers: list[Any],
        keys: tuple[Tensor, ...],
        values: tuple[Tensor, ...],
        heads: int,
        memory: ChainMemory,
        first_layer: int = 0,
    ) -> None:
        self.layers, self.keys, self.values, self.heads, self.memory = layers, keys, values, heads, memory
        self.first_layer = first_layer

    def __call__(self, hidden: Float[Tensor, "1 N D"], layer: int) -> Float[Tensor, "1 N D"]:
        if layer < self.first_layer:
            return hidden
        layer -= self.first_layer
        into, bias, out = self.layers[layer]
        states = hidden[0]
        count, dim = states.shape
        own = torch.addmm(bias, nn.functional.layer_norm(states, (dim,)), into)
        query = own[:, :dim].view(count, self.heads, -1).transpose(0, 1)
        mixed = torch.softmax(query @ self.keys[layer], -1) @ self.values[layer]
        read = torch.addmm(own[:, dim:], mixed.transpose(0, 1).reshape(count, dim), out)
        return torch.addcmul(states, read[:, :dim], read[:, dim:].sigmoid())[None]


def _multiply_out(layer: Any, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(into, bias, out): from z to [queries | the context's constant | the gate's own half], and from mixed values to
    [context | the gate's other half]."""
    scale, shift, dim = layer.norm.weight, layer.norm.bias, len(layer.norm.weight)
    width = (dim // heads) ** -0.5
    if layer.gate is None:
        own, other, gate_bias = torch.zeros(dim, dim), torch.zeros(dim, dim), torch.full((dim,), 200.0)  # a sigmoid of 1
    else:
        own, other = layer.gate.weight.split(dim, 1)
        gate_bias = own @ shift + layer.gate.bias + other @ layer.out.bias
    into = torch.cat([width * layer.query.weight * scale, torch.zeros(dim, dim), own * scale])
    bias = torch.cat([width * (layer.query.weight @ shift + layer.query.bias), layer.out.bias, gate_bias])
    out = torch.cat([layer.out.weight, other @ layer.out.weight])
    return into.T.contiguous(), bias, out.T.contiguous()
