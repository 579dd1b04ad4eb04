"""Estimators and bounds of others: files and modules that register them when imported."""

import runpy
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points

from theory.errors import PremiseError

ENTRY_POINTS = "theory.plugins"


def load_plugins(places: Iterable[str] = ()) -> None:
    """Import each Python file or module of `places`, then every entry point of `theory.plugins`."""
    for place in places:
        try:
            runpy.run_path(place) if place.endswith(".py") else import_module(place)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PremiseError(f"plugin = {place!r} cannot be imported ({reason})") from error
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
