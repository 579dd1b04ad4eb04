"""What was tried to break scoter, and what came of it: the measured sections of a page.

Each section is measured by a module of its own, whose `measure()` returns a `Section`;
`results/reliability.json` keeps it with the commit and the machine, and `docs/reliability.md` shows
that file alone.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from benchmarks.studies import study
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, Table
from scoter.errors import ConfigError
from scoter.storage.store import git_commit

FILE = "reliability.json"
COMMAND = "python -m benchmarks reliability --only"

HARNESS = Path(__file__).parents[2] / "tests" / "faults"

# Section -> the module of HARNESS that measures it, in the order of the page.
SECTIONS = {name: name for name in ("kills", "faults", "fuzz", "determinism")}
SECTIONS["scale"] = "million_items"


@dataclass(frozen=True)
class Section:
    """One table of the page."""

    title: str
    said: str  # above the table
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    passed: bool  # nothing went wrong
    notes: Sequence[str] = ()  # below the table


def measure(names: Sequence[str], results: Path = RESULTS, **options: Any) -> dict[str, Section]:
    """Measure these sections, or all where none is named; `options` go to each one's `measure`."""
    if unknown := [name for name in names if name not in SECTIONS]:
        known = ", ".join(SECTIONS)
        raise ConfigError(f"--only {unknown[0]!r} is no section; choose from: {known}")
    results.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in names or SECTIONS:
        found[name] = _module(SECTIONS[name]).measure(**options)
        keep(name, found[name], results)
    return found


def _module(name: str) -> ModuleType:
    if not (HARNESS / f"{name}.py").exists():
        raise ConfigError(f"{HARNESS} has no {name}.py; run from a checkout with its tests")
    if str(HARNESS) not in sys.path:
        sys.path.insert(0, str(HARNESS))
    return import_module(name)


def keep(name: str, section: Section, results: Path = RESULTS) -> None:
    """Put a section into the results, in place of what stood there."""
    path = results / FILE
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    study.put(path, name, {**asdict(section), "commit": git_commit(), "machine": machine})


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """Every kept section, in the order of the page."""
    kept = json.loads((results / FILE).read_text())
    return {name: page(name, kept[name]) for name in SECTIONS if name in kept}


def page(name: str, section: Mapping[str, Any]) -> Page:
    """One section with its table, and the command that measures it again."""
    rows = [[_cell(value) for value in row] for row in section["rows"]]
    columns = section["columns"]
    verdict = "All of it passed" if section["passed"] else "**Not all of it passed**"
    made = f"at commit `{section['commit'][:12]}`; {section['machine']}"
    again = f"{verdict} {made}. Again: `{COMMAND} {name}`"
    table = Table(columns, rows, "l" * len(columns))
    return Page([f"## {section['title']}", section["said"], table, (*section["notes"], again)])


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


@click.command()
@click.option("--only", multiple=True, metavar="SECTION", help="Repeatable [default: all].")
@click.option("--quick", is_flag=True, help="A fraction of the trials; for a first look.")
@click.option("--kills", type=click.IntRange(1), help="With --only kills: how many [default: 50].")
@study.results_option
def command(only: tuple[str, ...], quick: bool, kills: int | None, results: Path) -> None:
    options = {"quick": quick} | ({} if kills is None else {"kills": kills})
    sections = measure(only, results, **options)
    for name in sections:
        click.echo(pages(results)[name].markdown())
    if not all(section.passed for section in sections.values()):
        raise SystemExit(1)
