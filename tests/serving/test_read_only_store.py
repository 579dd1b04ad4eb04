"""A finished run answers from a store that cannot be written, and answers the same."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scoter.cli.main import main
from scoter.errors import StoreError
from scoter.serving.bundle import export_run
from scoter.serving.service import answers, open_method
from scoter.stages.finished import FinishedRun
from scoter.storage import sentence_vectors as text
from scoter.storage.store import Artefact, Store


@pytest.fixture
def locked(
    finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, Artefact]:
    """The finished run in a store that cannot be written.

    Permissions would not do, since the tests may be run by root: a file stands in the place of the
    folder of locks, and the cache of sentences refuses what is new.
    """
    store, run = finished
    root = tmp_path / "locked"
    shutil.copytree(store.root, root, ignore=shutil.ignore_patterns("partial", "explorer"))
    (root / "partial").write_text("no folder")
    publish = text._publish

    def refuse(folder: Path, *arguments: Any) -> None:
        if folder.is_relative_to(root):
            raise StoreError(f"the sentence cache {folder} cannot be written")
        publish(folder, *arguments)

    monkeypatch.setattr(text, "_publish", refuse)
    copied = Store(root)
    return copied, copied.find("run", run.key)


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.parametrize("method", ["scoter", "listed", "tiger"])
def test_recommendations_and_bundles_need_no_cache(
    finished: Any, locked: tuple[Store, Artefact], method: str, tmp_path: Path
) -> None:
    before = everything(locked[0].root)

    def answer(run: tuple[Store, Artefact]) -> object:
        return answers(open_method(FinishedRun(*run), method), (), (), 5, method != "tiger")

    assert answer(locked) == answer(finished)
    export_run(*locked, method, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    assert everything(locked[0].root) == before


def test_a_report_has_its_explorer_all_the_same(
    locked: tuple[Store, Artefact], tmp_path: Path
) -> None:
    given = ["show", "latest", "--store", str(locked[0].root), "--report", str(tmp_path / "r.html")]
    done = CliRunner().invoke(main, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "without contributions" not in done.output
    assert "contributions" in (tmp_path / "r.html").read_text()
