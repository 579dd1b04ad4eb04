"""Content-addressed artefacts: a stage is a function from files to files, and its key names all that made it.

An artefact is a folder with a manifest. It is built in a temporary folder; every file is hashed into the
manifest; the manifest is written last; one atomic rename publishes the folder. So whatever is interrupted
leaves nothing that looks finished, and whoever reads an artefact reads a whole one.
"""

import hashlib
import json
import os
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

MANIFEST = "manifest.json"
_OUTPUTS = (":(top,exclude)benchmarks/results",)


@dataclass(frozen=True)
class Artefact:
    """A finished, immutable folder. `reused` says whether this process found it rather than made it."""

    path: Path
    stage: str
    key: str
    reused: bool = False

    def file(self, name: str) -> Path:
        """The path of one of its files; a name that the manifest lacks is an error."""
        path = self.path / name
        if not path.exists():
            raise StoreError(f"artefact {self.stage}/{self.key[:16]} has no file {name!r}; run `scoter verify`")
        return path

    def manifest(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / MANIFEST).read_text())
        except (OSError, ValueError) as error:
            raise StoreError(f"the manifest of {self.path} cannot be read ({error}); delete that folder and run again") from None


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
        self, stage: str, version: int, config: Any, inputs: Sequence[Artefact | str], build: Callable[[Path, Path], None]
    ) -> Artefact:
        """The artefact of this stage, built now if it is not there.

        `build(out, scratch)` writes the files into `out`. `scratch` survives a kill, for checkpoints; it is
        deleted once the artefact is published. `inputs` are artefacts, or fingerprints of outside files.
        """
        recipe, key = _identity(stage, version, config, inputs)
        final = self.root / stage / key[:16]
        if (final / MANIFEST).exists():
            return Artefact(final, stage, key, reused=True)
        with _store_errors(self.root), self._lock(stage, key):
            if (final / MANIFEST).exists():
                return Artefact(final, stage, key, reused=True)
            scratch = self.root / "partial" / f"{stage}-{key[:16]}"
            out = self.root / "partial" / f"{stage}-{key[:16]}-{uuid.uuid4().hex[:8]}"
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
        self, stage: str, version: int, config: Any, inputs: Sequence[Artefact | str], build: Callable[[Path, Path], None]
    ) -> Artefact:
        """The artefact of a stage that several processes build together, for all of them but the one that calls `stage`.

        This process builds along in the same `scratch`; what it writes into `out` is thrown away, and the other's is waited for.
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
            raise StoreError(f"{self.root} has no finished {stage} artefact {key[:16]}; run the experiment again to make it")
        return Artefact(path, stage, key, reused=True)

    def artefacts(self, stage: str | None = None) -> Iterator[Artefact]:
        """Every finished artefact, oldest first."""
        found = [path.parent for path in self.root.glob(f"{stage or '*'}/*/{MANIFEST}") if path.parts[-3] != "partial"]
        for folder in sorted(found, key=lambda path: (path / MANIFEST).stat().st_mtime):
            artefact = Artefact(folder, folder.parent.name, "", reused=True)
            yield Artefact(folder, folder.parent.name, artefact.manifest()["key"], reused=True)

    def verify(self, artefact: Artefact) -> list[str]:
        """What is wrong with an artefact's files: one line per missing, altered or foreign file."""
        wanted = artefact.manifest()["files"]
        present = {str(path.relative_to(artefact.path)) for path in artefact.path.rglob("*") if path.is_file()} - {MANIFEST}
        problems = [f"{artefact.path / name}: missing" for name in sorted(set(wanted) - present)]
        problems += [f"{artefact.path / name}: not in the manifest" for name in sorted(present - set(wanted))]
        for name in sorted(present & set(wanted)):
            if hash_file(artefact.path / name) != wanted[name]:
                problems.append(f"{artefact.path / name}: altered since it was written")
        return problems

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


@lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit of the working folder, with `+dirty` where tracked files differ from it; `unknown` without git.

    Collected results are left out: they are what runs make, and no run reads them.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *_OUTPUTS)
        return git("rev-parse", "HEAD") + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _identity(stage: str, version: int, config: Any, inputs: Sequence[Artefact | str]) -> tuple[dict[str, Any], str]:
    """What an artefact is made of, and its key."""
    names = [part if isinstance(part, str) else part.key for part in inputs]
    recipe = {"stage": stage, "version": version, "config": json.loads(to_json(config)), "inputs": names}
    return recipe, hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _publish(out: Path, final: Path, recipe: dict[str, Any]) -> None:
    files = {str(path.relative_to(out)): hash_file(path) for path in sorted(out.rglob("*")) if path.is_file()}
    made = {"commit": git_commit(), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps({**recipe, **made, "files": files}, indent=1, sort_keys=True)
    with (out / MANIFEST).open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    out.rename(final)


@contextmanager
def _store_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(root)):
            raise
        raise StoreError(
            f"the store {root} could not be written ({error.strerror or error}); nothing finished was lost. "
            f"Free space or permissions there, or point SCOTER_STORE elsewhere, and run again"
        ) from error
