"""The documentation's pages are linked, reachable and complete; `make docs` checks its build."""

import re
from pathlib import Path

import pytest
from check_site import complaints

import scoter

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(path for path in ROOT.glob("*.md")),
    *DOCS.rglob("*.md"),
    *(ROOT / "theory").glob("*.md"),
    *(ROOT / "notebooks").glob("*.md"),
]


def links(page: Path) -> list[tuple[Path, str]]:
    """The file and the anchor of each link of a page to a place in the repository."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)\s]+)\)", prose)
    parts = (link.partition("#") for link in found if not re.match(r"\w+:", link))
    return [((page.parent / file).resolve() if file else page, anchor) for file, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """What GitHub and MyST call the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def below(page: Path) -> set[Path]:
    """The pages that the tables of contents of a page name."""
    found = set()
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.S | re.M):
        for entry in block.split():
            name = entry.strip("<>")
            paths = [path for end in (".md", ".ipynb") for path in page.parent.glob(name + end)]
            found |= {path.resolve() for path in paths}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for to, anchor in links(page):
        assert to.exists(), f"{page.name} links to {to}, which is absent"
        assert not anchor or anchor in anchors(to), f"{page.name}: {to.name} has no #{anchor}"


def test_every_page_is_below_the_start_page() -> None:
    found, ahead = set(), {DOCS / "index.md"}
    while ahead:
        found |= ahead
        ahead = {to for page in ahead if page.suffix == ".md" for to in below(page)} - found
    wanted = {*PAGES, *(ROOT / "notebooks").glob("*.ipynb")}
    assert wanted <= found, wanted - found


def test_the_log_has_every_entry_in_its_index() -> None:
    below = (DOCS / "log.md").read_text().partition("## Index by question")[2]
    index, _, entries = below.partition("\n## ")
    heads = re.findall(r"^(?:## )?(20\d\d-.+)$", entries, re.M)
    named = set(re.findall(r"\(#([^)]+)\)", index))
    slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    assert slugs == named


def test_the_api_has_every_public_name() -> None:
    page = (DOCS / "api" / "scoter.md").read_text()
    assert set(re.findall(r"auto(?:class|function):: scoter\.(\w+)", page)) == set(scoter.__all__)


def test_a_broken_site_is_told_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="page.html#there">2</a><img src="no.png">'
    )
    (tmp_path / "page.html").write_text('<a href="https://example.org/x#y">out</a>')
    (tmp_path / "lost.html").write_text('<a href="index.html">back</a>')
    assert complaints(tmp_path) == [
        "index.html: no.png leads to no file",
        "index.html: page.html#there leads to no anchor",
        "no link leads to lost.html",
    ]
