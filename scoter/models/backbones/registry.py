"""Backbones by the kind that a config names, and how a package adds its own."""

from dataclasses import dataclass

from scoter.plugins import Plugins
from scoter.types import InteractionLog, SemanticIds

BACKBONES: Plugins[type] = Plugins(
    "a backbone (model.kind)",
    "scoter.backbones",
    {
        "popularity": "scoter.models.backbones.popularity:Popularity",
        "sasrec": "scoter.models.backbones.sasrec:SASRec",
        "gru4rec": "scoter.models.backbones.gru4rec:GRU4Rec",
        "tiger": "scoter.models.backbones.tiger:Tiger",
    },
)

register_backbone = BACKBONES.register
"""`@register_backbone("mine")` makes a class, derived from
`scoter.models.backbones.backbone.Backbone`, the backbone of that kind."""


@dataclass(frozen=True, eq=False)
class ItemSpace:
    """What a backbone is built over: the items, their semantic IDs, and the training log."""

    item_count: int
    ids: SemanticIds | None = None  # of every item; None where the backbone needs none
    train: InteractionLog | None = None  # None where weights are loaded and nothing is counted
