"""Every marker of every Markdown file has an owner, and every page says what the results say."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.documents import KINDS, ROOT, kinds, pages, renew, renewed
from scoter.errors import DataError

# Comments that mark no measured part: tests read what stands below them.
READ_BY_TESTS = ("the tested commands", "the tested class", "trials: ", "one row per arm; ")
FOLDERS = ("docs", "theory", "notebooks", "scoter", "benchmarks", "paper_figures", "tests")


def markdown() -> list[Path]:
    return [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))]


def test_a_comment_is_a_marker_with_an_owner_or_is_read_by_a_test() -> None:
    for path in markdown():
        for comment in re.findall(r"<!--(.*?)-->", path.read_text(), re.DOTALL):
            kind = re.fullmatch(r" (?:/([a-z]+)|([a-z]+):[a-z0-9._-]+) ", comment)
            owned = kind is not None and (kind[1] or kind[2]) in KINDS
            assert owned or comment.strip().startswith(READ_BY_TESTS), f"{path}: <!--{comment}-->"


def test_every_owner_has_a_page_and_no_page_is_passed_over() -> None:
    found = pages()
    assert {kind for path in found for kind in kinds(path)} == set(KINDS)
    closed = {path for path in markdown() if re.search(r"<!-- /\w+ -->", path.read_text())}
    assert set(found) == closed
    names = ("README.md", "docs/cold-and-stale.md", "theory/README.md")
    assert {ROOT / name for name in names} < set(found)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_is_what_the_results_say_and_a_wrong_digit_is_mended(
    path: Path, tmp_path: Path
) -> None:
    text, copy = path.read_text(), tmp_path / path.name
    changed = text
    for kind in kinds(path):  # one wrong digit in a part of each kind
        start = re.search(rf"<!-- {kind}:.*-->\n", changed).end()
        digit = start + re.search(r"\.\d*([1-8])", changed[start:]).start(1)
        changed = changed[:digit] + str(int(changed[digit]) + 1) + changed[digit + 1 :]
    assert changed != text
    copy.write_text(changed)
    assert renew(copy)
    assert copy.read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- tabel:beauty -->\n<!-- /tabel -->", "tabel:beauty --> is of no known kind; choose"),
        ("<!-- leakage:beauti -->\n<!-- /leakage -->", "leakage.json has nothing of 'beauti'"),
        ("<!-- buckets:toys -->\n<!-- /buckets -->", "buckets.json has nothing of 'toys'; choose"),
        ("<!-- estimators:all -->\n<!-- /estimators -->", "nothing of 'all'; choose from: laws"),
        ("<!-- scale:all -->\n<!-- /scale -->", "nothing of 'all'; choose from: measured, storage"),
        ("<!-- leakage:beauty -->\n<!-- /table -->", "1 opening and 1 closing .* make 0 parts"),
        ("<!-- leakage:beauty --><!-- /leakage -->", "0 parts; write .* on lines of their own"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        renewed(text)


def test_the_command_names_the_file_that_it_refuses(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- scale:all -->\n<!-- /scale -->\n")
    with pytest.raises(DataError, match=re.escape(f"{page}: growth.json")):
        CliRunner().invoke(main, ["documents", str(page)], catch_exceptions=False)
    assert page.read_text() == "<!-- scale:all -->\n<!-- /scale -->\n"


def test_hidden_folders_and_artefacts_are_not_looked_into(tmp_path: Path) -> None:
    for folder in (".venv/package", "artifacts/paper", "docs/decisions"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(ROOT / "docs/scale.md", tmp_path / folder)
    assert pages(tmp_path) == [tmp_path / "docs/decisions/scale.md"]
