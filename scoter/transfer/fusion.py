"""Structure-preserving fusion: a recommender's hidden states read the ordered steps of a chain.

Our reading of the paper, which leaves the module open: each step embedding is projected and gets a
learned vector of its position (the position determines the role, since a pattern is fixed); a
learned null slot stands beside the steps, so that attention can rest on nothing, and alone where
the chain is missing; hidden states attend to the slots; an adaptive gate, computed from the state
and what it read, decides how much enters.

Sentences of one role differ in a few words, so their embeddings are nearly equal: what a step says
is a small deviation from the mean of its position. `set_statistics` makes that deviation the input,
in units of its own size. Its numbers must come from training prefixes alone; without it, steps
enter as they are.

`encoder` causal adds to this a vector of each step's role, shared by steps of one role, and causal
self-attention: step k reads steps 1..k before anybody reads it. Since a pattern is fixed, a role
adds no information to a position.

Any module that has hidden states can use it:

    hidden = fusion.fuse(hidden, steps, mask)

A model that reads a chain in several places, or one code at a time, derives what depends on the
chain alone once:

    memory = fusion.encode(steps, mask)          # once per chain
    hidden = fusion(hidden, memory, layer)       # wherever the model wants to look
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoter.errors import ConfigError
from scoter.models.dropout import Dropout
from scoter.transfer.reading import CausalSteps, ChainMemory, GatedAttention
from scoter.transfer.votes import Votes


class StructuredFusion(nn.Module):
    """Gated cross-attention from hidden states to ordered step embeddings.

    Args:
        steps: K, the number of steps of the pattern.
        step_dim: width of a step embedding.
        dim: width of the recommender's hidden states.
        layers: how many places in the recommender read the chain.
        heads: attention heads; must divide `dim`.
        gate: whether a gate decides how much enters; without it, all that is read does.
        keep: which steps may be read at all; None keeps every step.
        roles: a number for each step's role, with which the causal encoder is used; None leaves it
            out.
        votes: whether a step that names an item has a vote for it (`scoter.transfer.votes`).

    Example:
        >>> fusion = StructuredFusion(steps=3, step_dim=4, dim=8, layers=1, heads=2)
        >>> steps, mask = torch.randn(5, 3, 4), torch.ones(5, 3, dtype=torch.bool)
        >>> fusion.fuse(torch.randn(5, 2, 8), steps, mask).shape
        torch.Size([5, 2, 8])
    """

    first_layer = 0
    """The first of the recommender's layers that reads; those before it, and those after the last
    of `layers`, do not."""
    start_only = False
    """Whether the first of a row's states alone reads: a decoder's after the start token, which
    later ones attend to."""
    chain_dropout = 0.0
    """The share of chains that are left out in training, each anew whenever it is read, so that the
    null slot learns its part."""

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
        self._start(steps, steps, step_dim, step_dim, dim, layers, heads, dropout, gate, keep)
        # Made last, so that the weights of everything else do not depend on it.
        self.order = CausalSteps(roles, dim, heads, dropout) if roles is not None else None
        self.votes = Votes(steps, dim) if votes else None

    def fuse(
        self,
        hidden: Float[Tensor, "rows *queries dim"],
        steps: Float[Tensor, "rows steps step_dim"],
        mask: Bool[Tensor, "rows steps"],
        layer: int = 0,
    ) -> Float[Tensor, "rows *queries dim"]:
        """Hidden states that have read their rows' chains: `hidden` may have one state a row, or
        several.

        Args:
            steps: each row's step embeddings, in order; any finite numbers where `mask` is False.
            mask: which steps exist. A row without any reads the null slot.
        """
        queries = hidden[:, None] if hidden.ndim == 2 else hidden
        fused = self(queries, self.encode(steps, mask), layer)
        return fused[:, 0] if hidden.ndim == 2 else fused

    def encode(
        self,
        steps: Float[Tensor, "rows steps step_dim"],
        mask: Bool[Tensor, "rows steps"],
        named: Int[Tensor, "rows steps"] | None = None,
    ) -> ChainMemory:
        """Slots of each chain: its steps in order, then the null slot. A masked step is never read,
        and has no vote."""
        place = torch.arange(mask.numel(), device=mask.device).view(mask.shape)
        return self.encode_shared(steps.flatten(0, 1), place, mask, named)

    @property
    def shares_steps(self) -> bool:
        """Whether `encode_shared` stands for `encode`: not where a subclass has an `encode` of its
        own."""
        return type(self).encode is StructuredFusion.encode

    def encode_shared(
        self,
        said: Float[Tensor, "distinct step_dim"],
        place: Int[Tensor, "rows steps"],
        mask: Bool[Tensor, "rows steps"],
        named: Int[Tensor, "rows steps"] | None = None,
    ) -> ChainMemory:
        """`encode(said[place], mask, named)`, where what several steps say is projected once: a
        batch repeats itself much.

        The projection W of a standardised step, W (v / |v| - c_k) / s_k, is taken as (W v) / |v| /
        s_k - W c_k / s_k, so that all that is done step by step is done at the recommender's width.
        """
        mask = self.kept(mask)
        inverse = 1 / self.scale[:, None]
        stretch = said.shape[-1] ** 0.5 / torch.linalg.vector_norm(
            said, dim=-1, keepdim=True
        ).clamp(min=1e-12)
        projected = nn.functional.linear(said, self.project.weight) * stretch
        own = self.project(-self.centre * inverse) + self.position
        slots = torch.addcmul(
            own, projected.index_select(0, place.flatten()).view(*place.shape, -1), inverse
        )
        if self.order is not None:
            slots = self.order(slots, mask)
        memory = self._memory(slots, mask)
        if self.votes is not None and named is not None:
            memory.named = torch.where(mask, named, -1)
        return memory

    def vote(
        self, states: Float[Tensor, "rows dim"], memory: ChainMemory
    ) -> Float[Tensor, "rows choices"]:
        """Log weights of the recommender itself and of each step, for `states` that have read
        `memory`'s chains.

        Raises:
            ConfigError: nobody votes here, or the chains were encoded without the items that their
                steps name.
        """
        if self.votes is None or memory.named is None:
            raise ConfigError(
                "no step votes here; make the fusion with votes=True, and pass `named` where "
                "chains are encoded"
            )
        return self.votes(states, memory.slots[:, :-1], memory.named)

    def standardise(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> Float[Tensor, "rows slots step_dim"]:
        """Each step as its direction (root mean square 1), minus the centre of its position, over
        its scale."""
        # As few passes over memory as there can be: this is a tenth of what reading a chain costs
        # in training.
        length = torch.linalg.vector_norm(steps, dim=-1, keepdim=True).clamp(min=1e-12)
        standard = steps * (steps.shape[-1] ** 0.5 / (length * self.scale[:, None]))
        return standard.sub_(self.centre / self.scale[:, None])

    def set_statistics(
        self, steps: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
    ) -> None:
        """Centre and scale each position by a sample of chains of training prefixes; missing steps
        count for nothing.

        The scale is one number per position, the root mean square of what is left. One per axis
        would blow up the axes along which a role's sentences hardly differ.
        """
        centre = mean_of_present(directions(steps), mask)
        left = ((directions(steps) - centre) ** 2).mean(dim=-1)
        self.centre.copy_(centre)
        self.scale.copy_(scale_of(left, mask))

    def forward(
        self, hidden: Float[Tensor, "rows queries dim"], memory: ChainMemory, layer: int
    ) -> Float[Tensor, "rows queries dim"]:
        return self.where_read(
            hidden, layer, lambda states, place: self.layers[place](states, memory, layer)
        )

    def where_read(
        self,
        hidden: Float[Tensor, "rows queries dim"],
        layer: int,
        read: Callable[[Tensor, int], Tensor],
    ) -> Float[Tensor, "rows queries dim"]:
        """`read(states, place)` of those states that read in the recommender's layer `layer`,
        beside the others as they are."""
        place = layer - self.first_layer
        if not 0 <= place < len(self.layers):
            return hidden
        if self.start_only and hidden.shape[1] > 1:
            return torch.cat([read(hidden[:, :1], place), hidden[:, 1:]], dim=1)
        return read(hidden, place)

    def kept(self, mask: Bool[Tensor, "rows steps"]) -> Bool[Tensor, "rows steps"]:
        """Of the steps that exist, those that may be read; in training none of some rows, by
        `chain_dropout`."""
        mask = mask & self.keep
        if not (self.training and self.chain_dropout):
            return mask
        return mask & (torch.rand(len(mask), 1, device=mask.device) >= self.chain_dropout)

    def start_recording(self) -> None:
        """From now on every read is recorded, until `take_readings`."""
        for layer in self.layers:
            layer.record = []

    def stop_recording(self) -> None:
        """Record nothing from now on."""
        for layer in self.layers:
            layer.record = None

    def take_readings(self) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows slots"]]:
        """Mean gate and mean attention per slot (steps in order, then null) of each row since the
        last call."""
        readings = [reading for layer in self.layers for reading in layer.record]
        self.start_recording()
        gates, attention = zip(*readings, strict=True)
        return torch.stack(gates).mean(0), torch.stack(attention).mean(0)

    def _start(
        self,
        steps: int,
        slots: int,
        step_dim: int,
        width: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float,
        gate: bool,
        keep: Sequence[bool] | None,
    ) -> None:
        """The parts that every fusion has; a slot is made from `width` numbers."""
        if keep is not None and len(keep) != steps:
            raise ConfigError(
                f"keep has {len(keep)} entries for {steps} steps; give one for each step"
            )
        self.slot_count = slots
        self.order: CausalSteps | None = None
        self.votes: Votes | None = None
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(steps, step_dim))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(slots))
        self.keep: Tensor
        self.register_buffer(
            "keep", torch.tensor([True] * steps if keep is None else list(keep)), persistent=False
        )
        self.project = nn.Linear(width, dim)
        self.position = nn.Parameter(torch.randn(slots, dim) * dim**-0.5)
        self.null = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.layers: Any = nn.ModuleList(GatedAttention(dim, heads, gate) for _ in range(layers))

    def _memory(
        self, slots: Float[Tensor, "rows used dim"], mask: Bool[Tensor, "rows used"]
    ) -> ChainMemory:
        rows = len(slots)
        slots = torch.cat([slots, self.null.expand(rows, 1, -1).to(slots.dtype)], dim=1)
        bias = nn.functional.pad(torch.where(mask, 0.0, -1e9), (0, 1))
        return ChainMemory(self.dropout(self.norm(slots)), bias[:, None, None, :], {})


def directions(steps: Float[Tensor, "*rows step_dim"]) -> Float[Tensor, "*rows step_dim"]:
    """Vectors with root mean square 1; a missing step, all zeros, stays so."""
    return nn.functional.normalize(steps, dim=-1) * steps.shape[-1] ** 0.5


def mean_of_present(
    values: Float[Tensor, "rows steps step_dim"], mask: Bool[Tensor, "rows steps"]
) -> Float[Tensor, "steps step_dim"]:
    """Mean over the rows that have the step; zeros for a step that no row has."""
    return (values * mask[..., None]).sum(dim=0) / mask.sum(dim=0).clamp(min=1)[:, None]


def scale_of(
    squares: Float[Tensor, "rows slots"], mask: Bool[Tensor, "rows slots"]
) -> Float[Tensor, " slots"]:
    """Root of the mean of squares that exist; 1 where they are all zero, as for a step that always
    says the same."""
    scale = ((squares * mask).sum(dim=0) / mask.sum(dim=0).clamp(min=1)).sqrt()
    return torch.where(scale > 1e-3, scale, 1.0)
