"""A stage that is killed before any one of its file operations, and run again, leaves the bytes of
one that was not."""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from scoter.errors import StoreError
from scoter.storage.store import MANIFEST, Store

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod")


def build(out: Path, scratch: Path) -> None:
    (scratch / "checkpoint").write_text("half way")
    (out / "folder").mkdir()
    (out / "folder" / "a.txt").write_text("first")
    (out / "b.txt").write_text((scratch / "checkpoint").read_text())


def make(store: Path) -> None:
    Store(store).stage("one", 1, {"x": 1}, [], build)


def killed_before(operation: int, store: Path) -> bool:
    """Whether a child that does the work died; it sends itself SIGKILL before that file operation
    below the store."""
    child = os.fork()
    if child == 0:
        seen = 0

        def audit(event: str, arguments: tuple) -> None:
            nonlocal seen
            if event in EVENTS and str(store) in str(arguments[0]):
                seen += 1
                if seen > operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        try:
            make(store)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def files_of(store: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        if path.name == MANIFEST:
            found[name] = {
                key: value
                for key, value in json.loads(path.read_text()).items()
                if key not in ("created", "digest")
            }
        elif path.is_file() and path.suffix != ".lock":
            found[name] = path.read_bytes()
    return found


def test_a_kill_before_any_file_operation_changes_nothing_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoter.storage.store.git_commit", lambda: "c" * 40)
    make(tmp_path / "whole")
    wanted = files_of(tmp_path / "whole")
    operation = 0
    while killed_before(operation, store := tmp_path / f"torn-{operation}"):
        assert Store(store).verify_all()[1] == []
        make(store)
        assert files_of(store) == wanted
        operation += 1
    assert operation > 12


def test_what_a_removal_left_is_made_again(tmp_path: Path) -> None:
    make(tmp_path)
    (one,) = Store(tmp_path).artefacts("one")
    (one.path / MANIFEST).unlink()
    assert Store(tmp_path).verify_all()[1] == [f"{one.path / MANIFEST}: missing"]
    make(tmp_path)
    assert Store(tmp_path).verify_all() == (1, [])


@pytest.mark.parametrize("where", [0, 50, 200, -30])
def test_a_flipped_bit_is_noticed_by_whoever_reads(where: int, tmp_path: Path) -> None:
    make(tmp_path)
    store = Store(tmp_path)
    (one,) = store.artefacts("one")
    assert one.file("b.txt").read_text() == "half way"
    (one.path / "b.txt").write_text("half wax")
    with pytest.raises(
        StoreError, match=r"b\.txt was altered since it was written; delete the folder"
    ):
        one.file("b.txt")
    with pytest.raises(StoreError, match=r"b\.txt was altered"):
        one.folder()
    (one.path / "b.txt").write_text("half way")
    content = bytearray((one.path / MANIFEST).read_bytes())
    content[where] ^= 1
    (one.path / MANIFEST).write_bytes(content)
    with pytest.raises(StoreError, match=r"manifest of .* cannot be read"):
        one.file("b.txt")
    assert any(str(one.path / MANIFEST) in problem for problem in store.verify_all()[1])


def test_manifests_of_older_versions_have_no_hash_of_themselves(tmp_path: Path) -> None:
    make(tmp_path)
    (one,) = Store(tmp_path).artefacts("one")
    told = one.manifest()
    del told["digest"]
    (one.path / MANIFEST).write_text(json.dumps(told))
    assert one.file("b.txt").read_text() == "half way"
    assert Store(tmp_path).verify_all() == (1, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can stop being root")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_lost_permission_is_an_error_with_a_remedy(mode: int, tmp_path: Path) -> None:
    for folder in (
        tmp_path,
        *tmp_path.parents,
    ):  # down from the shared folder of temporary files, which is open to all
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    store = tmp_path / "store"
    make(store)
    (one,) = Store(store).artefacts("one")
    (one.path / "b.txt").chmod(mode & 0o444)
    for path in store.rglob("*"):
        if path.is_dir():
            path.chmod(0o555)
    said = tmp_path / "said"
    said.touch()
    said.chmod(0o666)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setuid(65534)
            try:
                Store(store).stage("new", 1, {}, [], build)
            except StoreError as error:
                said.write_text(f"{error}\n")
            try:
                found = one.file("b.txt").read_text()
            except StoreError as error:
                found = str(error)
            with said.open("a") as file:
                file.write(found)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    wrote, read = said.read_text().splitlines()
    assert "could not be written (Permission denied)" in wrote
    assert "point SCOTER_STORE elsewhere" in wrote
    assert read == "half way" if mode else "b.txt cannot be read (Permission denied)" in read
