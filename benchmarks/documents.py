"""The measured parts of Markdown pages, made from the results.

They are between `<!-- KIND:NAME -->` and `<!-- /KIND -->` on lines of their own; the rest is
written by hand. `KINDS` lists what makes each kind; any Markdown file may hold any of them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import claims, rerun
from benchmarks.scale import plan as scale_plan
from benchmarks.studies import reliability
from benchmarks.suite.collect import RESULTS
from benchmarks.tables import (
    buckets_page,
    controls,
    discovery_page,
    estimators_page,
    leakage_page,
    pilot_page,
    sensitivity_page,
)
from benchmarks.tables.render import render
from benchmarks.tables.table import Page
from scoter.errors import DataError

ROOT = Path(__file__).parents[1]
_OPENING = re.compile(r"<!-- ([a-z]+):([a-z0-9._-]+) -->")
_CLOSING = re.compile(r"<!-- /([a-z]+) -->")
_PART = re.compile(rf"({_OPENING.pattern}\n).*?(<!-- /\2 -->)", re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """How parts are made: `made(NAME, results)` is the Markdown of the part `NAME`."""

    sources: str  # the files of the results that it reads
    made: Callable[[str, Path], str]


def _named(file: str, pages_of: Callable[[Path], Mapping[str, Page]]) -> Kind:
    def made(name: str, results: Path) -> str:
        known = pages_of(results)
        if name not in known:
            raise DataError(f"{file} has nothing of {name!r}; choose from: {', '.join(known)}")
        return known[name].markdown()

    return Kind(file, made)


KINDS: dict[str, Kind] = {
    "table": Kind("main.parquet, ranks", lambda name, results: render(results, name, "markdown")),
    "controls": Kind(
        f"main.parquet, ranks, {controls.FILE}",
        lambda name, results: controls.page(results, name).markdown(),
    ),
    "discovery": Kind(
        discovery_page.SOURCE, lambda name, results: discovery_page.page(results, name).markdown()
    ),
    "ablation": _named("main.parquet, ranks", controls.ablation_pages),
    "leakage": _named(leakage_page.FILE, leakage_page.pages),
    "sensitivity": _named(sensitivity_page.FILE, sensitivity_page.pages),
    "adds": _named("main.parquet, ranks", discovery_page.adds_pages),
    "buckets": _named(buckets_page.FILE, buckets_page.pages),
    "estimators": _named(estimators_page.FILE, estimators_page.pages),
    "pilot": _named(pilot_page.FILE, pilot_page.pages),
    "reliability": _named(reliability.FILE, reliability.pages),
    "claims": _named("claims.toml", claims.pages),
    "rerun": _named(rerun.SOURCES, rerun.pages),
    "scale": _named(", ".join(scale_plan.FILES), scale_plan.pages),
}


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown files that hold a marker; hidden folders and `artifacts` are not looked into."""
    files = [*root.glob("*.md")]
    for folder in root.iterdir():
        if folder.is_dir() and folder.name[0] != "." and folder.name != "artifacts":
            files += folder.rglob("*.md")
    return sorted(path for path in files if kinds(path))


def kinds(path: Path) -> list[str]:
    """The kinds of a file's markers, each once."""
    markers = _OPENING.findall(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(kind for kind, _ in markers))


def renew(path: Path, results: Path = RESULTS, check: bool = False) -> bool:
    """Make a page's parts again, in place, and say whether any changed; `check` writes nothing."""
    text = path.read_text(encoding="utf-8")
    try:
        made = renewed(text, results)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if made != text and not check:
        path.write_text(made, encoding="utf-8")
    return made != text


def renewed(text: str, results: Path = RESULTS) -> str:
    """`text` with what is between its markers made again.

    Raises:
        DataError: no markers, a marker without its other half, of an unknown kind, or not measured.
    """
    openings, closings = _OPENING.findall(text), _CLOSING.findall(text)
    for kind, name in openings:
        if kind not in KINDS:
            marker, known = f"<!-- {kind}:{name} -->", ", ".join(KINDS)
            raise DataError(f"{marker} is of no known kind; choose from: {known}")
    pairs = len(_PART.findall(text))
    if not pairs or not pairs == len(openings) == len(closings):
        counts = f"{len(openings)} opening and {len(closings)} closing markers"
        remedy = "write <!-- table:beauty --> and <!-- /table --> on lines of their own"
        raise DataError(f"found {counts} that make {pairs} parts; {remedy}")

    def filled(part: re.Match[str]) -> str:
        opening, kind, name, closing = part.groups()
        return opening + KINDS[kind].made(name, results) + closing

    return _PART.sub(filled, text)
