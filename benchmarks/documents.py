"""The pages that show measured numbers: what each marker asks for, and who makes it.

A Markdown file holds `<!-- KIND:NAME -->` and `<!-- /KIND -->` on lines of their own. What stands
between them is made of the results; the rest is written by hand. `KINDS` is the only list of who
makes what, and every Markdown file may hold any of its kinds.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale import plan as scale_plan
from benchmarks.studies import reliability
from benchmarks.suite.collect import RESULTS
from benchmarks.tables import buckets_page, controls, estimators_page
from benchmarks.tables import leakage_page as leakage
from benchmarks.tables import sensitivity_page as sensitivity
from benchmarks.tables.render import render
from benchmarks.tables.table import Page
from scoter.errors import DataError

ROOT = Path(__file__).parents[1]
_OPENING = re.compile(r"<!-- ([a-z]+):([a-z0-9_-]+) -->")
_CLOSING = re.compile(r"<!-- /([a-z]+) -->")
_PART = re.compile(rf"({_OPENING.pattern}\n).*?(<!-- /\2 -->)", re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """How parts are made: `made(NAME, results)` is the Markdown of the part `NAME`."""

    sources: str  # the files of the results that it reads
    made: Callable[[str, Path], str]


def _named(file: str, pages_of: Callable[[Path], Mapping[str, Page]]) -> Kind:
    """A kind all of whose parts are made of one file."""

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
    "leakage": _named(leakage.FILE, leakage.pages),
    "sensitivity": _named(sensitivity.FILE, sensitivity.pages),
    "buckets": _named(buckets_page.FILE, buckets_page.pages),
    "estimators": _named(estimators_page.FILE, estimators_page.pages),
    "reliability": _named(reliability.FILE, reliability.pages),
    "scale": _named(", ".join(scale_plan.FILES), scale_plan.pages),
}
"""Every kind of marker."""


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown files that hold a marker; hidden folders and `artifacts` are not looked into."""
    folders = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
    files = [*root.glob("*.md")]
    for folder in folders:
        files += folder.rglob("*.md") if folder.name != "artifacts" else ()
    return sorted(path for path in files if kinds(path))


def kinds(path: Path) -> list[str]:
    """The kinds of a file's markers, each once."""
    markers = _OPENING.finditer(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(marker[1] for marker in markers))


def renew(path: Path, results: Path = RESULTS, check: bool = False) -> bool:
    """Make a page's parts again, in place, and say whether any changed; `check` writes nothing.

    Raises:
        DataError: a marker without its other half, or one for which nothing was measured.
    """
    text = path.read_text(encoding="utf-8")
    try:
        made = renewed(text, results)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if made != text and not check:
        path.write_text(made, encoding="utf-8")
    return made != text


def renewed(text: str, results: Path = RESULTS) -> str:
    """`text` with what stands between its markers made again.

    Raises:
        DataError: no markers, a marker without its other half, of an unknown kind, or not measured.

    Example:
        >>> renewed("<!-- sum:two -->\\nold\\n<!-- /sum -->")
        Traceback (most recent call last):
            ...
        scoter.errors.DataError: <!-- sum:two --> is of no known kind; choose from: table, ...
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
