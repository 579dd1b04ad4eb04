"""The tree is what docs/architecture.md shows, and has the shape that no linter holds."""

import ast
import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("scoter", "theory", "benchmarks", "paper_figures")
MOST_MODULES, WIDER = 12, {"scoter/cli": 18, "benchmarks/studies": 20, "benchmarks/tables": 13}
MOST_ANY, MOST_LINES = 60, 41_400  # lines: 33,000 and what statements, methods and checks add


def modules() -> dict[str, set[str]]:
    """The modules of every folder, beside its `__init__` and `__main__`."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            folder = path.parent.relative_to(ROOT).as_posix()
            found.setdefault(folder, set()).update({path.stem} - {"__init__", "__main__"})
    return found


def shown() -> dict[str, set[str]]:
    """The same, as the page shows it."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = page.partition("```\n")[2].partition("```")[0]
    found: dict[str, set[str]] = {}
    above: list[str] = []
    for line in block.splitlines():
        head = re.match(r"( *)([a-z_]+)/(\s|$)", line)
        if head:
            above = [*above[: len(head[1]) // 2], head[2]]
            found["/".join(above)] = set()
        else:
            found["/".join(above)].update(line.split())
    return found


def test_the_page_shows_the_tree() -> None:
    assert shown() == modules()


@pytest.mark.parametrize("folder", sorted(modules()))
def test_a_folder_can_be_taken_in_at_a_glance(folder: str) -> None:
    assert len(modules()[folder]) <= WIDER.get(folder, MOST_MODULES)


def test_no_two_modules_import_each_other() -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    pairs = {
        tuple(sorted((one, other)))
        for one in graph.modules
        for other in graph.find_modules_directly_imported_by(one)
        if one in graph.find_modules_directly_imported_by(other)
    }
    assert pairs == set()


def test_any_gets_rarer() -> None:
    texts = [path.read_text() for path in (ROOT / "scoter").rglob("*.py")]
    uses = sum(len(re.findall(r"\bAny\b", text)) - text.count("import Any") for text in texts)
    assert uses <= MOST_ANY


def test_the_product_stays_small_and_its_functions_short() -> None:
    total, long = 0, []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text()
        total += text.count("\n")
        assert max(map(len, text.splitlines()), default=0) <= 100, path
        functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
        long += [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 50]
    assert total <= MOST_LINES
    assert len(long) <= 10, long


def test_prose_has_lines_of_a_hundred_characters() -> None:
    for path in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "theory").glob("*.md")]:
        text = re.sub(r"<!-- ([a-z]+):[^>]*-->.*?<!-- /\1 -->", "", path.read_text(), flags=re.S)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
        long = [
            line
            for line in prose.splitlines()
            if len(line) > 100 and not line.startswith("|") and " " in line.strip()[:100]
        ]
        assert not long or path.name == "log.md", (path.name, long[:2])
