"""Plug-ins: what other packages and files add to a table of names, such as the backbones.

There are three ways in: a decorator in an imported module, an entry point of an installed package,
and a file or module named in `SCOTER_PLUGINS`, which `scoter --plugin` sets, so that worker
processes load it too.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from scoter.errors import ConfigError, closest

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import Fusion

Plugin = TypeVar("Plugin")
VARIABLE = "SCOTER_PLUGINS"


class Plugins(Generic[Plugin]):
    """One table of plug-ins: those built in, those registered, and entry points of a group.

    Args:
        what: what a plug-in is, for messages: `"a backbone"`.
        group: the entry point group of other packages: `"scoter.backbones"`.
        built_in: our own, as `"package.module:name"`, imported when first asked for.

    >>> shapes = Plugins("a shape", "scoter.shapes", {})
    >>> @shapes.register("square")
    ... def area(side):
    ...     return side * side
    >>> shapes.get("square")(3)
    9
    """

    def __init__(self, what: str, group: str, built_in: Mapping[str, str]) -> None:
        self.what, self.group, self.built_in = what, group, built_in
        self.registered: dict[str, Plugin] = {}

    def register(self, name: str) -> Callable[[Plugin], Plugin]:
        """A decorator that adds what it decorates under `name`; a later one takes its place."""

        def add(made: Plugin) -> Plugin:
            self.registered[name] = made
            return made

        return add

    def names(self) -> list[str]:
        """Every name that `get` knows."""
        load_plugins()
        others = (entry.name for entry in entry_points(group=self.group))
        return list(dict.fromkeys([*self.built_in, *self.registered, *others]))

    def get(self, name: str) -> Plugin:
        """The plug-in of that name: registered, built in, or an entry point."""
        load_plugins()
        if name in self.registered:
            return self.registered[name]
        if name in self.built_in:
            module, _, inside = self.built_in[name].partition(":")
            return getattr(import_module(module), inside)
        for entry in entry_points(group=self.group, name=name):
            return entry.load()
        known = self.names()
        choice = f"choose from: {', '.join(known)}{closest(name, known)}"
        raise ConfigError(f"{name!r} is not {self.what}; {choice}")


def load_plugins() -> None:
    """Import each file and module named in `SCOTER_PLUGINS`, once a process."""
    for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        _imported(place)


@cache
def _imported(place: str) -> None:
    path = Path(place)
    try:
        if path.suffix != ".py":
            import_module(place)
            return
        found = spec_from_file_location(f"scoter_plugin_{path.stem}", path.resolve())
        if found is None or found.loader is None:
            raise ImportError("it is no Python file")
        found.loader.exec_module(module_from_spec(found))
    except Exception as error:
        line = f"the plug-in {place!r} cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError(f"{line}; name a Python file or an installed module") from error


BACKBONES: "Plugins[type[Backbone]]" = Plugins(
    "a backbone (model.kind)",
    "scoter.backbones",
    {
        "popularity": "scoter.models.backbones.popularity:Popularity",
        "transitions": "scoter.recommenders.counted:TransitionGraph",
        "item-knn": "scoter.recommenders.counted:ItemKnn",
        "ease": "scoter.recommenders.counted:Ease",
        "reasons": "scoter.recommenders.counted:ReasonsLogit",
        "sasrec": "scoter.models.backbones.sasrec:SASRec",
        "gru4rec": "scoter.models.backbones.gru4rec:GRU4Rec",
        "tiger": "scoter.models.backbones.tiger:Tiger",
    },
)
FUSIONS: "Plugins[type[Fusion]]" = Plugins(
    "a fusion (fusion.module)",
    "scoter.fusions",
    {
        "structured": "scoter.transfer.fusion:StructuredFusion",
        "meanpool": "scoter.transfer.collapse:MeanPoolFusion",
        "tagged-pool": "scoter.transfer.collapse:TaggedPoolFusion",
        "concatenation": "scoter.transfer.collapse:ConcatenationFusion",
        "bag": "scoter.transfer.collapse:BagFusion",
        "shuffled": "scoter.transfer.randomise:ShuffledFusion",
        "noise": "scoter.transfer.randomise:NoiseFusion",
    },
)
register_backbone = BACKBONES.register
register_fusion = FUSIONS.register
