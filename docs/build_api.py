"""`make docs`: a page for every public module of the packages named, from its docstrings, by pdoc.

    python docs/build_api.py OUT PACKAGE...

A package's `__all__` names what it offers, often lazily, and pdoc would leave out every module
beside; so the names are loaded and the modules added here.
"""

import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pdoc

COMMANDS = "scoter.cli.main"


def main(out: Path, packages: list[str]) -> None:
    """Write the pages into `out`; a module that cannot be imported is an error."""
    warnings.simplefilter("error")
    for name in [found for package in packages for found in (package, *subpackages(package))]:
        open_up(importlib.import_module(name))
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*packages, f"!{COMMANDS}", output_directory=out)


def open_up(package: ModuleType) -> None:
    """Let the package's `__all__`, if it has one, hold its names loaded and its modules too."""
    if hasattr(package, "__all__"):
        modules = [found.name for found in pkgutil.iter_modules(package.__path__)]
        vars(package).update({name: getattr(package, name) for name in package.__all__})
        vars(package)["__all__"] = [*package.__all__, *modules]


def subpackages(package: str) -> Iterator[str]:
    path = importlib.import_module(package).__path__
    return (found.name for found in pkgutil.walk_packages(path, f"{package}.") if found.ispkg)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
