"""A trained fusion whose weights are multiplied out, for reading one chain at a time with as few operations as can be.

With z the normalised state and n = g z + b, what a state needs of its own is linear in z: its queries, and its half of the
gate. What it reads is linear in the mixed values: the context, and the other half of the gate. So a read is a norm, one
product, the attention, one product, a sigmoid and a sum; and a chain costs one product for the keys and values of all layers.
Slots that are missing are left out rather than masked. Multiplying keys into the queries as well, as the decoder does for
its encoder, was tried and costs more per chain than it saves: a chain has few slots and is read a few times.

A vote's score is bilinear in the first state and a slot, so one product with the state serves all steps; the few numbers
that remain are dealt with as numbers.

Shape legend: S slots that exist (the null among them), D width, H heads, N states, L layers.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.votes import Votes


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
        self.fusion, self.heads = fusion, fusion.layers[0].heads
        self.weight = torch.cat([layer.key_value.weight for layer in fusion.layers]).T.contiguous()
        self.bias = torch.cat([layer.key_value.bias for layer in fusion.layers])
        self.layers = [_multiply_out(layer, self.heads) for layer in fusion.layers]
        self.votes = None if fusion.votes is None else _votes_multiplied_out(fusion.votes)
        # What the slot of a step has whatever it says, and how much of what it says; None where a fusion has slots of its own.
        self.own: Any = None
        if fusion.shares_steps and fusion.order is None:
            self.own = fusion.project(-fusion.centre / fusion.scale[:, None]) + fusion.position
            self.gain = fusion.centre.shape[1] ** 0.5 / fusion.scale[:, None]
            self.null = fusion.null[0]

    def chain(
        self, steps: Float[Tensor, "steps step_dim"], mask: Bool[Tensor, " steps"], named: Int[Tensor, " steps"] | None = None
    ) -> "PreparedChain":
        """All that reading this chain needs; `named` says which items its steps name, where these have votes."""
        if self.own is None:
            memory = self.fusion.encode(steps[None], mask[None], *([] if named is None else [named[None]]))
            slots = memory.slots[0, memory.bias[0, 0, 0] == 0]
            return self._prepared(slots, mask & self.fusion.keep, named)
        said = steps[mask]
        lengths = torch.linalg.vector_norm(said, dim=1, keepdim=True)
        return self.chain_of(said @ self.fusion.project.weight.T, lengths, mask, named)

    def chain_of(
        self,
        projected: Float[Tensor, "present D"],
        lengths: Float[Tensor, "present 1"],
        there: Bool[Tensor, " steps"],
        named: Int[Tensor, " steps"] | None = None,
    ) -> "PreparedChain":
        """The same from what is known of the steps that are `there`: images under the fusion's map, and lengths before it.

        Only for fusions with `own`, whose slots are their steps.
        """
        mask = there & self.fusion.keep
        kept = mask[there]
        gain = self.gain[mask] / lengths[kept].clamp(min=1e-12)
        slots = torch.addcmul(self.own[mask], projected[kept], gain)
        return self._prepared(self.fusion.norm(torch.cat([slots, self.null])), mask, named)

    def _prepared(
        self, slots: Float[Tensor, "S D"], mask: Bool[Tensor, " steps"], named: Int[Tensor, " steps"] | None
    ) -> "PreparedChain":
        told = torch.addmm(self.bias, slots, self.weight).view(len(slots), len(self.layers), 2, self.heads, -1)
        keys, values = told.permute(1, 2, 3, 0, 4).contiguous().unbind(1)  # L H S E
        voters = None
        if self.votes is not None and named is not None:
            voters = slots[:-1], self.votes[2][mask], named[mask].tolist()
        return PreparedChain(self, keys.transpose(2, 3).unbind(0), values.unbind(0), voters)


class PreparedChain:
    """One chain, ready to be read by states of any number."""

    def __init__(
        self,
        prepared: PreparedFusion,
        keys: tuple[Tensor, ...],
        values: tuple[Tensor, ...],
        voters: tuple[Tensor, Tensor, list[int]] | None,
    ) -> None:
        self.prepared, self.keys, self.values, self.voters = prepared, keys, values, voters

    def __call__(self, hidden: Float[Tensor, "1 N D"], layer: int) -> Float[Tensor, "1 N D"]:
        return self.prepared.fusion.where_read(hidden, layer, self._read)

    def _read(self, hidden: Float[Tensor, "1 N D"], place: int) -> Float[Tensor, "1 N D"]:
        into, bias, out = self.prepared.layers[place]
        states = hidden[0]
        count, dim = states.shape
        own = torch.addmm(bias, nn.functional.layer_norm(states, (dim,)), into)
        query = own[:, :dim].view(count, self.prepared.heads, -1).transpose(0, 1)
        mixed = torch.softmax(query @ self.keys[place], -1) @ self.values[place]
        read = torch.addmm(own[:, dim:], mixed.transpose(0, 1).reshape(count, dim), out)
        return torch.addcmul(states, read[:, :dim], read[:, dim:].sigmoid())[None]

    def elect(
        self, items: Int[Tensor, " found"], scores: Float[Tensor, " found"], state: Float[Tensor, " D"]
    ) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
        """`scoter.models.votes.elect` of one request: the best of what a search found and of what steps name, by the votes of the
        decoder's `state` after the start token. Without votes, what was found."""
        if self.voters is None or self.prepared.votes is None:
            return items, scores
        into, constant, _, abstain = self.prepared.votes
        slots, by_step, named = self.voters
        asked = torch.addmv(constant, into, state)
        voted = (torch.addmv(by_step, slots, asked[:-1]) + asked[-1]).tolist()
        ballots = [(item, score) for item, score in zip(named, voted, strict=True) if item >= 0]
        total = _log_sum([abstain, *(score for _, score in ballots)])
        won = {item: score + abstain - total for item, score in zip(items.tolist(), scores.tolist(), strict=True) if item >= 0}
        for item, score in ballots:
            won[item] = _log_sum([won.get(item, -math.inf), score - total])
        best = sorted(won, key=won.__getitem__, reverse=True)[: len(items)]
        return torch.tensor(best), torch.tensor([won[item] for item in best])


def _log_sum(logs: list[float]) -> float:
    return float(np.logaddexp.reduce(logs))


def _votes_multiplied_out(votes: Votes) -> tuple[Tensor, Tensor, Tensor, float]:
    """(into, constant, by_step, abstain): with (a, c) = into state + constant, step k with slot s scores s a + c + by_step[k]."""
    query, key, scale = votes.query, votes.key, len(votes.query.bias) ** -0.5
    onto = scale * torch.cat([key.weight.T, key.bias[None]])
    return onto @ query.weight, onto @ query.bias, votes.step.clone(), float(votes.abstain)


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
