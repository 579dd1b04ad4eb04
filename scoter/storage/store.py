"""Content-addressed artefacts: folders of files whose key names all that made them.

An artefact is built in a temporary folder, every file is hashed into its manifest, the manifest is
written last, and one atomic rename publishes the folder: an interruption leaves nothing that looks
finished. A file is hashed before it is read, once in a process, so that a changed byte is an error.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NotRequired, TypeAlias, TypedDict, cast

from scoter.config import to_json
from scoter.errors import StoreError
from scoter.progress import counting
from scoter.storage.untrusted import parse_json
from scoter.types import Json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MANIFEST = "manifest.json"
_OUTPUTS = (":(top,exclude)benchmarks/results",)
_NO_STAGES = ("partial", "sentences", "replies", "reason")
Config: TypeAlias = "DataclassInstance | Mapping[str, object]"
Build = Callable[[Path, Path], None]  # writes files into `out`; `scratch` survives a kill


class Recipe(TypedDict):
    """What an artefact is made from; its hash is the key."""

    stage: str
    version: int
    config: Json
    inputs: list[str]  # keys of artefacts, fingerprints of other files


class Manifest(Recipe):
    """The recipe, and what was made from it."""

    key: str
    files: dict[str, str]  # sha256 by name
    commit: str
    created: str  # in UTC, ISO 8601
    digest: NotRequired[str]  # of all else


@dataclass(frozen=True)
class Artefact:
    """A finished, immutable folder."""

    path: Path
    stage: str
    key: str
    reused: bool = False  # whether this process found it rather than made it

    def file(self, name: str) -> Path:
        """The path of one of its files; a missing, unlisted or altered one is a `StoreError`."""
        path, wanted = self.path / name, self.manifest()["files"].get(name)
        if wanted is None or not path.is_file():
            where = f"artefact {self.stage}/{self.key[:16]}"
            raise StoreError(f"{where} has no file {name!r} ({path}); run `scoter verify`")
        if _known_hash(path) != wanted:
            remedy = f"delete the folder {self.path} and run again"
            raise StoreError(f"{path} was altered since it was written; {remedy}")
        return path

    def folder(self) -> Path:
        """Its folder, once every file in it was checked as `file` does."""
        for name in self.manifest()["files"]:
            self.file(name)
        return self.path

    def manifest(self) -> Manifest:
        """What made it, and the sha256 of each file; a damaged manifest is a `StoreError`."""
        needed = Manifest.__required_keys__ - {"commit", "created"}
        try:
            manifest = parse_json((self.path / MANIFEST).read_bytes())
            if needed - set(manifest) or not isinstance(manifest["files"], dict):
                raise ValueError("it is no manifest")
            recipe = {name: manifest[name] for name in Recipe.__annotations__}
            if hash_json(recipe) != manifest["key"]:
                raise ValueError("its recipe is not that of its key")
            if manifest.get("digest") not in (None, _digest(manifest)):
                raise ValueError("it was altered since it was written")
        except (OSError, ValueError, TypeError) as error:
            reason = f"the manifest of {self.path} cannot be read ({error})"
            raise StoreError(f"{reason}; delete that folder and run again") from None
        return cast(Manifest, manifest)


Inputs = Sequence[Artefact | str]


class Store:
    """A folder of artefacts, by default `$SCOTER_STORE` or `artifacts/` here.

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
        self, stage: str, version: int, config: Config, inputs: Inputs, build: Build
    ) -> Artefact:
        """The artefact of this stage, built now if it is not there.

        `inputs` are artefacts, or fingerprints of other files. `scratch` keeps checkpoints across
        kills and is deleted once the artefact is published.
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
            for left in scratch.parent.glob(f"{scratch.name}-*"):  # by a kill, under our lock
                shutil.rmtree(left, ignore_errors=True)
            out = scratch.with_name(f"{scratch.name}-{uuid.uuid4().hex[:8]}")
            scratch.mkdir(parents=True, exist_ok=True)
            out.mkdir()
            try:
                build(out, scratch)
                _publish(out, final, recipe, key)
            finally:
                shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(scratch, ignore_errors=True)
        return Artefact(final, stage, key)

    def take_part(
        self, stage: str, version: int, config: Config, inputs: Inputs, build: Build
    ) -> Artefact:
        """The artefact of a stage that this process builds together with the one calling `stage`.

        It shares `scratch`; what it writes into `out` is deleted, and the other's is waited for.
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
            missing = f"{self.root} has no finished {stage} artefact {key[:16]}"
            raise StoreError(f"{missing}; run the experiment again to make it")
        return Artefact(path, stage, key, reused=True)

    def artefacts(self, stage: str | None = None) -> Iterator[Artefact]:
        """Every finished artefact, oldest first."""
        for folder in self.folders(stage):
            artefact = Artefact(folder, folder.parent.name, "", reused=True)
            yield replace(artefact, key=artefact.manifest()["key"])

    def verify(self, artefact: Artefact) -> list[str]:
        """One line for each file of an artefact that is missing, altered or not in the manifest."""
        path = artefact.path
        try:
            manifest = artefact.manifest()
        except StoreError as error:
            return [f"{path / MANIFEST}: {error}"]
        if manifest["key"][:16] != path.name:
            return [f"{path / MANIFEST}: it is that of another artefact"]
        wanted, present = manifest["files"], _files(path) - {MANIFEST}
        problems = [f"{path / name}: missing" for name in sorted(set(wanted) - present)]
        extra = sorted(present - set(wanted))
        problems += [f"{path / name}: not in the manifest" for name in extra]
        for name in sorted(present & set(wanted)):
            problems += _altered(path / name, wanted[name])
        return problems

    def verify_all(self) -> tuple[int, list[str]]:
        """How many artefacts there are, and the problems of all, also those without a manifest."""
        folders, problems = self.folders(), []
        with counting("checking artefacts", len(folders), "artefact") as note:
            for folder in folders:
                problems += self.verify(Artefact(folder, folder.parent.name, ""))
                note([folder])
        left = set(self.root.glob("*/*")) - set(folders)
        bare = [
            path
            for path in sorted(left)
            if re.fullmatch(r"[0-9a-f]{16}", path.name)
            and path.is_dir()
            and path.parent.name not in _NO_STAGES
        ]
        return len(folders), problems + [f"{path / MANIFEST}: missing" for path in bare]

    def folders(self, stage: str | None = None) -> list[Path]:
        manifests = self.root.glob(f"{stage or '*'}/*/{MANIFEST}")
        folders = [path.parent for path in manifests if path.parts[-3] != "partial"]
        return sorted(folders, key=lambda path: (path / MANIFEST).stat().st_mtime)

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
    """A block in which safetensors writes `path`: with the mode that the umask gives a new file.

    safetensors itself makes files of mode 0600. A full disk is an `OSError`.
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
    """The commit here, with `+dirty` where tracked files differ from it; `unknown` without git.

    Collected results do not count: runs make them, and no run reads them.
    """

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *_OUTPUTS)
        return git("rev-parse", "HEAD") + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _identity(stage: str, version: int, config: Config, inputs: Inputs) -> tuple[Recipe, str]:
    names = [part if isinstance(part, str) else part.key for part in inputs]
    plain = json.loads(to_json(config))
    recipe: Recipe = {"stage": stage, "version": version, "config": plain, "inputs": names}
    return recipe, hash_json(recipe)


def _publish(out: Path, final: Path, recipe: Recipe, key: str) -> None:
    files = {name: hash_file(out / name) for name in sorted(_files(out))}
    made = {"commit": git_commit(), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    manifest = {**recipe, "key": key, **made, "files": files}
    text = json.dumps({**manifest, "digest": _digest(manifest)}, indent=1, sort_keys=True)
    with (out / MANIFEST).open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():  # without a manifest, or it would have been found: what a removal left
        shutil.rmtree(final)
    out.rename(final)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _digest(manifest: Mapping[str, object]) -> str:
    return hash_json({name: value for name, value in manifest.items() if name != "digest"})


def hash_json(value: object) -> str:
    """sha256 of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _known_hash(path: Path) -> str:
    """`hash_file`, computed once for a file that did not change."""
    try:
        state = path.stat()
        return _hash_of_state(path, state.st_mtime_ns, state.st_size, state.st_ino)
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror or error})"
        raise StoreError(f"{reason}; check the permissions of the store") from None


@lru_cache(maxsize=4096)
def _hash_of_state(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    return hash_file(path)


def _altered(path: Path, wanted: str) -> list[str]:
    try:
        return [] if hash_file(path) == wanted else [f"{path}: altered since it was written"]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error})"]


@contextmanager
def _store_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(root)):
            raise
        reason = f"the store {root} could not be written ({error.strerror or error})"
        remedy = "Free space or permissions there, or point SCOTER_STORE elsewhere, and run again"
        raise StoreError(f"{reason}; nothing finished was lost. {remedy}") from error
