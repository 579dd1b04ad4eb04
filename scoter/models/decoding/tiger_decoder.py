"""TIGER's decoder, one code at a time: what beam search and exact scoring ask of it.

What depends on the user alone is computed once per user and shared by all beams: the encoder and,
for each layer and head, the folded keys and values of cross-attention.

Shape legend: B rows (users), K beams, S memory slots, D width, H heads, E head width, I = H x E, V
vocabulary.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.models.decoding.folded import BLOCKED, Folded, plus
from scoter.models.step_reader import ChainMemory, read_chains
from scoter.models.training.batches import HistoryBatch
from scoter.protocols import StepSource

if TYPE_CHECKING:
    from scoter.models.backbones.tiger import Tiger


class BeamDecoder:
    """The decoder's state for one batch of users and their beams.

    Args:
        folded: the model's folded weights.
        memory: the encoder's output.
        lengths: how many items it is of.
        chain: the users' encoded chains, which the model's fusion reads.
        read: what reads chains instead: (states, layer) -> states.
    """

    ahead: Float[Tensor, "B K D"]  # directions of what the latest `advance` made of its tokens

    def __init__(
        self,
        model: "Tiger",
        folded: Folded,
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
        self.bf16 = model.precision == "bf16"
        self.cross = [self._per_head(memory, weight) for weight in folded.decoder.cross]
        tokens, slots = lengths * model.levels, memory.shape[1]
        self.hidden_slots: Tensor | None = None  # a bias; none where all histories are as long
        if int(tokens.min()) < slots:
            seen = torch.arange(slots)[None, :] < tokens[:, None]
            self.hidden_slots = torch.where(seen, 0.0, BLOCKED)[:, None, None, :]
        # past[layer][position]: self keys and values; one a user for the start token, which all
        # beams share.
        self.past: list[list[Tensor]] = [[] for _ in self.cross]

    @classmethod
    def start(
        cls, model: "Tiger", folded: Folded, asked: HistoryBatch, steps: StepSource | None
    ) -> "BeamDecoder":
        """The state before the first code of what follows each history."""
        chain = read_chains(model.fusion, steps, asked.users, asked.prefix_lengths)
        return cls(model, folded, folded.encode(asked.items), asked.lengths, chain)

    def advance(self, tokens: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        """Logits of the next token after each beam's `tokens`, which join the past."""
        model, stack, shape = self.model, self.folded.decoder, (*tokens.shape, -1)
        tokens = tokens.flatten()
        x = model.embedding(tokens)
        for number, layer in enumerate(stack.layers):
            q, kv = stack.queries_keys_values(x, number, tokens)
            x = plus(x, self._read_past(q.view(shape), kv.view(shape), number), layer.o)
            x = self._read_memory(x.view(shape), number)
            if self.read is not None and not (self.start_only and len(self.past[number]) > 1):
                x = self.read(x, number)
            x = stack.feed_forward(x.flatten(0, 1), number)
        exact = torch.autocast(x.device.type, enabled=False) if self.bf16 else nullcontext()
        with exact:
            ahead = stack.direction(x)
            logits = ahead @ self.folded.output[:, model.scored(len(self.past[0]) - 1)]
        self.ahead = ahead.view(shape)
        return logits.view(shape)

    @property
    def state(self) -> Float[Tensor, "B K D"]:
        """What the latest `advance` made of its tokens."""
        return self.ahead * self.folded.decoder.gain

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
        self, q: Float[Tensor, "B K I"], kv: Float[Tensor, "B K twoI"], number: int
    ) -> Float[Tensor, "BK I"]:
        past, split = self.past[number], (*q.shape[:2], -1, self.folded.model.config.head_dim)
        past.append(kv)
        pairs = [kept.view(*kept.shape[:2], 2, *split[2:]).unbind(2) for kept in past]
        mixed = pairs[0][1]
        if len(pairs) > 1:  # alone, the start token reads itself
            query = q.view(split)
            scores = torch.stack([(query * key).sum(-1) for key, _ in pairs], -1)
            bias = self.folded.decoder_bias[len(pairs) - 1, :, : len(pairs)]
            weights = torch.softmax(scores + bias.to(scores.dtype), -1).to(q.dtype)
            shares = weights.unsqueeze(-1).unbind(3)
            mixed = shares[0] * mixed
            for share, (_, values) in zip(shares[1:], pairs[1:], strict=True):
                mixed = torch.addcmul(mixed, share, values)
        return mixed.reshape(q.shape[0] * q.shape[1], -1)

    def _read_memory(self, x: Float[Tensor, "B K D"], number: int) -> Float[Tensor, "B K D"]:
        keys, values = self.cross[number]
        scores = self.folded.decoder.direction(x).to(keys.dtype) @ keys.transpose(1, 2)
        scores = scores.unflatten(-1, (self.folded.decoder.heads, -1))  # B K H S
        if self.hidden_slots is not None:
            scores = scores + self.hidden_slots.to(scores.dtype)
        weights = torch.softmax(scores, -1).to(values.dtype).flatten(2)
        if values.dtype == x.dtype:
            return torch.baddbmm(x, weights, values)
        return x + weights @ values

    def _per_head(
        self, memory: Float[Tensor, "B S D"], weight: Float[Tensor, "D twoHD"]
    ) -> tuple[Float[Tensor, "B HS D"], Float[Tensor, "B HS D"]]:
        mapped = memory.flatten(0, 1).to(weight.dtype) @ weight
        parts = mapped.view(*memory.shape[:2], 2, -1, memory.shape[2]).permute(2, 0, 3, 1, 4)
        keys, values = parts.flatten(2, 3).unbind(0)
        return keys, values


def _pick(
    kept: Float[Tensor, "B before twoI"], parents: Int[Tensor, "B K"]
) -> Float[Tensor, "B K twoI"]:
    rows, before, _ = kept.shape
    flat = (torch.arange(rows)[:, None] * before + parents).flatten()
    return kept.flatten(0, 1).index_select(0, flat).unflatten(0, parents.shape)
