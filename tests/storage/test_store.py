"""The store publishes whole artefacts or none, and notices every altered byte."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scoter.errors import StoreError
from scoter.storage.store import Store, as_new_file


def write(text: str):
    def build(out: Path, scratch: Path) -> None:
        (out / "folder").mkdir()
        (out / "folder" / "a.txt").write_text(text)

    return build


def test_a_second_call_reuses_and_a_changed_recipe_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.stage("demo", 1, {"x": 1}, [], write("one"))
    assert not first.reused
    assert store.stage("demo", 1, {"x": 1}, [], write("never")).reused
    changed = [
        store.stage("demo", 2, {"x": 1}, [], write("two")),
        store.stage("demo", 1, {"x": 2}, [], write("two")),
        store.stage("demo", 1, {"x": 1}, [first], write("two")),
        store.stage("other", 1, {"x": 1}, [], write("two")),
    ]
    assert len({artefact.key for artefact in [first, *changed]}) == 5
    assert first.file("folder/a.txt").read_text() == "one"
    assert next(store.artefacts("demo")).key == first.key


def test_a_failed_build_leaves_nothing_that_looks_finished_and_keeps_its_scratch(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)

    def fails(out: Path, scratch: Path) -> None:
        (out / "half.txt").write_text("half")
        (scratch / "checkpoint").write_text("progress")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.stage("demo", 1, {}, [], fails)
    assert list(store.artefacts()) == []
    assert not list(tmp_path.rglob("half.txt"))

    def resumes(out: Path, scratch: Path) -> None:
        (out / "whole.txt").write_text((scratch / "checkpoint").read_text())

    done = store.stage("demo", 1, {}, [], resumes)
    assert done.file("whole.txt").read_text() == "progress"
    assert not list(tmp_path.rglob("checkpoint"))


def test_verify_names_missing_altered_and_foreign_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artefact = store.stage("demo", 1, {}, [], write("text"))
    assert store.verify(artefact) == []
    file = artefact.file("folder/a.txt")
    file.write_text("t3xt")
    (artefact.path / "extra").write_text("")
    assert [problem.split(": ")[1] for problem in store.verify(artefact)] == [
        "not in the manifest",
        "altered since it was written",
    ]
    file.unlink()
    assert any(problem.endswith("missing") for problem in store.verify(artefact))


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artefact = store.stage("demo", 1, {}, [], write("text"))
    (artefact.path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest of .* cannot be read"):
        list(store.artefacts())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_store_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="point SCOTER_STORE elsewhere"):
        Store(tmp_path).stage("demo", 1, {}, [], write("text"))


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    def full(out: Path, scratch: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"No space left on device.*Free space"):
        Store(tmp_path).stage("demo", 1, {}, [], full)


def test_the_manifest_names_everything_that_made_the_artefact(tmp_path: Path) -> None:
    manifest = Store(tmp_path).stage("demo", 3, {"x": 1}, ["abc"], write("text")).manifest()
    assert {"stage", "version", "config", "inputs", "key", "commit", "created", "files"} <= set(
        manifest
    )
    assert manifest["inputs"] == ["abc"]
    assert json.loads(json.dumps(manifest["config"])) == {"x": 1}


def test_several_build_one_artefact_together(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=60)

    def build(out: Path, scratch: Path) -> None:
        together.wait()  # nobody can build alone
        (out / "a.txt").write_text("made")
        assert scratch.is_dir()
        together.wait()

    store = Store(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(way, "demo", 1, {}, [], build) for way in (store.stage, store.take_part)
        ]
        made, found = (call.result() for call in calls)
    assert made.path == found.path
    assert (made.reused, found.reused) == (False, True)
    assert made.file("a.txt").read_text() == "made"
    assert store.take_part("demo", 1, {}, [], build).reused  # built by nobody again


def test_a_file_of_safetensors_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with as_new_file(tmp_path / "a"):
        (tmp_path / "private").touch(0o600)
        (tmp_path / "private").replace(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
