"""A trained TIGER's weights as answering wants them: joined, multiplied out, and cast once.

A norm's gain is multiplied into the maps that read it; what is left of the norm is a state's
direction. What the first layer's attention makes of a token depends on the token alone, since
positions only enter as a bias, so it is a table. Cross-attention is folded: with q = x Q, k = m K,
v = m V and the output map O, a score is x (Q K' m') and what is read is (m V O) weighted; the two
brackets are made once, and a beam needs neither its query nor its output map.

Shape legend: B rows (users), L items, C codes an item, N states, D width, H heads, E head width,
I = H x E, F feed-forward width, V vocabulary.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.layers import RMSNorm
from scoter.models.training.precision import device_of, placed

if TYPE_CHECKING:
    from scoter.models.backbones.tiger import Layer, Tiger

BLOCKED = -1e9


class FoldedLayer(NamedTuple):
    """One layer; its maps stand on the right of a product and read directions."""

    q: Float[Tensor, "D I"]  # self-attention's queries
    kv: Float[Tensor, "D twoI"]  # self-attention's keys and values
    o: Float[Tensor, "I D"]  # self-attention's output
    wi: Float[Tensor, "D F"]
    wo: Float[Tensor, "F D"]


class FoldedStack:
    """The layers of an encoder or a decoder."""

    def __init__(self, model: "Tiger", decoder: bool) -> None:
        stack = model.decoder if decoder else model.encoder
        dtype = torch.bfloat16 if model.precision == "bf16" else torch.float32
        self.layers = [_fold(layer, dtype) for layer in stack.layers]
        # For each layer Q K', then V O, of each head, which read the encoder's output.
        self.cross = [_fold_cross(layer, dtype) for layer in stack.layers] if decoder else []
        self.heads, self.gain, width = model.config.heads, _gain(stack.norm), model.config.dim
        self.floor = torch.tensor((stack.norm.eps * width) ** 0.5)  # of a state's length
        starts, first = self.direction(model.embedding.weight).to(dtype), self.layers[0]
        self.first_q, self.first_kv = starts @ first.q, starts @ first.kv

    def direction(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """A state over its length: its `RMSNorm`, less the gain."""
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot_(self.floor)

    def queries_keys_values(
        self, x: Float[Tensor, "N D"], number: int, tokens: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, "N I"], Float[Tensor, "N twoI"]]:
        """Of self-attention in layer `number`, for states that began as `tokens`."""
        if number == 0:
            return self.first_q.index_select(0, tokens), self.first_kv.index_select(0, tokens)
        layer = self.layers[number]
        ahead = self.direction(x).to(layer.q.dtype)
        return ahead @ layer.q, ahead @ layer.kv

    def feed_forward(self, x: Float[Tensor, "N D"], number: int) -> Float[Tensor, "N D"]:
        layer = self.layers[number]
        inner = self.direction(x).to(layer.wi.dtype) @ layer.wi
        return plus(x, inner.relu_(), layer.wo)


class Folded:
    """The weights of a `Tiger` for any number of histories; they do not follow its training."""

    @torch.no_grad()
    def __init__(self, model: "Tiger") -> None:
        self.model = model
        with placed(device_of(model)):
            self.encoder, self.decoder = (FoldedStack(model, decoder) for decoder in (False, True))
            self.decoder_bias = model.decoder.relative_bias(model.levels)[0].transpose(0, 1)
            scale = self.decoder.gain * model.config.dim**-0.5
            self.output = (model.embedding.weight * scale).t()  # directions to logits
            self._bias = model.encoder.relative_bias(0)

    def encode(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B LC D"]:
        """What `Tiger.encode` makes of the items' tokens."""
        model, stack, rows = self.model, self.encoder, len(items)
        tokens = model.item_tokens[items].flatten()
        x, bias = model.embedding(tokens), self._encoder_bias(len(tokens) // rows)
        for number, layer in enumerate(stack.layers):
            q, kv = stack.queries_keys_values(x, number, tokens)
            q, k, v = (
                part.view(rows, -1, stack.heads, model.config.head_dim).transpose(1, 2)
                for part in (q, *kv.chunk(2, -1))
            )
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, bias.to(q.dtype), scale=1.0)
            x = plus(x, mixed.transpose(1, 2).reshape(len(x), -1), layer.o)
            x = stack.feed_forward(x, number)
        return (stack.direction(x) * stack.gain).unflatten(0, (rows, -1))

    def _encoder_bias(self, length: int) -> Float[Tensor, "1 H length length"]:
        """Relative positions, and what hides later items; kept for what is not longer."""
        if length > self._bias.shape[-1]:
            item = torch.arange(length) // self.model.levels
            causal = torch.where(item[:, None] >= item[None, :], 0.0, BLOCKED)
            self._bias = self.model.encoder.relative_bias(length) + causal
        return self._bias[..., :length, :length]


def plus(
    x: Float[Tensor, "N D"], inner: Float[Tensor, "N inner"], weight: Float[Tensor, "inner D"]
) -> Float[Tensor, "N D"]:
    """x + inner weight; x stays in fp32."""
    return torch.addmm(x, inner, weight) if inner.dtype == x.dtype else x + inner @ weight


def _gain(norm: RMSNorm) -> Float[Tensor, " D"]:
    return norm.weight * len(norm.weight) ** 0.5


def _fold(layer: "Layer", dtype: torch.dtype) -> FoldedLayer:
    own, gain = layer.self_attention, _gain(layer.self_norm)
    q, kv = own.q.weight * gain, torch.cat([own.k.weight, own.v.weight]) * gain
    wi = layer.ff.wi.weight * _gain(layer.ff_norm)
    parts = (q, kv, own.o.weight, wi, layer.ff.wo.weight)
    return FoldedLayer(*(part.to(dtype).t() for part in parts))


def _fold_cross(layer: "Layer", dtype: torch.dtype) -> Float[Tensor, "D twoHD"]:
    cross, shape = layer.cross, (layer.cross.heads, -1)
    q, k, v = (part.weight.unflatten(0, shape) for part in (cross.q, cross.k, cross.v))  # H E D
    o = cross.o.weight.unflatten(1, shape).transpose(0, 1)  # H D E
    keys = (q * _gain(layer.cross_norm)).transpose(1, 2) @ k
    return torch.cat([keys, o @ v]).flatten(0, 1).to(dtype).t()
