"""A trained fusion whose weights are multiplied out, for reading one chain at a time with as few steps as can be.

With z the normalised state, n = g z + b, a head's score of slot s is (Wq n + bq)' (Wk s + bk) and what it reads is
Wo (Wv s + bv). Both are linear in s, so one product per chain gives for all layers and heads what multiplies z, and what
the attention mixes. The gate's two halves are treated alike. A read is then six operations: a norm, two products, a softmax,
a sigmoid and a sum. Slots that are missing are left out rather than masked.

Shape legend: S slots that exist (the null among them), D width, H heads, N states, L layers.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoter.transfer.fusion import StructuredFusion


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
        self.fusion, self.dim = fusion, fusion.null.shape[-1]
        self.heads = fusion.layers[0].heads
        parts = [_multiply_out(layer, self.dim, self.heads) for layer in fusion.layers]
        self.weight = torch.cat([weight for weight, _, _ in parts])
        self.bias = torch.cat([bias for _, bias, _ in parts])
        self.gates = [gate for _, _, gate in parts]

    def chain(self, steps: Float[Tensor, "steps step_dim"], mask: Bool[Tensor, " steps"]) -> "PreparedChain":
        """All that reading this chain needs."""
        memory = self.fusion.encode(steps[None], mask[None])
        slots = memory.slots[0, memory.bias[0, 0, 0] == 0]
        count, dim, heads = len(slots), self.dim, self.heads
        told = torch.addmm(self.bias, slots, self.weight.T).view(count, len(self.gates), heads, 3 * dim + 1)
        told = told.permute(1, 2, 0, 3).flatten(1, 2)  # L HS 3D+1
        keys, offsets, values = told[..., :dim], told[..., dim], told[..., dim + 1 :]
        layers = []
        for number, (weight, bias) in enumerate(self.gates):
            into = torch.cat([keys[number], weight]).T
            layers.append((into, torch.cat([offsets[number], bias]), values[number]))
        return PreparedChain(layers, heads, count, dim)


class PreparedChain:
    """One chain, ready to be read by states of any number."""

    def __init__(self, layers: list[tuple[Tensor, Tensor, Tensor]], heads: int, slots: int, dim: int) -> None:
        self.layers, self.heads, self.slots, self.dim = layers, heads, slots, dim

    def __call__(self, hidden: Float[Tensor, "1 N D"], layer: int) -> Float[Tensor, "1 N D"]:
        into, bias, values = self.layers[layer]
        states, wide = hidden[0], self.heads * self.slots
        told = torch.addmm(bias, nn.functional.layer_norm(states, (self.dim,)), into)
        weights = torch.softmax(told[:, :wide].view(-1, self.heads, self.slots), -1).view(-1, wide)
        read = torch.addmm(told[:, wide:], weights, values)
        return torch.addcmul(states, read[:, : self.dim], read[:, self.dim :].sigmoid_())[None]


def _multiply_out(layer: Any, dim: int, heads: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """(weight, bias) of the map from a slot to, for each head, [what multiplies z, its constant, context, the gate's share];
    and the gate's (weight, bias) for z, under as many zeros as the context is wide."""
    scale, shift = layer.norm.weight, layer.norm.bias
    key, value = layer.key_value.weight.view(2, heads, -1, dim)
    key_bias, value_bias = layer.key_value.bias.view(2, heads, -1)
    query = layer.query.weight.view(heads, -1, dim) * key.shape[1] ** -0.5
    query_shift = (layer.query.weight @ shift + layer.query.bias).view(heads, -1) * key.shape[1] ** -0.5
    out = layer.out.weight.view(dim, heads, -1).transpose(0, 1)
    if layer.gate is None:
        own, read, constant = torch.zeros(dim, dim), torch.zeros(dim, dim), torch.full((dim,), 200.0)  # a sigmoid of 1
    else:
        own, read = layer.gate.weight.split(dim, 1)
        constant = own @ shift + layer.gate.bias
    rows, biases = [], []
    for head in range(heads):
        multiplies = scale[:, None] * (query[head].T @ key[head])
        context, context_bias = out[head] @ value[head], out[head] @ value_bias[head] + layer.out.bias / heads
        rows += [multiplies, (query_shift[head] @ key[head])[None], context, read @ context]
        constant_score = query_shift[head] @ key_bias[head]
        biases += [scale * (query[head].T @ key_bias[head]), constant_score[None], context_bias, read @ context_bias]
    gate = torch.cat([torch.zeros(dim, dim), own * scale]), torch.cat([torch.zeros(dim), constant])
    return torch.cat(rows), torch.cat(biases), gate
