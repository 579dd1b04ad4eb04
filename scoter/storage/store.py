"""Content-addressed artefacts: a stage is a function from files to files, and its key names all
that made it.

An artefact is a folder with a manifest. It is built in a temporary folder; every file is hashed
into the manifest; the manifest is written last; one atomic rename publishes the folder. So whatever
is interrupted leaves nothing that looks finished. Whoever reads a file of an artefact has it hashed
first, once in a process: a byte that changed on the disk is an error, never a wrong number.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scoter.config import to_json
from scoter.errors import StoreError
from scoter.storage.untrusted import parse_json

MANIFEST = "manifest.json"
_OUTPUTS = (":(top,exclude)benchmarks/results",)
_NO_STAGES = ("partial", "sentences", "replies", "reason")


@dataclass(frozen=True)
class Artefact:
    """A finished, immutable folder. `reused` says whether this process found it rather than made
    it."""

    path: Path
    stage: str
    key: str
    reused: bool = False

    def file(self, name: str) -> Path:
        """The path of one of its files, whose bytes are those that were written.

        Raises:
            StoreError: the manifest lacks that name, or the file is missing or was altered.
        """
        path, wanted = self.path / name, self.manifest()["files"].get(name)
        if wanted is None or not path.is_file():
            raise StoreError(
                f"artefact {self.stage}/{self.key[:16]} has no file {name!r} ({path}); run "
                f"`scoter verify`"
            )
        if _known_hash(path) != wanted:
            raise StoreError(
                f"{path} was altered since it was written; delete the folder {self.path} and run "
                f"again"
            )
        return path

    def folder(self) -> Path:
        """Its folder, after every file in it was held against the manifest as `file` does."""
        for name in self.manifest()["files"]:
            self.file(name)
        return self.path

    def manifest(self) -> dict[str, Any]:
        """What made it, and the sha256 of each file.

        Raises:
            StoreError: the manifest cannot be read, or was altered.
        """
        try:
            found = parse_json((self.path / MANIFEST).read_bytes())
            if {"stage", "version", "config", "inputs", "key", "files"} - set(
                found
            ) or not isinstance(found["files"], dict):
                raise ValueError("it is no manifest")
            recipe = {name: found[name] for name in ("stage", "version", "config", "inputs")}
            if _hash_json(recipe) != found["key"]:
                raise ValueError("its recipe is not that of its key")
            if found.get("digest") not in (None, _digest(found)):
                raise ValueError("it was altered since it was written")
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"the manifest of {self.path} cannot be read ({error}); delete that folder and "
                f"run again"
            ) from None
        return found


class Store:
    """A folder of artefacts, by default `$SCOTER_STORE` or `artifacts/` here.

    Example:
        >>> import tempfile
        >>> store = Store(Path(tempfile.mkdtemp()))
        >>> make = lambda out, scratch: (out / "a.txt").write_text("hello") and None
        >>> store.stage("demo", 1, {"x": 1}, [], make).reused
        False
        >>> store.stage("demo", 1, {"x": 1}, [], make).reused
        True
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root or os.environ.get("SCOTER_STORE") or "artifacts")

    def stage(
        self,
        stage: str,
        version: int,
        config: Any,
        inputs: Sequence[Artefact | str],
        build: Callable[[Path, Path], None],
    ) -> Artefact:
        """The artefact of this stage, built now if it is not there.

        `build(out, scratch)` writes the files into `out`. `scratch` survives a kill, for
        checkpoints; it is deleted once the artefact is published. `inputs` are artefacts, or
        fingerprints of outside files.
        """
        recipe, key = _identity(stage, version, config, inputs)
        final = self.root / stage / key[:16]
        scratch = self.root / "partial" / f"{stage}-{key[:16]}"
        if (final / MANIFEST).exists():
            if scratch.exists():  # by a kill after it was published
                shutil.rmtree(scratch, ignore_errors=True)
            return Artefact(final, stage, key, reused=True)
        with _store_errors(self.root), self._lock(stage, key):
            if (final / MANIFEST).exists():
                return Artefact(final, stage, key, reused=True)
            for left in scratch.parent.glob(
                f"{scratch.name}-*"
            ):  # by a kill: nobody else is at this key
                shutil.rmtree(left, ignore_errors=True)
            out = scratch.with_name(f"{scratch.name}-{uuid.uuid4().hex[:8]}")
            scratch.mkdir(parents=True, exist_ok=True)
            out.mkdir()
            try:
                build(out, scratch)
                _publish(out, final, {**recipe, "key": key})
            finally:
                shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(scratch, ignore_errors=True)
        return Artefact(final, stage, key)

    def take_part(
        self,
        stage: str,
        version: int,
        config: Any,
        inputs: Sequence[Artefact | str],
        build: Callable[[Path, Path], None],
    ) -> Artefact:
        """The artefact of a stage that several processes build together, for all of them but the
        one that calls `stage`.

        This process builds along in the same `scratch`; what it writes into `out` is thrown away,
        and the other's is waited for.
        """
        _, key = _identity(stage, version, config, inputs)
        if not (self.root / stage / key[:16] / MANIFEST).exists():
            scratch = self.root / "partial" / f"{stage}-{key[:16]}"
            scratch.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory() as out:
                build(Path(out), scratch)
        return self.stage(stage, version, config, inputs, build)

    def find(self, stage: str, key: str) -> Artefact:
        """The finished artefact of that key; an absent one is a `StoreError`."""
        path = self.root / stage / key[:16]
        if not (path / MANIFEST).exists():
            raise StoreError(
                f"{self.root} has no finished {stage} artefact {key[:16]}; run the experiment "
                f"again to make it"
            )
        return Artefact(path, stage, key, reused=True)

    def artefacts(self, stage: str | None = None) -> Iterator[Artefact]:
        """Every finished artefact, oldest first."""
        for folder in self._folders(stage):
            artefact = Artefact(folder, folder.parent.name, "", reused=True)
            yield Artefact(folder, folder.parent.name, artefact.manifest()["key"], reused=True)

    def verify(self, artefact: Artefact) -> list[str]:
        """What is wrong with an artefact: one line per missing, altered or foreign file, its
        manifest among them."""
        try:
            manifest = artefact.manifest()
        except StoreError as error:
            return [f"{artefact.path / MANIFEST}: {error}"]
        if manifest["key"][:16] != artefact.path.name:
            return [f"{artefact.path / MANIFEST}: it is that of another artefact"]
        wanted = manifest["files"]
        present = {
            str(path.relative_to(artefact.path))
            for path in artefact.path.rglob("*")
            if path.is_file()
        } - {MANIFEST}
        problems = [f"{artefact.path / name}: missing" for name in sorted(set(wanted) - present)]
        problems += [
            f"{artefact.path / name}: not in the manifest" for name in sorted(present - set(wanted))
        ]
        for name in sorted(present & set(wanted)):
            problems += _altered(artefact.path / name, wanted[name])
        return problems

    def verify_all(self) -> tuple[int, list[str]]:
        """How many artefacts there are, and what is wrong with any of them, those without a
        manifest among them."""
        folders = self._folders()
        problems = [
            line
            for folder in folders
            for line in self.verify(Artefact(folder, folder.parent.name, ""))
        ]
        unfinished = [
            path
            for path in sorted(self.root.glob("*/*"))
            if path not in folders and _looks_like_a_key(path)
        ]
        return len(folders), problems + [f"{path / MANIFEST}: missing" for path in unfinished]

    def _folders(self, stage: str | None = None) -> list[Path]:
        found = [
            path.parent
            for path in self.root.glob(f"{stage or '*'}/*/{MANIFEST}")
            if path.parts[-3] != "partial"
        ]
        return sorted(found, key=lambda path: (path / MANIFEST).stat().st_mtime)

    @contextmanager
    def _lock(self, stage: str, key: str) -> Iterator[None]:
        from filelock import FileLock

        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{stage}-{key[:16]}.lock"):
            yield


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def as_new_file(path: Path) -> Iterator[None]:
    """What safetensors writes to `path` has the mode of any new file; a full disk is an `OSError`.

    safetensors writes through a temporary file of mode 0600, which nobody else could read, whatever
    the umask says.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "plain").touch()
        >>> with as_new_file(folder / "a"):
        ...     (folder / "private").touch(0o600)
        ...     _ = (folder / "private").replace(folder / "a")
        >>> (folder / "a").stat().st_mode == (folder / "plain").stat().st_mode
        True
    """
    from safetensors import SafetensorError

    path.unlink(missing_ok=True)
    path.touch()
    mode = path.stat().st_mode
    try:
        yield
    except SafetensorError as error:
        raise OSError(None, str(error), str(path)) from None
    path.chmod(mode)


@lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit of the working folder, with `+dirty` where tracked files differ from it; `unknown`
    without git.

    Collected results are left out: they are what runs make, and no run reads them.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *_OUTPUTS)
        return git("rev-parse", "HEAD") + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _identity(
    stage: str, version: int, config: Any, inputs: Sequence[Artefact | str]
) -> tuple[dict[str, Any], str]:
    """What an artefact is made of, and its key."""
    names = [part if isinstance(part, str) else part.key for part in inputs]
    recipe = {
        "stage": stage,
        "version": version,
        "config": json.loads(to_json(config)),
        "inputs": names,
    }
    return recipe, _hash_json(recipe)


def _publish(out: Path, final: Path, recipe: dict[str, Any]) -> None:
    files = {
        str(path.relative_to(out)): hash_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    made = {"commit": git_commit(), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    manifest = {**recipe, **made, "files": files}
    text = json.dumps({**manifest, "digest": _digest(manifest)}, indent=1, sort_keys=True)
    with (out / MANIFEST).open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():  # without a manifest, or it would have been found: what a removal left
        shutil.rmtree(final)
    out.rename(final)


def _digest(manifest: dict[str, Any]) -> str:
    """The hash of all that a manifest says."""
    return _hash_json({name: value for name, value in manifest.items() if name != "digest"})


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _known_hash(path: Path) -> str:
    """`hash_file`, computed once for a file that did not change; what cannot be read is a
    `StoreError`."""
    try:
        state = path.stat()
        return _hash_of_state(path, state.st_mtime_ns, state.st_size, state.st_ino)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror or error}); check the permissions of the store"
        ) from None


@lru_cache(maxsize=4096)
def _hash_of_state(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    return hash_file(path)


def _altered(path: Path, wanted: str) -> list[str]:
    try:
        return [] if hash_file(path) == wanted else [f"{path}: altered since it was written"]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error})"]


def _looks_like_a_key(path: Path) -> bool:
    return (
        path.is_dir()
        and re.fullmatch(r"[0-9a-f]{16}", path.name) is not None
        and path.parent.name not in _NO_STAGES
    )


@contextmanager
def _store_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(root)):
            raise
        raise StoreError(
            f"the store {root} could not be written ({error.strerror or error}); nothing "
            f"finished was lost. "
            f"Free space or permissions there, or point SCOTER_STORE elsewhere, and run again"
        ) from error
