"""Plug-ins: what other packages and files add to a table of names, such as the backbones.

There are three ways in: a decorator in an imported module, an entry point of an installed package,
and a file or module named in `SCOTER_PLUGINS`, which `scoter --plugin` sets, so that worker
processes load it too.
"""

import hashlib
import inspect
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Generic, TypeVar

from scoter.errors import ConfigError, ScoterError, closest

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
        needs: names that every plug-in must define.
        reserved: further names that nothing can be registered under.

    >>> shapes = Plugins("a shape", "scoter.shapes", {})
    >>> @shapes.register("square")
    ... def area(side):
    ...     return side * side
    >>> shapes.get("square")(3)
    9
    """

    def __init__(
        self,
        what: str,
        group: str,
        built_in: Mapping[str, str],
        needs: Sequence[str] = (),
        reserved: Sequence[str] = (),
    ) -> None:
        self.what, self.group, self.built_in, self.needs = what, group, built_in, needs
        self.taken = (*built_in, *reserved)
        self.registered: dict[str, Plugin] = {}

    def register(self, name: str) -> Callable[[Plugin], Plugin]:
        """A decorator that adds what it decorates under `name`; a later one takes its place."""
        if name in self.taken:
            ours = f"{name!r} cannot be registered as {self.what}: scoter uses that name itself"
            raise ConfigError(f"{ours}; choose another than {', '.join(self.taken)}")

        def add(made: Plugin) -> Plugin:
            self.registered[name] = self._checked(name, made)
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
            try:
                return self._checked(name, entry.load())
            except (Exception, SystemExit) as error:
                cause = f"{type(error).__name__}: {error}"
                broken = f"{name!r} of the entry points {self.group} cannot be loaded ({cause})"
                raise ConfigError(f"{broken}; mend or remove its package") from error
        known = self.names()
        choice = f"choose from: {', '.join(known)}{closest(name, known)}"
        raise ConfigError(f"{name!r} is not {self.what}; {choice}")

    def digest(self, name: str) -> str | None:
        """What stands for the code of a plug-in in keys; None for one of ours."""
        return None if name in self.built_in else _digest(self.get(name))

    def _checked(self, name: str, made: Plugin) -> Plugin:
        lacking = [need for need in self.needs if not hasattr(made, need)]
        lacking += sorted(getattr(made, "__abstractmethods__", ()))
        if lacking:
            lacks = f"{name!r} cannot be {self.what}: {made!r} lacks {', '.join(lacking)}"
            raise ConfigError(f"{lacks}; define them there (docs/plug-ins.md has an example)")
        return made


@cache
def _digest(made: object) -> str:
    """sha256 of the file that defines it; without a file (a console's), new in every process."""
    try:
        file = inspect.getfile(made)  # pyright: ignore[reportArgumentType]
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return uuid.uuid4().hex


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
        # Dataclasses, and whoever looks for the source of a class, find its module there.
        module = sys.modules[found.name] = module_from_spec(found)
        found.loader.exec_module(module)
    except ScoterError as error:
        raise ConfigError(f"the plug-in {place!r}: {error}") from error
    except (Exception, SystemExit) as error:
        lines = [at.lineno for at in extract_tb(error.__traceback__) if at.filename == place]
        at = f" in line {lines[-1]}" if lines else ""
        line = f"the plug-in {place!r} cannot be imported ({type(error).__name__}{at}: {error})"
        remedy = "mend it, or name another Python file or installed module"
        raise ConfigError(f"{line}; {remedy}") from error


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
    ("Config", "build", "loss", "recommend", "attach", "trains", "needs_ids", "reading_layers"),
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
        "shuffled": "scoter.transfer.collapse:ShuffledFusion",
        "noise": "scoter.transfer.collapse:NoiseFusion",
    },
    ("ordered", "slot_labels", "read", "vote", "has_votes", "set_statistics", "start_recording"),
)
register_backbone = BACKBONES.register
register_fusion = FUSIONS.register
