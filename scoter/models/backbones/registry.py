"""Backbones by the kind that a config names, and how a package adds its own."""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points

from scoter.errors import ConfigError
from scoter.types import InteractionLog, SemanticIds

BUILT_IN = {
    "popularity": "scoter.models.backbones.popularity:Popularity",
    "sasrec": "scoter.models.backbones.sasrec:SASRec",
    "gru4rec": "scoter.models.backbones.gru4rec:GRU4Rec",
    "tiger": "scoter.models.backbones.tiger:Tiger",
}
ENTRY_POINTS = "scoter.backbones"
_REGISTERED: dict[str, type] = {}


@dataclass(frozen=True, eq=False)
class ItemSpace:
    """What a backbone is built over: the items, their semantic IDs, and the training log."""

    item_count: int
    ids: SemanticIds | None = None  # of every item; None where the backbone needs none
    train: InteractionLog | None = None  # None where weights are loaded and nothing is counted


def register_backbone(kind: str):
    """A class decorator: `@register_backbone("mine")` makes a class the backbone of that kind.

    The class derives from `scoter.models.backbones.backbone.Backbone`.

    Example:
        >>> @register_backbone("example")
        ... class Example: ...
        >>> backbone("example").__name__
        'Example'
    """

    def register(made: type) -> type:
        _REGISTERED[kind] = made
        return made

    return register


def backbone(kind: str) -> type:
    """The backbone class of a kind: registered, built in, or an entry point of another package.

    Raises:
        ConfigError: nobody knows that kind.
    """
    if kind in _REGISTERED:
        return _REGISTERED[kind]
    if kind in BUILT_IN:
        module, _, name = BUILT_IN[kind].partition(":")
        return getattr(import_module(module), name)
    others = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if kind in others:
        return others[kind].load()
    known = ", ".join([*BUILT_IN, *_REGISTERED, *others])
    raise ConfigError(f"model.kind = {kind!r} is no backbone; choose from: {known}")
