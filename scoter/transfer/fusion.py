"""Structured fusion: the hidden states of a recommender read the ordered steps of a chain.

The paper leaves this module open. Here, each step embedding is projected and gets a learned vector
of its position. A learned null slot stands beside the steps: attention can rest on it, and a state
without a chain reads it alone. Hidden states attend to the slots, and a gate, computed from the
state and from what it read, decides how much enters.

The embeddings of one role differ little, since its sentences differ in a few words.
`set_statistics` therefore centres and scales each position, by a sample of training prefixes.
Without it, steps enter as they are.

Any model that has hidden states can read chains:

    hidden = fusion.fuse(hidden, steps, mask)

A model that reads in several layers, or generates one code at a time, encodes each chain once:

    memory = fusion.encode(steps, mask)
    hidden = fusion(hidden, memory, layer)
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.config import check_heads
from scoter.errors import ConfigError
from scoter.models.layers import Dropout
from scoter.models.step_reader import ChainMemory
from scoter.protocols import StepSource
from scoter.transfer.reading import CausalSteps, GatedAttention
from scoter.transfer.votes import Votes

Steps: TypeAlias = Float[Tensor, "rows steps step_dim"]
Mask: TypeAlias = Bool[Tensor, "rows steps"]
Hidden: TypeAlias = Float[Tensor, "rows queries dim"]


class StructuredFusion(nn.Module):
    """Gated cross-attention from hidden states to ordered step embeddings.

    Args:
        steps: K, the number of steps of the pattern.
        step_dim: width of a step embedding.
        dim: width of the recommender's hidden states.
        layers: how many layers of the recommender read chains.
        heads: attention heads; must divide `dim`.
        gate: whether a gate decides how much enters; otherwise all that is read does.
        keep: which steps may be read; None keeps every step.
        roles: a number for each step's role: adds role vectors and causal attention among steps.
        votes: whether a step that names an item votes for it (`scoter.transfer.votes`).

    >>> fusion = StructuredFusion(steps=3, step_dim=4, dim=8, layers=1, heads=2)
    >>> steps, mask = torch.randn(5, 3, 4), torch.ones(5, 3, dtype=torch.bool)
    >>> fusion.fuse(torch.randn(5, 2, 8), steps, mask).shape
    torch.Size([5, 2, 8])
    """

    ordered = True  # whether slots are steps in order, so that roles and votes have a meaning
    first_layer = 0  # the first of the recommender's layers that reads
    start_only = False  # whether only the first state of a row reads, as after a start token
    detached = False  # whether votes leave the recommender's own training alone
    chain_dropout = 0.0  # the share of chains that are left out whenever training reads them

    def __init__(
        self,
        steps: int,
        step_dim: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.1,
        *,
        gate: bool = True,
        keep: Sequence[bool] | None = None,
        roles: Sequence[int] | None = None,
        votes: bool = False,
    ) -> None:
        super().__init__()
        check_heads(heads, dim)
        for name, given in (("keep", keep), ("roles", roles)):
            if given is not None and len(given) != steps:
                raise ConfigError(
                    f"{name} has {len(given)} entries for {steps} steps; give one each"
                )
        self.slot_count, width = self.sizes(steps, step_dim)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(steps, step_dim))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(self.slot_count))
        self.keep: Tensor
        kept = torch.tensor([True] * steps if keep is None else list(keep))
        self.register_buffer("keep", kept, persistent=False)
        self.project = nn.Linear(width, dim)
        self.position = nn.Parameter(torch.randn(self.slot_count, dim) * dim**-0.5)
        self.null = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        reading = nn.ModuleList(GatedAttention(dim, heads, gate) for _ in range(layers))
        self.layers = cast("Sequence[GatedAttention]", reading)
        # Made last, so that the weights of everything else do not depend on them.
        self.order = CausalSteps(roles, dim, heads, dropout) if roles is not None else None
        self.votes = Votes(steps, dim) if votes else None

    @staticmethod
    def sizes(steps: int, step_dim: int) -> tuple[int, int]:
        """The number of slots, and of how many numbers each is made."""
        return steps, step_dim

    @staticmethod
    def slot_labels(steps: list[str]) -> list[str]:
        """What each slot holds, given what the steps are called."""
        return steps

    @property
    def has_votes(self) -> bool:
        """Whether steps vote for the items that they name."""
        return self.votes is not None

    def fuse(
        self, hidden: Float[Tensor, "rows *queries dim"], steps: Steps, mask: Mask, layer: int = 0
    ) -> Float[Tensor, "rows *queries dim"]:
        """Hidden states, one or several a row, that have read their rows' chains.

        Args:
            steps: step embeddings in order; any finite numbers where `mask` is False.
            mask: which steps exist. A row without any reads the null slot.
        """
        queries = hidden[:, None] if hidden.ndim == 2 else hidden
        fused = self(queries, self.encode(steps, mask), layer)
        return fused[:, 0] if hidden.ndim == 2 else fused

    def read(
        self, source: StepSource, users: Int[Tensor, " rows"], lengths: Int[Tensor, " rows"]
    ) -> ChainMemory:
        """The encoded chains of these users' prefixes; repeated steps are projected once."""
        named = source.named(users, lengths) if self.has_votes else None
        if not self.shares_steps:
            votes = () if named is None else (named,)  # collapsed chains have no steps to vote
            memory = self.encode(*source.read(users, lengths), *votes)
        else:
            memory = self.encode_shared(*source.read_shared(users, lengths), named)
        if named is not None:
            memory.certainty = source.certainty(users, lengths)
        return memory

    def encode(
        self, steps: Steps, mask: Mask, named: Int[Tensor, "rows steps"] | None = None
    ) -> ChainMemory:
        """Slots of each chain: its steps in order, then the null slot.

        A masked step is neither read nor votes. `named` is the item that each step names.
        """
        if mask.shape != steps.shape[:2]:
            shapes = f"mask of shape {tuple(mask.shape)} for steps of {tuple(steps.shape)}"
            raise ConfigError(f"{shapes}; give each row and step of `steps` one entry")
        place = torch.arange(mask.numel(), device=mask.device).view(mask.shape)
        return self.encode_shared(steps.flatten(0, 1), place, mask, named)

    @property
    def shares_steps(self) -> bool:
        """Whether `encode_shared` equals `encode`: not where a subclass has its own `encode`."""
        return type(self).encode is StructuredFusion.encode

    def encode_shared(
        self,
        distinct: Float[Tensor, "distinct step_dim"],
        place: Int[Tensor, "rows steps"],
        mask: Mask,
        named: Int[Tensor, "rows steps"] | None = None,
    ) -> ChainMemory:
        """`encode(distinct[place], mask, named)`, with each distinct embedding projected once.

        The projection W of a standardised step, `W (v / |v| - c_k) / s_k`, is computed as
        `(W v) / |v| / s_k - W c_k / s_k`: what is done for each step has the recommender's width.
        """
        mask = self.kept(mask)
        inverse = 1 / self.scale[:, None]
        norms = torch.linalg.vector_norm(distinct, dim=-1, keepdim=True).clamp(min=1e-12)
        stretch = distinct.shape[-1] ** 0.5 / norms
        projected = nn.functional.linear(distinct, self.project.weight) * stretch
        own = self.project(-self.centre * inverse) + self.position
        projected = projected.index_select(0, place.flatten()).view(*place.shape, -1)
        slots = torch.addcmul(own, projected, inverse)
        if self.order is not None:
            slots = self.order(slots, mask)
        memory = self._memory(slots, mask)
        if self.votes is not None and named is not None:
            memory.named = torch.where(mask, named, -1)
        return memory

    def vote(
        self, states: Float[Tensor, "rows dim"], memory: ChainMemory
    ) -> Float[Tensor, "rows choices"]:
        """Log weights of the recommender itself and of each step, for states that have read."""
        if self.votes is None or memory.named is None:
            raise ConfigError("no step votes here; set votes=True, and pass `named` to encode")
        return self.votes(states, memory.slots[:, :-1], memory.named, memory.certainty)

    def standardise(self, steps: Steps, mask: Mask) -> Float[Tensor, "rows slots step_dim"]:
        """Each step as its direction (root mean square 1), centred and scaled by position."""
        # In few passes over memory: this is a tenth of what reading a chain costs in training.
        length = torch.linalg.vector_norm(steps, dim=-1, keepdim=True).clamp(min=1e-12)
        standard = steps * (steps.shape[-1] ** 0.5 / (length * self.scale[:, None]))
        return standard.sub_(self.centre / self.scale[:, None])

    def set_statistics(self, steps: Steps, mask: Mask) -> None:
        """Take the centre and scale of each position from chains of training prefixes.

        The scale is one number a position. One per axis would blow up the axes along which the
        sentences of a role hardly differ.
        """
        centre = mean_of_present(directions(steps), mask)
        left = ((directions(steps) - centre) ** 2).mean(dim=-1)
        self.centre.copy_(centre)
        self.scale.copy_(scale_of(left, mask))

    def set_rates(self, named: Int[Tensor, "rows steps"], targets: Int[Tensor, " rows"]) -> None:
        """Take from training prefixes how often each step names the target."""
        assert self.votes is not None
        hits = (named == targets[:, None]).sum(dim=0)
        self.votes.rates.copy_((hits + 0.5) / ((named >= 0).sum(dim=0) + 1))

    def forward(self, hidden: Hidden, memory: ChainMemory, layer: int) -> Hidden:
        """Hidden states [rows, queries, dim] that have read their chains in this layer."""

        def read(states: Tensor, place: int) -> Tensor:
            return self.layers[place](states, memory, layer)

        return self.where_read(hidden, layer, read)

    def where_read(
        self, hidden: Hidden, layer: int, read: Callable[[Tensor, int], Tensor]
    ) -> Hidden:
        """`read(states, place)` of the states that read in this layer; the others as they are."""
        place = layer - self.first_layer
        if not 0 <= place < len(self.layers):
            return hidden
        if self.start_only and hidden.shape[1] > 1:
            return torch.cat([read(hidden[:, :1], place), hidden[:, 1:]], dim=1)
        return read(hidden, place)

    def kept(self, mask: Mask) -> Mask:
        """The existing steps that may be read; `chain_dropout` hides whole rows in training."""
        mask = mask & self.keep
        if not (self.training and self.chain_dropout):
            return mask
        return mask & (torch.rand(len(mask), 1, device=mask.device) >= self.chain_dropout)

    def start_recording(self) -> None:
        """Record every read from now on, for `take_readings`."""
        for layer in self.layers:
            layer.record = []

    def stop_recording(self) -> None:
        """Record nothing from now on."""
        for layer in self.layers:
            layer.record = None

    def take_readings(self) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows slots"]]:
        """Mean gate, and mean attention per slot (null last), of each row since the last call.

        One row of zeros stands for all where no layer reads.
        """
        readings = [reading for layer in self.layers for reading in layer.record or ()]
        self.start_recording()
        if not self.layers:
            return torch.zeros(1), torch.zeros(1, self.slot_count + 1)
        gates, attention = zip(*readings, strict=True)
        return torch.stack(gates).mean(0), torch.stack(attention).mean(0)

    def _memory(
        self, slots: Float[Tensor, "rows used dim"], mask: Bool[Tensor, "rows used"]
    ) -> ChainMemory:
        null = self.null.expand(len(slots), 1, -1).to(slots.dtype)
        bias = nn.functional.pad(torch.where(mask, 0.0, -1e9), (0, 1))
        slots = self.dropout(self.norm(torch.cat([slots, null], dim=1)))
        return ChainMemory(slots, bias[:, None, None, :], {})


def directions(steps: Float[Tensor, "*rows step_dim"]) -> Float[Tensor, "*rows step_dim"]:
    """Vectors with root mean square 1; a missing step, all zeros, stays so."""
    return nn.functional.normalize(steps, dim=-1) * steps.shape[-1] ** 0.5


def mean_of_present(steps: Steps, mask: Mask) -> Float[Tensor, "steps step_dim"]:
    """Mean over the rows that have the step; zeros for a step that no row has."""
    return (steps * mask[..., None]).sum(dim=0) / mask.sum(dim=0).clamp(min=1)[:, None]


def scale_of(
    squares: Float[Tensor, "rows slots"], mask: Bool[Tensor, "rows slots"]
) -> Float[Tensor, " slots"]:
    """Root mean of the squares that exist; 1 where all are zero, as for a constant step."""
    scale = ((squares * mask).sum(dim=0) / mask.sum(dim=0).clamp(min=1)).sqrt()
    return torch.where(scale > 1e-3, scale, 1.0)
