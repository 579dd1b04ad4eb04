"""TIGER's decoder, one code at a time: what beam search asks of it.

The encoder and the keys and values of the cross-attention are computed once per user and shared by its beams.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BLOCKED = -1e9


class BeamDecoder:
    """Decoder state of one batch: cross keys and values once per user, self keys and values per beam."""

    def __init__(self, model: Any, history: Int[Tensor, "B L"], lengths: Int[Tensor, " B"], chain: Any) -> None:
        self.model, self.chain = model, chain
        memory = model.encode(model.item_tokens[history])
        self.cross = [layer.cross.keys_values(memory) for layer in model.decoder.layers]
        seen = torch.arange(memory.shape[1])[None, :] < (lengths * model.levels)[:, None]
        self.seen = torch.where(seen, 0.0, _BLOCKED)[:, None, None, :]
        self.past: list[tuple[Tensor, Tensor]] = []
        self.bias = model.decoder.relative_bias(model.levels)

    def advance(self, tokens: Int[Tensor, "B beams"]) -> Float[Tensor, "B beams V"]:
        model = self.model
        rows, beams = tokens.shape
        x = model.embedding(tokens)
        position = self.past[0][0].shape[2] if self.past else 0
        bias = self.bias[:, :, position : position + 1, : position + 1]
        for number, layer in enumerate(model.decoder.layers):
            x = self._self_attend(x.view(rows * beams, 1, -1), number, layer, bias).view(rows, beams, -1)
            x = layer.cross_attend(x, self.cross[number], self.seen)
            if self.chain is not None:
                x = model.fusion(x, self.chain, number)
            x = layer.feed_forward(x)
        with torch.autocast("cpu", enabled=False):
            return torch.log_softmax(model._logits(model.decoder.norm(x.float())), dim=-1)

    def reorder(self, parents: Int[Tensor, "B beams"]) -> None:
        rows = parents.shape[0]
        beams_before = self.past[0][0].shape[0] // rows
        flat = (torch.arange(rows)[:, None] * beams_before + parents).flatten()
        self.past = [(keys[flat], values[flat]) for keys, values in self.past]

    def _self_attend(self, x: Tensor, number: int, layer: Any, bias: Tensor) -> Tensor:
        normed = layer.self_norm(x)
        keys, values = layer.self_attention.keys_values(normed)
        if number < len(self.past):
            keys = torch.cat([self.past[number][0], keys], dim=2)
            values = torch.cat([self.past[number][1], values], dim=2)
            self.past[number] = (keys, values)
        else:
            self.past.append((keys, values))
        return x + layer.self_attention(normed, (keys, values), bias)
