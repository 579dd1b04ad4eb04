"""TIGER's decoder, one code at a time: what beam search and exact scoring ask of it.

What depends on the user alone is computed once per user and shared by all beams: the encoder and,
for each layer and head, cross-attention in folded form. With q = x Q, k = m K, v = m V and the
output map O, a score is x (Q K' m') and what is read is (m V O) weighted; so the two brackets are
made once, and a beam needs neither its query nor its output map.

Shape legend: B rows (users), K beams, S memory slots, D width, H heads, E head width, I = H x E, V
vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.training.precision import autocast, device_of, placed

_BLOCKED = -1e9


@dataclass(frozen=True, eq=False)
class FoldedLayer:
    """The attention weights of one decoder layer, multiplied out."""

    q: Float[Tensor, "I D"]
    kv: Float[Tensor, "twoI D"]
    keys: Float[Tensor, "HD D"]
    values: Float[Tensor, "HD D"]


@torch.no_grad()
def fold(model: Any) -> list[FoldedLayer]:
    """Each decoder layer's weights as decoding wants them; made once for any number of
    histories."""
    folded = []
    for layer in model.decoder.layers:
        cross, heads = layer.cross, layer.cross.heads
        q, k, v = (
            part.weight.unflatten(0, (heads, -1)) for part in (cross.q, cross.k, cross.v)
        )  # H E D
        o = cross.o.weight.unflatten(1, (heads, -1)).transpose(0, 1)  # H D E
        attention = layer.self_attention
        kv = torch.cat([attention.k.weight, attention.v.weight])
        folded.append(
            FoldedLayer(
                attention.q.weight, kv, (q.transpose(1, 2) @ k).flatten(0, 1), (o @ v).flatten(0, 1)
            )
        )
    return folded


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode, no gradients and the model's own precision; the mode is put back
    afterwards."""
    training = model.training
    model.eval()
    try:
        with (
            torch.inference_mode(),
            autocast(model.precision, device_of(model)),
            placed(device_of(model)),
        ):
            yield
    finally:
        model.train(training)


class BeamDecoder:
    """Decoder state of one batch. `past[layer][position]` holds the self keys and values; those of
    the start token are one per user, as all beams share it. `memory` is the encoder's output and
    `lengths` counts the items it is of. `chain` is what the fusion made of the users' chains, or a
    function (states, layer) that reads it. `state` is what the latest `advance` made of its
    tokens."""

    def __init__(
        self,
        model: Any,
        folded: list[FoldedLayer],
        memory: Float[Tensor, "B S D"],
        lengths: Int[Tensor, " B"],
        chain: Any,
    ) -> None:
        self.model, self.folded, self.chain = model, folded, chain
        self.cross = [
            (self._per_head(memory, layer.keys), self._per_head(memory, layer.values))
            for layer in folded
        ]
        seen = torch.arange(memory.shape[1])[None, :] < (lengths * model.levels)[:, None]
        self.hidden_slots = torch.where(seen, 0.0, _BLOCKED)[:, None, None, :]
        self.bias = model.decoder.relative_bias(model.levels)[0]
        self.past: list[list[Tensor]] = [[] for _ in folded]

    def advance(self, tokens: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        """Logits of the next token after each beam's `tokens`, which join the past."""
        model = self.model
        x = model.embedding(tokens)
        for number, layer in enumerate(model.decoder.layers):
            x = x + self._read_past(layer.self_norm(x), number, layer.self_attention)
            x = x + self._read_memory(layer.cross_norm(x), number)
            if self.chain is not None and not (
                model.fusion.start_only and len(self.past[number]) > 1
            ):
                x = (
                    self.chain(x, number)
                    if callable(self.chain)
                    else model.fusion(x, self.chain, number)
                )
            x = x + layer.ff.wo(layer.ff.wi(layer.ff_norm(x)).relu_())
        with torch.autocast(x.device.type, enabled=False):
            self.state = model.decoder.norm(x.float())
            return model._logits(self.state)

    def vote(self, chain: Any) -> Float[Tensor, "B choices"]:
        """Log weights of abstention and of each step's vote, by this first decoder's state after
        the start token."""
        return self.model.fusion.vote(self.state[:, 0], chain)

    def select(self, parents: Int[Tensor, "B K"]) -> "BeamDecoder":
        """The state of new beams, each of which continues one of this state's; what users share is
        not copied."""
        child = object.__new__(BeamDecoder)
        child.__dict__ |= self.__dict__
        child.past = [
            [kept if kept.shape[1] == 1 else _pick(kept, parents) for kept in layer]
            for layer in self.past
        ]
        return child

    def _read_past(
        self, x: Float[Tensor, "B K D"], number: int, attention: Any
    ) -> Float[Tensor, "B K D"]:
        shape = (attention.heads, -1)
        query = nn.functional.linear(x, self.folded[number].q).unflatten(-1, shape)
        self.past[number].append(nn.functional.linear(x, self.folded[number].kv))
        pairs = [kept.unflatten(-1, (2, *shape)).unbind(2) for kept in self.past[number]]
        scores = torch.stack([(query * key).sum(-1) for key, _ in pairs], -1)  # B K H positions
        position = len(pairs) - 1
        weights = torch.softmax(
            scores + self.bias[:, position, : position + 1].to(scores.dtype), -1
        ).to(query.dtype)
        mixed = weights[..., :1] * pairs[0][1]
        for place in range(1, len(pairs)):
            mixed = torch.addcmul(mixed, weights[..., place, None], pairs[place][1])
        return attention.o(mixed.flatten(2))

    def _read_memory(self, x: Float[Tensor, "B K D"], number: int) -> Float[Tensor, "B K D"]:
        keys, values = self.cross[number]
        scores = (x @ keys.transpose(1, 2)).unflatten(
            -1, (-1, self.hidden_slots.shape[-1])
        )  # B K H S
        weights = torch.softmax(scores + self.hidden_slots.to(scores.dtype), -1).to(values.dtype)
        return weights.flatten(2) @ values

    def _per_head(
        self, memory: Float[Tensor, "B S D"], weight: Float[Tensor, "HD D"]
    ) -> Float[Tensor, "B HS D"]:
        return (
            nn.functional.linear(memory, weight)
            .unflatten(-1, (-1, memory.shape[-1]))
            .transpose(1, 2)
            .flatten(1, 2)
        )


def _pick(
    kept: Float[Tensor, "B before twoI"], parents: Int[Tensor, "B K"]
) -> Float[Tensor, "B K twoI"]:
    rows, before, _ = kept.shape
    flat = (torch.arange(rows)[:, None] * before + parents).flatten()
    return kept.flatten(0, 1).index_select(0, flat).unflatten(0, parents.shape)
