"""`scoter show`: the costs that it prints, and what of a run's discovery its report shows."""

import base64
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_run import STRENGTH, write_fake_run

from scoter.cli.main import main
from scoter.config import to_json
from scoter.experiments import simulated_smoke
from scoter.storage.store import Store

PICTURE = "<svg xmlns='http://www.w3.org/2000/svg'></svg>"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a finished run and the discovery of its pattern; the rest is gone."""
    store = Store(tmp_path / "store")

    def draw(out: Path, scratch: Path) -> None:
        (out / "picture.svg").write_text(PICTURE)

    mined = store.stage("discover", 1, {}, [], draw)
    folder = write_fake_run(tmp_path / "fake")
    run = json.loads((folder / "run.json").read_text())
    gone = {"prepare": "0" * 64, "semantic-ids": "0" * 64, "train": {}}
    run["artefacts"] = {**gone, "discover": mined.key}
    run["config"] = json.loads(to_json(simulated_smoke()))
    run["methods"]["popularity"]["cpu_seconds"] = 0.0
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "manifest.json").unlink()

    def keep(out: Path, scratch: Path) -> None:
        shutil.copytree(folder, out, dirs_exist_ok=True)

    store.stage("run", 1, {}, [mined], keep)
    return store


def show(store: Store, *arguments: str) -> Result:
    done = CliRunner().invoke(main, ["show", "latest", "--store", str(store.root), *arguments])
    assert done.exit_code == 0, done.output
    return done


def test_times_have_a_readable_unit_and_what_was_not_trained_has_none(store: Store) -> None:
    words = [line.split() for line in show(store).stdout.splitlines()]
    lines = {line[0]: line[1:] for line in words if line and line[0] in STRENGTH and line[1] != "-"}
    assert lines["popularity"][4:] == ["0"]
    assert lines["sasrec-bce"][4:] == ["30", "5.6", "min"]
    assert lines["scoter"][4:] == ["30", "27.1", "min"]
    assert "0.00" not in [word for words in lines.values() for word in words]


def test_the_report_shows_the_picture_of_the_discovery(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    show(store, "--report", str(page))
    assert base64.b64encode(PICTURE.encode()).decode() in page.read_text()


def test_a_report_without_its_discovery_says_so(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shutil.rmtree(store.root / "discover")
    said = show(store, "--report", str(page)).stderr
    assert "the report lacks the picture of the discovery" in said
    assert "<img" not in page.read_text()
