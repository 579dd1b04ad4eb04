"""From a `FusionConfig` to the module that it names."""

from collections.abc import Sequence

from scoter.config import FusionConfig
from scoter.errors import ConfigError
from scoter.transfer.collapse import (
    BagFusion,
    ConcatenationFusion,
    MeanPoolFusion,
    TaggedPoolFusion,
)
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.randomise import NoiseFusion, ShuffledFusion
from scoter.types import ReasoningPattern

KINDS: dict[str, type[StructuredFusion]] = {
    "structured": StructuredFusion,
    "meanpool": MeanPoolFusion,
    "tagged-pool": TaggedPoolFusion,
    "concatenation": ConcatenationFusion,
    "bag": BagFusion,
    "shuffled": ShuffledFusion,
    "noise": NoiseFusion,
}


def build_fusion(
    config: FusionConfig, pattern: ReasoningPattern, step_dim: int, dim: int, layers: int
) -> StructuredFusion:
    """An untrained fusion for chains of `pattern`, in a recommender of width `dim` and so many
    `layers` that could read them.

    Raises:
        ConfigError: a kind without a module, a step to leave out that the pattern lacks, options
            that do not go together.

    Example:
        >>> from scoter.types import Step
        >>> pattern = ReasoningPattern((Step("recent_item"), Step("recommendation")))
        >>> build_fusion(
        ...     FusionConfig("bag", without=1), pattern, step_dim=4, dim=8, layers=1
        ... ).keep.tolist()
        [False, True]
    """
    first, reading = {
        "every-layer": (0, layers),
        "last-layer": (layers - 1, 1),
        "start": ((layers - 1) // 2, 1),
    }[config.reads]
    fusion = _fusion(config, pattern, step_dim, dim, reading)
    fusion.first_layer = first
    fusion.start_only = (
        config.reads == "start" and layers > 1
    )  # a lone layer passes nothing on, so all its states read
    fusion.chain_dropout = config.chain_dropout
    return fusion


def _fusion(
    config: FusionConfig, pattern: ReasoningPattern, step_dim: int, dim: int, layers: int
) -> StructuredFusion:
    """The module, with `layers` places that read."""
    if config.kind not in KINDS:
        raise ConfigError(
            f"fusion.kind = {config.kind!r} has no module; choose from: {', '.join(KINDS)}"
        )
    keep = kept_steps(config, len(pattern))
    if config.votes and not (config.grounded and config.kind == "structured"):
        raise ConfigError(
            f"fusion.votes = True needs steps that are kept apart and name items, and here "
            f"fusion.kind = {config.kind!r} and "
            f"fusion.grounded = {config.grounded}; set fusion.votes=false"
        )
    sizes = (len(pattern), step_dim, dim, layers, config.heads)
    if config.kind == "structured":
        roles = role_numbers(pattern) if config.encoder == "causal" else None
        return StructuredFusion(
            *sizes, gate=config.gate, keep=keep, roles=roles, votes=config.votes
        )
    if config.encoder == "causal":
        raise ConfigError(
            f"fusion.encoder = 'causal' orders steps, and kind {config.kind!r} has none; set "
            f"fusion.encoder=position"
        )
    return KINDS[config.kind](*sizes, gate=config.gate, keep=keep)


def kept_steps(config: FusionConfig, count: int) -> list[bool]:
    """Which of `count` steps may be read."""
    if not 0 <= config.without <= count:
        raise ConfigError(
            f"fusion.without = {config.without}, but the pattern has {count} steps; choose 1 to "
            f"{count}, or 0 for none"
        )
    keep = [not config.last_only or step == count for step in range(1, count + 1)]
    keep = [kept and step != config.without for step, kept in enumerate(keep, start=1)]
    if not any(keep):
        raise ConfigError(
            f"fusion.last_only = {config.last_only} and fusion.without = {config.without} leave "
            f"no step of {count}; use one"
        )
    return keep


def role_numbers(pattern: ReasoningPattern) -> Sequence[int]:
    """A number for each step's role; steps of one role share it, whatever their parameters."""
    names = list(dict.fromkeys(step.role for step in pattern.steps))
    return [names.index(step.role) for step in pattern.steps]


def slot_labels(config: FusionConfig, pattern: ReasoningPattern) -> list[str]:
    """What each slot holds, for reports; the null slot is not among them.

    Example:
        >>> from scoter.types import Step
        >>> pattern = ReasoningPattern(
        ...     (Step("recent_item", {"lag": 2}), Step("recent_item", {"lag": 1}))
        ... )
        >>> (
        ...     slot_labels(FusionConfig("meanpool"), pattern),
        ...     slot_labels(FusionConfig(chains="item-text"), pattern),
        ... )
        (['pooled chain'], ['item 2 purchases ago', 'item 1 purchases ago'])
    """
    count = len(pattern)
    if config.kind == "scores":
        return ["transition scores"]
    if issubclass(KINDS[config.kind], MeanPoolFusion):
        return ["pooled chain"]
    if config.kind == "shuffled":
        return [f"any step, place {place}" for place in range(1, count + 1)]
    if config.chains == "item-text":
        return [f"item {lag} purchases ago" for lag in range(count, 0, -1)]
    return [step.label() for step in pattern.steps]
