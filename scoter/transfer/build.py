"""From a `FusionConfig` to the module that it names."""

from scoter.config import FusionConfig
from scoter.errors import ConfigError
from scoter.plugins import FUSIONS
from scoter.protocols import Fusion
from scoter.types import ReasoningPattern


def build_fusion(
    config: FusionConfig, pattern: ReasoningPattern, step_dim: int, dim: int, layers: int
) -> Fusion:
    """An untrained fusion for chains of `pattern`, in a recommender of width `dim`.

    Args:
        layers: how many layers of the recommender could read chains.
    """
    module, keep = FUSIONS.get(config.module), kept_steps(config, len(pattern))
    if config.votes and not (config.grounded and module.ordered):
        raise ConfigError(
            f"fusion.votes = True needs ordered steps that name items, not fusion.module = "
            f"{config.module!r} with fusion.grounded = {config.grounded}; set fusion.votes=false"
        )
    if config.placement == "nowhere" and not config.votes:
        raise ConfigError(
            "fusion.placement = 'nowhere' with fusion.votes = False leaves the chain unread; set "
            "fusion.votes=true"
        )
    if config.encoder == "causal" and not module.ordered:
        raise ConfigError(
            f"fusion.encoder = 'causal' needs ordered steps, and module {config.module!r} has "
            "none; set fusion.encoder=position"
        )
    first = {"every-layer": 0, "last-layer": layers - 1, "start": (layers - 1) // 2}
    places = {"every-layer": layers, "nowhere": 0}.get(config.placement, 1)
    ordered = {}
    if module.ordered:
        roles = None
        if config.encoder == "causal":  # steps of one role share its number
            names = [step.role for step in pattern.steps]
            roles = [list(dict.fromkeys(names)).index(name) for name in names]
        ordered = {"roles": roles, "votes": config.votes}
    fusion = module(
        len(pattern), step_dim, dim, places, config.heads, gate=config.gate, keep=keep, **ordered
    )
    fusion.first_layer = first.get(config.placement, 0)
    # A lone layer passes nothing on, so that all its states read.
    fusion.start_only = config.placement == "start" and layers > 1
    fusion.chain_dropout = config.chain_dropout
    fusion.detached = config.detached
    return fusion


def kept_steps(config: FusionConfig, count: int) -> list[bool]:
    """Which of `count` steps may be read."""
    if not 0 <= config.without <= count:
        raise ConfigError(
            f"fusion.without = {config.without}, but the pattern has {count} steps; choose 1 to "
            f"{count}, or 0 for none"
        )
    first = count if config.last_only else 1
    keep = [first <= step != config.without for step in range(1, count + 1)]
    if not any(keep):
        raise ConfigError(
            f"fusion.last_only = {config.last_only} and fusion.without = {config.without} leave "
            f"no step of {count}; use one"
        )
    return keep


def slot_labels(config: FusionConfig, pattern: ReasoningPattern) -> list[str]:
    """What each slot holds, for reports; the null slot is not among them.

    >>> from scoter.types import Step
    >>> steps = (Step("recent_item", {"lag": 2}), Step("recent_item", {"lag": 1}))
    >>> slot_labels(FusionConfig("meanpool"), ReasoningPattern(steps))
    ['pooled chain']
    >>> slot_labels(FusionConfig(source="item-text"), ReasoningPattern(steps))
    ['item 2 purchases ago', 'item 1 purchases ago']
    """
    steps = [step.label() for step in pattern.steps]
    if config.source == "item-text":
        steps = [f"item {lag} purchases ago" for lag in range(len(pattern), 0, -1)]
    return FUSIONS.get(config.module).slot_labels(steps)
