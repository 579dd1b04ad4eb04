"""TIGER's decoder, one code at a time: what beam search and exact scoring ask of it.

What depends on the user alone is computed once per user and shared by all beams: the encoder and,
for each layer and head, cross-attention in folded form. With q = x Q, k = m K, v = m V and the
output map O, a score is x (Q K' m') and what is read is (m V O) weighted; so the two brackets are
made once, and a beam needs neither its query nor its output map.

Shape legend: B rows (users), K beams, S memory slots, D width, H heads, E head width, I = H x E, V
vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoter.models.layers import Attention
from scoter.models.step_reader import ChainMemory, read_chains
from scoter.models.training.batches import HistoryBatch
from scoter.protocols import StepSource

if TYPE_CHECKING:
    from scoter.models.backbones.tiger import Tiger

_BLOCKED = -1e9


@dataclass(frozen=True, eq=False)
class FoldedLayer:
    """The attention weights of one decoder layer, multiplied out."""

    q: Float[Tensor, "I D"]  # self-attention's queries
    kv: Float[Tensor, "twoI D"]  # self-attention's keys and values
    keys: Float[Tensor, "HD D"]  # cross-attention's Q K'
    values: Float[Tensor, "HD D"]  # cross-attention's V O


@torch.no_grad()
def fold(model: "Tiger") -> list[FoldedLayer]:
    """Each decoder layer's weights as decoding wants them, for any number of histories."""
    return [_fold(layer.cross, layer.self_attention) for layer in model.decoder.layers]


def _fold(cross: Attention, own: Attention) -> FoldedLayer:
    shape = (cross.heads, -1)
    q, k, v = (part.weight.unflatten(0, shape) for part in (cross.q, cross.k, cross.v))  # H E D
    o = cross.o.weight.unflatten(1, shape).transpose(0, 1)  # H D E
    kv = torch.cat([own.k.weight, own.v.weight])
    keys, values = (q.transpose(1, 2) @ k).flatten(0, 1), (o @ v).flatten(0, 1)
    return FoldedLayer(own.q.weight, kv, keys, values)


class BeamDecoder:
    """The decoder's state for one batch of users and their beams.

    Args:
        folded: what `fold` made of the model.
        memory: the encoder's output.
        lengths: how many items it is of.
        chain: the users' encoded chains, which the model's fusion reads.
        read: what reads chains instead: (states, layer) -> states.
    """

    state: Float[Tensor, "B K D"]  # what the latest `advance` made of its tokens

    def __init__(
        self,
        model: "Tiger",
        folded: list[FoldedLayer],
        memory: Float[Tensor, "B S D"],
        lengths: Int[Tensor, " B"],
        chain: ChainMemory | None = None,
        read: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        self.model, self.folded, self.chain, self.read = model, folded, chain, read
        fusion = model.fusion
        if chain is not None and fusion is not None:
            self.read = lambda states, layer: fusion(states, chain, layer)
        self.start_only = fusion is not None and fusion.start_only
        self.cross = [
            (_per_head(memory, layer.keys), _per_head(memory, layer.values)) for layer in folded
        ]
        seen = torch.arange(memory.shape[1])[None, :] < (lengths * model.levels)[:, None]
        self.hidden_slots = torch.where(seen, 0.0, _BLOCKED)[:, None, None, :]
        self.bias = model.decoder.relative_bias(model.levels)[0]
        # past[layer][position]: self keys and values; one a user for the start token, which all
        # beams share.
        self.past: list[list[Tensor]] = [[] for _ in folded]

    @classmethod
    def start(
        cls,
        model: "Tiger",
        folded: list[FoldedLayer],
        asked: HistoryBatch,
        steps: StepSource | None,
    ) -> "BeamDecoder":
        """The state before the first code of what follows each history."""
        chain = read_chains(model.fusion, steps, asked.users, asked.prefix_lengths)
        memory = model.encode(model.item_tokens[asked.items])
        return cls(model, folded, memory, asked.lengths, chain)

    def advance(self, tokens: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        """Logits of the next token after each beam's `tokens`, which join the past."""
        model = self.model
        x = model.embedding(tokens)
        for number, layer in enumerate(model.decoder.layers):
            x = x + self._read_past(layer.self_norm(x), number, layer.self_attention)
            x = x + self._read_memory(layer.cross_norm(x), number)
            if self.read is not None and not (self.start_only and len(self.past[number]) > 1):
                x = self.read(x, number)
            x = x + layer.ff.wo(layer.ff.wi(layer.ff_norm(x)).relu_())
        with torch.autocast(x.device.type, enabled=False):
            self.state = model.decoder.norm(x.float())
            return model._logits(self.state)

    @property
    def votes(self) -> tuple[Float[Tensor, "B choices"], Int[Tensor, "B steps"]] | None:
        """After the start token, where steps vote: their log weights, and the items they name."""
        fusion, chain = self.model.fusion, self.chain
        if fusion is None or chain is None or chain.named is None:
            return None
        return fusion.vote(self.state[:, 0], chain), chain.named

    def select(self, parents: Int[Tensor, "B K"]) -> "BeamDecoder":
        """The state of new beams, each of which continues one of this state's."""
        child = object.__new__(BeamDecoder)
        child.__dict__ |= self.__dict__
        child.past = [
            [kept if kept.shape[1] == 1 else _pick(kept, parents) for kept in layer]
            for layer in self.past
        ]
        return child

    def _read_past(
        self, x: Float[Tensor, "B K D"], number: int, attention: Attention
    ) -> Float[Tensor, "B K D"]:
        shape = (attention.heads, -1)
        query = nn.functional.linear(x, self.folded[number].q).unflatten(-1, shape)
        self.past[number].append(nn.functional.linear(x, self.folded[number].kv))
        pairs = [kept.unflatten(-1, (2, *shape)).unbind(2) for kept in self.past[number]]
        scores = torch.stack([(query * key).sum(-1) for key, _ in pairs], -1)  # B K H positions
        position = len(pairs) - 1
        bias = self.bias[:, position, : position + 1].to(scores.dtype)
        weights = torch.softmax(scores + bias, -1).to(query.dtype)
        mixed = weights[..., :1] * pairs[0][1]
        for place in range(1, len(pairs)):
            mixed = torch.addcmul(mixed, weights[..., place, None], pairs[place][1])
        return attention.o(mixed.flatten(2))

    def _read_memory(self, x: Float[Tensor, "B K D"], number: int) -> Float[Tensor, "B K D"]:
        keys, values = self.cross[number]
        slots = self.hidden_slots.shape[-1]
        scores = (x @ keys.transpose(1, 2)).unflatten(-1, (-1, slots))  # B K H S
        weights = torch.softmax(scores + self.hidden_slots.to(scores.dtype), -1).to(values.dtype)
        return weights.flatten(2) @ values


def _per_head(
    memory: Float[Tensor, "B S D"], weight: Float[Tensor, "HD D"]
) -> Float[Tensor, "B HS D"]:
    mapped = nn.functional.linear(memory, weight).unflatten(-1, (-1, memory.shape[-1]))
    return mapped.transpose(1, 2).flatten(1, 2)


def _pick(
    kept: Float[Tensor, "B before twoI"], parents: Int[Tensor, "B K"]
) -> Float[Tensor, "B K twoI"]:
    rows, before, _ = kept.shape
    flat = (torch.arange(rows)[:, None] * before + parents).flatten()
    return kept.flatten(0, 1).index_select(0, flat).unflatten(0, parents.shape)
