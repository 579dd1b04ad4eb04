"""A trained fusion for one request at a time: weights are multiplied out beforehand.

With z the normalised state, what a state needs of its own is linear in z: its queries, and its half
of the gate. Keys are never made: a query is taken through the key weights instead, and attends to
the slots themselves; what it mixes of them goes through the value weights. So a chain costs nothing
but its slots. These depend on what a step says and on which step it is, of which a shipped table
has few kinds: they are made once for all users.

NumPy computes all this in fp32, since its calls cost less than torch's where everything is small.

Shape legend: S slots that exist (the null last), D width, H heads, E head width, N states.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.models.quantised_steps import QuantisedSteps
from scoter.protocols import StepSource
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.reading import GatedAttention
from scoter.transfer.votes import Votes

CHUNK = 4096  # slots made at once


class PreparedFusion:
    """What `fusion` does in evaluation mode, for one chain."""

    @torch.no_grad()
    def __init__(self, fusion: StructuredFusion) -> None:
        self.fusion = fusion
        self.layers = [_multiply_out(layer) for layer in fusion.layers]
        self.votes = None if fusion.votes is None else _votes_multiplied_out(fusion.votes)
        # What the slot of a step has whatever it says, and how much of what it says; None where a
        # fusion has slots of its own.
        self.own: Tensor | None = None
        if fusion.shares_steps and fusion.ordered and fusion.order is None:
            self.own = fusion.project(-fusion.centre / fusion.scale[:, None]) + fusion.position
            self.gain = fusion.centre.shape[1] ** 0.5 / fusion.scale
            self.null = fusion.norm(fusion.null[0])[0]

    def of_source(self, steps: StepSource) -> "Callable[[int, int], PreparedChain]":
        """(user, prefix length) -> the chain, made ready when it is asked for."""

        def chain_of(user: int, length: int) -> PreparedChain:
            asked = torch.tensor([user]), torch.tensor([length])
            values, mask = steps.read(*asked)
            if self.votes is None:
                return self.chain(values[0], mask[0])
            return self.chain(
                values[0], mask[0], steps.named(*asked)[0], steps.certainty(*asked)[0]
            )

        return chain_of

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def of_table(self, table: QuantisedSteps) -> "Callable[[int, int], PreparedChain]":
        """The same for a shipped table, whose chains are all made ready now where slots are steps,
        whatever the prefix length."""
        if self.own is None:
            return self.of_source(table)
        bags, kind, there = table.kinds()
        places = torch.from_numpy(bags % table.step_count)
        made = []
        for start in range(0, len(bags), CHUNK):
            chunk = slice(start, start + CHUNK)
            made.append(self._slots(torch.from_numpy(table.means(bags[chunk])), places[chunk]))
        slots = torch.cat([*made, self.null[None]]).numpy()
        # Which slot each step of a user has, -1 where it is missing; the null's is last.
        slot_of = np.full((len(kind), table.step_count + 1), len(slots) - 1)
        slot_of[:, :-1] = np.where(there & self.fusion.keep.numpy(), kind, -1)
        users = torch.arange(len(kind))
        named = None if self.votes is None else table.named(users, users).numpy()
        certainty = table.certainty(users, users).numpy()

        def chain_of(user: int, _length: int) -> PreparedChain:
            rows = slot_of[user]
            present = (rows >= 0).nonzero()[0]
            rows, voting = slots[rows[present]], None if named is None else named[user]
            return PreparedChain(self, rows, present[:-1], voting, certainty[user])

        return chain_of

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def chain(
        self,
        steps: Float[Tensor, "steps step_dim"],
        mask: Bool[Tensor, " steps"],
        named: Int[Tensor, " steps"] | None = None,
        certainty: Float[Tensor, " steps"] | None = None,
    ) -> "PreparedChain":
        """One chain made ready; `named` is the item that each step names, where steps vote, and
        `certainty` the share that it states for it."""
        memory = self.fusion.encode(steps[None], mask[None])
        slots = memory.slots[0, memory.bias[0, 0, 0] == 0].float().numpy()
        present = np.flatnonzero((mask & self.fusion.keep).numpy())
        votes = (None if x is None else x.numpy() for x in (named, certainty))
        return PreparedChain(self, slots, present, *votes)

    def _slots(
        self, means: Float[Tensor, "rows step_dim"], places: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows D"]:
        assert self.own is not None
        lengths = torch.linalg.vector_norm(means, dim=1).clamp(min=1e-12)
        projected = nn.functional.linear(means, self.fusion.project.weight)
        gain = (self.gain[places] / lengths)[:, None]
        return self.fusion.norm(torch.addcmul(self.own[places], projected, gain))


@dataclass(frozen=True, eq=False)
class PreparedChain:
    """One chain, ready to be read by states of any number."""

    prepared: PreparedFusion
    slots: Float[np.ndarray, "S D"]
    present: Int[np.ndarray, " there"]  # which steps exist
    named: Int[np.ndarray, " steps"] | None  # the item that each step names; -1 for none
    certainty: Float[np.ndarray, " steps"] | None = None  # the share that it states; 0 for none

    def __call__(self, hidden: Float[Tensor, "1 N D"], layer: int) -> Float[Tensor, "1 N D"]:
        """States that have read the chain in this layer of the recommender."""
        return self.prepared.fusion.where_read(hidden, layer, self._read)

    def _read(self, hidden: Float[Tensor, "1 N D"], place: int) -> Float[Tensor, "1 N D"]:
        layer, states, dim = self.prepared.layers[place], hidden[0].numpy(), hidden.shape[2]
        normed = nn.functional.layer_norm(hidden[0], (dim,), eps=layer.eps)
        own = normed.numpy() @ layer.into + layer.bias
        query = own[:, :dim].reshape(len(states), *layer.keys.shape[:2]).transpose(1, 0, 2)  # H N E
        scores = (query @ layer.keys) @ self.slots.T
        weights = np.exp(scores - np.maximum.reduce(scores, axis=-1, keepdims=True))
        weights /= np.add.reduce(weights, axis=-1, keepdims=True)
        mixed = ((weights @ self.slots) @ layer.values).transpose(1, 0, 2).reshape(len(states), dim)
        read = mixed @ layer.out + layer.rest
        gate = 1 + np.tanh(own[:, dim:] + read[:, dim:])  # twice the sigmoid of a halved context
        return torch.from_numpy(states + gate * read[:, :dim])[None]

    def elect(
        self,
        items: Int[Tensor, " found"],
        scores: Float[Tensor, " found"],
        state: Float[Tensor, " D"],
        k: int,
    ) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """The best k of `scoter.models.decoding.votes.elect`; without votes, of what was found.

        Args:
            state: the decoder's, after the start token.
        """
        votes = self.prepared.votes
        if self.named is None or votes is None:
            return items[:k], scores[:k]
        asked = votes.constant + votes.into @ state.numpy()
        weights = self.slots[:-1] @ asked[:-1] + asked[-1] + votes.by_step[self.present]
        pairs = [*zip(self.named[self.present].tolist(), weights.tolist(), strict=True)]
        ballots = [(item, weight) for item, weight in pairs if item >= 0]
        largest = max([votes.abstain, *(weight for _, weight in ballots)])
        own = math.exp(votes.abstain - largest)
        shares = [math.exp(weight - largest) for _, weight in ballots]
        total = own + sum(shares)
        if votes.shares != (1.0, 0.0):
            kept, sure = (1 - votes.shares[1]) / total, votes.rates
            if self.certainty is not None:
                sure = np.where(self.certainty > 0, self.certainty, sure)
            chances = [
                votes.shares[1] * chance
                for chance, (item, _) in zip(sure[self.present].tolist(), pairs, strict=True)
                if item >= 0
            ]
            own *= kept * votes.shares[0]
            shares = [kept * share + more for share, more in zip(shares, chances, strict=True)]
            total = own + sum(shares)
        listed = zip(items.tolist(), scores.tolist(), strict=True)
        won = {item: own * math.exp(score) for item, score in listed if item >= 0}
        for (item, _), share in zip(ballots, shares, strict=True):
            won[item] = won.get(item, 0.0) + share
        best = sorted(won, key=won.__getitem__, reverse=True)[:k]
        logs = [math.log(won[item] / total) if won[item] > 0 else -math.inf for item in best]
        return torch.tensor(best, dtype=torch.int64), torch.tensor(logs, dtype=torch.float32)


class _Layer(NamedTuple):
    """One reading layer, multiplied out.

    `into` maps a normed state to [queries | its own part of the gate], less `bias`; `out` maps
    mixed values to [context | gate], less `rest`. Context and gate are halved, since sigmoid(x) =
    (1 + tanh(x / 2)) / 2.
    """

    into: Float[np.ndarray, "D twoD"]
    bias: Float[np.ndarray, " twoD"]
    keys: Float[np.ndarray, "H E D"]
    values: Float[np.ndarray, "H D E"]
    out: Float[np.ndarray, "D twoD"]
    rest: Float[np.ndarray, " twoD"]
    eps: float


class _VoteWeights(NamedTuple):
    """With (a, c) = into state + constant, step k with slot s scores s a + c + by_step[k]."""

    into: Float[np.ndarray, "D_and_one D"]
    constant: Float[np.ndarray, " D_and_one"]
    by_step: Float[np.ndarray, " steps"]
    abstain: float
    rates: Float[np.ndarray, " steps"]
    shares: tuple[float, ...]


def _multiply_out(layer: GatedAttention) -> _Layer:
    scale, shift, dim = layer.norm.weight, layer.norm.bias, len(layer.norm.weight)
    width = (dim // layer.heads) ** -0.5
    own, other = torch.zeros(2, dim, dim)
    gate_bias = torch.full((dim,), 200.0)  # whose sigmoid is 1
    if layer.gate is not None:
        own, other = layer.gate.weight.split(dim, 1)
        gate_bias = layer.gate.bias
    into = torch.cat([width * layer.query.weight * scale, own * scale / 2])
    bias = torch.cat([width * (layer.query.weight @ shift + layer.query.bias), own @ shift / 2])
    out = torch.cat([layer.out.weight, other @ layer.out.weight]) / 2
    key, value = layer.key_value.weight.split(dim)
    # A key's bias adds the same to all scores of a state; a value's bias is in every mixture.
    rest = torch.cat([layer.out.bias, gate_bias + other @ layer.out.bias]) / 2
    rest = rest + out @ layer.key_value.bias[dim:]
    keys, values = key.unflatten(0, (layer.heads, -1)), value.unflatten(0, (layer.heads, -1))
    parts = (into.T, bias, keys, values.transpose(1, 2), out.T, rest)
    # NumPy multiplies fastest by what lies row after row.
    return _Layer(*(part.contiguous().numpy() for part in parts), eps=layer.norm.eps)


def _votes_multiplied_out(votes: Votes) -> _VoteWeights:
    query, key, scale = votes.query, votes.key, len(votes.query.bias) ** -0.5
    onto = scale * torch.cat([key.weight.T, key.bias[None]])
    into, constant = (onto @ query.weight).numpy(), (onto @ query.bias).numpy()
    by_step, shares = votes.step.detach().numpy(), tuple(votes.shares.tolist())
    return _VoteWeights(into, constant, by_step, float(votes.abstain), votes.rates.numpy(), shares)
