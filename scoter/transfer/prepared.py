"""A trained fusion for one request at a time: weights multiplied out, and every chain of a shipped
table ready beforehand.

With z the normalised state, what a state needs of its own is linear in z: its queries, and its half
of the gate. Keys are never made: a query is taken through the key weights instead, and attends to
the slots themselves; what it mixes of them goes through the value weights. So a chain costs nothing
but its slots, and these depend on what a step says and on which step it is, of which a table has
few kinds: they are made once for all users.

Everything here is small, so NumPy does it, whose calls cost less than Torch's, and in fp32 whatever
the recommender's precision. A vote's score is bilinear in the first state and a slot, so one
product with the state serves all steps; the few numbers that remain are dealt with as numbers.

Shape legend: S slots that exist (the null last), D width, H heads, E head width, N states.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.protocols import StepSource
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.reading import GatedAttention
from scoter.transfer.votes import Votes

CHUNK = 4096


@runtime_checkable
class ShippedSteps(StepSource, Protocol):
    """A table with one chain at most for each user, such as
    `scoter.models.quantised_steps.QuantisedSteps`."""

    step_count: int

    def kinds(
        self,
    ) -> tuple[
        Int[np.ndarray, " kinds"], Int[np.ndarray, "users steps"], Bool[np.ndarray, "users steps"]
    ]: ...

    def means(self, bags: Int[np.ndarray, " bags"]) -> Float[np.ndarray, "bags dim"]: ...


class PreparedFusion:
    """What `fusion` does in evaluation mode, for one chain.

    Example:
        >>> fusion = StructuredFusion(steps=3, step_dim=4, dim=8, layers=2, heads=2).eval()
        >>> steps, mask, hidden = (
        ...     torch.randn(1, 3, 4),
        ...     torch.tensor([[True, False, True]]),
        ...     torch.randn(1, 5, 8),
        ... )
        >>> with torch.inference_mode():
        ...     read = PreparedFusion(fusion).chain(steps[0], mask[0])(hidden, 1)
        ...     torch.allclose(read, fusion(hidden, fusion.encode(steps, mask), 1), atol=1e-5)
        True
    """

    @torch.no_grad()
    def __init__(self, fusion: StructuredFusion) -> None:
        self.fusion = fusion
        self.layers = [_multiply_out(layer) for layer in fusion.layers]
        self.votes = None if fusion.votes is None else _votes_multiplied_out(fusion.votes)
        # What the slot of a step has whatever it says, and how much of what it says; None where a
        # fusion has slots of its own.
        self.own: Tensor | None = None
        if fusion.shares_steps and fusion.order is None:
            self.own = fusion.project(-fusion.centre / fusion.scale[:, None]) + fusion.position
            self.gain = fusion.centre.shape[1] ** 0.5 / fusion.scale
            self.null = fusion.norm(fusion.null[0])[0]

    def of_source(self, steps: StepSource) -> "Callable[[int, int], PreparedChain]":
        """(user, prefix length) -> the chain, made ready when it is asked for."""

        def chain_of(user: int, length: int) -> PreparedChain:
            asked = torch.tensor([user]), torch.tensor([length])
            (values, mask), named = steps.read(*asked), None
            if self.votes is not None:
                named = steps.named(*asked)[0]
            return self.chain(values[0], mask[0], named)

        return chain_of

    def of_table(self, table: ShippedSteps) -> "Callable[[int, int], PreparedChain]":
        """The same for a shipped table, whose chains are all made ready now where they can be."""
        if self.own is None:
            return self.of_source(table)
        chains = self.chains(table)
        return lambda user, length: chains.of(user)

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def chain(
        self,
        steps: Float[Tensor, "steps step_dim"],
        mask: Bool[Tensor, " steps"],
        named: Int[Tensor, " steps"] | None = None,
    ) -> "PreparedChain":
        """All that reading this chain needs; `named` says which items its steps name, where these
        have votes."""
        memory = self.fusion.encode(
            steps[None], mask[None], *([] if named is None else [named[None]])
        )
        slots = memory.slots[0, memory.bias[0, 0, 0] == 0].float().numpy()
        present = np.flatnonzero((mask & self.fusion.keep).numpy())
        return PreparedChain(self, slots, present, None if named is None else named.numpy())

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def chains(self, table: ShippedSteps) -> "PreparedChains":
        """Every user's chain of a shipped table; only for fusions with `own`, whose slots are their
        steps."""
        bags, kind, there = table.kinds()
        places = torch.from_numpy(bags % table.step_count)
        made = [
            self._slots(
                torch.from_numpy(table.means(bags[start : start + CHUNK])),
                places[start : start + CHUNK],
            )
            for start in range(0, len(bags), CHUNK)
        ]
        slots = torch.cat([*made, self.null[None]]).numpy()
        there, named = there & self.fusion.keep.numpy(), None
        if self.votes is not None:
            users = torch.arange(len(there))
            named = table.named(users, users).numpy()
        return PreparedChains(self, table, slots, kind, there, named)

    def _slots(
        self, said: Float[Tensor, "rows step_dim"], places: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows D"]:
        assert self.own is not None
        lengths = torch.linalg.vector_norm(said, dim=1).clamp(min=1e-12)
        projected = nn.functional.linear(said, self.fusion.project.weight)
        return self.fusion.norm(
            torch.addcmul(self.own[places], projected, (self.gain[places] / lengths)[:, None])
        )


@dataclass(frozen=True, eq=False)
class PreparedChains:
    """The chains of a table: `slots` of every kind and the null last, which of them each step of
    each user is, which steps are `there`, and the item that each names."""

    prepared: PreparedFusion
    table: ShippedSteps
    slots: Float[np.ndarray, "kinds_and_null D"]
    kind: Int[np.ndarray, "users steps"]
    there: Bool[np.ndarray, "users steps"]
    named: Int[np.ndarray, "users steps"] | None

    def of(self, user: int) -> "PreparedChain":
        """The chain of the user in this row."""
        present = np.flatnonzero(self.there[user])
        rows = np.append(self.kind[user, present], len(self.slots) - 1)
        return PreparedChain(
            self.prepared,
            self.slots[rows],
            present,
            None if self.named is None else self.named[user],
        )


class PreparedChain:
    """One chain, ready to be read by states of any number: its `slots`, which steps are `present`,
    and what these name."""

    def __init__(
        self,
        prepared: PreparedFusion,
        slots: Float[np.ndarray, "S D"],
        present: Int[np.ndarray, " there"],
        named: Int[np.ndarray, " steps"] | None,
    ) -> None:
        self.prepared, self.slots, self.present, self.named = prepared, slots, present, named

    def __call__(self, hidden: Float[Tensor, "1 N D"], layer: int) -> Float[Tensor, "1 N D"]:
        return self.prepared.fusion.where_read(hidden, layer, self._read)

    def _read(self, hidden: Float[Tensor, "1 N D"], place: int) -> Float[Tensor, "1 N D"]:
        layer, states = self.prepared.layers[place], hidden.numpy()[0]
        dim = states.shape[1]
        own = states @ layer.into
        mean, square = own[:, -1:], (states[:, None] @ states[:, :, None])[:, 0] / dim
        own = own[:, :-1] / np.sqrt(square - mean * mean + layer.eps) + layer.bias
        query = own[:, :dim].reshape(len(states), *layer.keys.shape[:2]).transpose(1, 0, 2)  # H N E
        scores = (query @ layer.keys) @ self.slots.T
        weights = np.exp(scores - np.maximum.reduce(scores, axis=-1, keepdims=True))
        weights /= np.add.reduce(weights, axis=-1, keepdims=True)
        mixed = ((weights @ self.slots) @ layer.values).transpose(1, 0, 2).reshape(len(states), dim)
        read = mixed @ layer.out + layer.rest
        gate = 1 + np.tanh(
            own[:, dim:] + read[:, dim:]
        )  # twice the sigmoid; the context comes halved
        return torch.from_numpy(states + gate * read[:, :dim])[None]

    def elect(
        self,
        items: Int[Tensor, " found"],
        scores: Float[Tensor, " found"],
        state: Float[Tensor, " D"],
    ) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
        """`scoter.models.decoding.votes.elect` of one request: the best of what a search found and
        of what steps name, by the votes of the decoder's `state` after the start token. Without
        votes, what was found."""
        if self.named is None or self.prepared.votes is None:
            return items, scores
        votes = self.prepared.votes
        asked = votes.constant + votes.into @ state.numpy()
        voted = self.slots[:-1] @ asked[:-1] + asked[-1] + votes.by_step[self.present]
        named = self.named[self.present].tolist()
        ballots = [
            (item, score) for item, score in zip(named, voted.tolist(), strict=True) if item >= 0
        ]
        largest = max([votes.abstain, *(score for _, score in ballots)])
        shares = [(item, math.exp(score - largest)) for item, score in ballots]
        own = math.exp(votes.abstain - largest)
        won = {
            item: own * math.exp(score)
            for item, score in zip(items.tolist(), scores.tolist(), strict=True)
            if item >= 0
        }
        for item, share in shares:
            won[item] = won.get(item, 0.0) + share
        best = sorted(won, key=won.__getitem__, reverse=True)[: len(items)]
        total = own + sum(share for _, share in shares)
        scored = [math.log(won[item] / total) if won[item] > 0 else -math.inf for item in best]
        return torch.from_numpy(np.array(best, np.int64)), torch.from_numpy(
            np.array(scored, np.float32)
        )


class _Layer(NamedTuple):
    """From a state to [queries | its own part of the gate | its mean], all but the mean yet to be
    divided by its deviation and given their bias; the key and value weights of each head; and from
    mixed values to [context | gate], with their rest. Context and gate are halved, since sigmoid(x)
    = (1 + tanh(x / 2)) / 2."""

    into: Float[np.ndarray, "D twoD_and_one"]
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


def _multiply_out(layer: GatedAttention) -> _Layer:
    scale, shift, dim = layer.norm.weight, layer.norm.bias, len(layer.norm.weight)
    width = (dim // layer.heads) ** -0.5
    if layer.gate is None:
        own, other, gate_bias = (
            torch.zeros(dim, dim),
            torch.zeros(dim, dim),
            torch.full((dim,), 200.0),
        )  # a sigmoid of 1
    else:
        own, other = layer.gate.weight.split(dim, 1)
        gate_bias = layer.gate.bias
    # The norm's mean is taken off by the map itself: what it maps is the state less its mean in
    # every place.
    into = torch.cat([width * layer.query.weight * scale, own * scale / 2])
    into = torch.cat([into - into.mean(1, keepdim=True), torch.full((1, dim), 1 / dim)])
    bias = torch.cat([width * (layer.query.weight @ shift + layer.query.bias), own @ shift / 2])
    out = torch.cat([layer.out.weight, other @ layer.out.weight]) / 2
    key, value = layer.key_value.weight.split(dim)
    # A key's bias adds the same to all scores of a state, and a value's bias is what every mixture
    # has.
    rest = (
        torch.cat([layer.out.bias, gate_bias + other @ layer.out.bias]) / 2
        + out @ layer.key_value.bias[dim:]
    )
    keys, values = (
        key.unflatten(0, (layer.heads, -1)),
        value.unflatten(0, (layer.heads, -1)).transpose(1, 2),
    )
    return _Layer(
        *(_array(into.T), _array(bias), _array(keys), _array(values), _array(out.T), _array(rest)),
        eps=layer.norm.eps,
    )


def _array(part: Tensor) -> np.ndarray:
    """As NumPy multiplies by it fastest: one row after another."""
    return part.contiguous().numpy()


def _votes_multiplied_out(votes: Votes) -> _VoteWeights:
    query, key, scale = votes.query, votes.key, len(votes.query.bias) ** -0.5
    onto = scale * torch.cat([key.weight.T, key.bias[None]])
    into, constant = onto @ query.weight, onto @ query.bias
    return _VoteWeights(
        into.numpy(), constant.numpy(), votes.step.detach().clone().numpy(), float(votes.abstain)
    )
