"""A folder of chains: `job.json`, `chains-00000.parquet`, ... and, last of all, `finished.json`.

What a shard holds depends on the job alone, so a run that was killed and run again leaves the same
bytes as one that was not. A shard appears by one rename, whole or not at all. `replies/`, where
there is one, keeps the language model's replies and is no part of the folder's content.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from scoter.errors import ConfigError, DataError
from scoter.storage.store import hash_file, hash_json
from scoter.storage.untrusted import parse_json, read_parquet
from scoter.storage.writing import replacing
from scoter.types import Json

JOB, FINISHED, REPLIES = "job.json", "finished.json", "replies"
OUTCOMES = ("valid", "mended", "rejected", "unanswered")
Texts = tuple[str, ...]
Steps = tuple[tuple[str, Texts], ...]


@dataclass(frozen=True, kw_only=True)
class ChainRow:
    """One chain, or why there is none; the fields are the columns of a shard."""

    user: int
    user_key: str
    prefix_length: int
    history: str  # digest of the keys of the items that the chain was written from
    sample: int
    outcome: str = "unanswered"  # one of OUTCOMES
    reason: str = ""  # what was wrong with a reply; '' for a valid one
    steps: Steps = ()  # role and sentences of each; without a final recommendation
    recommendations: Texts = ()
    model: str
    prompt_version: str


_TEXTS = pa.list_(pa.string())
_STEPS = pa.list_(pa.struct([("role", pa.string()), ("texts", _TEXTS)]))
_TYPES = {int: pa.int32(), str: pa.string(), Texts: _TEXTS, Steps: _STEPS}
SCHEMA = pa.schema([(field.name, _TYPES[field.type]) for field in fields(ChainRow)])


def history_digests(item_keys: Sequence[str]) -> list[str]:
    """A digest of the first p keys for p = 1, 2, ..."""
    digest, digests = hashlib.sha256(), []
    for key in item_keys:
        digest.update(f"{len(key)}:{key}".encode())
        digests.append(digest.hexdigest()[:16])
    return digests


class ChainFolder:
    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def start(self, job: Mapping[str, Json]) -> None:
        """Make the folder, or check that it holds this job or its beginning; else `ConfigError`."""
        for shard in self.outgrown(job):
            (self.path / FINISHED).unlink(missing_ok=True)
            self.shard(shard).unlink(missing_ok=True)
        wanted = json.loads(json.dumps(job))
        if not (self.path / JOB).exists() or self.job() != wanted:
            _write(self.path / JOB, json.dumps(wanted, indent=1, sort_keys=True).encode())
            return
        for partial in (*self.path.glob(".*.partial.*"), *self.path.glob("*.partial")):
            partial.unlink(missing_ok=True)  # what a kill left behind

    def outgrown(self, job: Mapping[str, Json]) -> list[int]:
        """Of a job that goes on where the one here ended, the shards that end too early.

        A `ConfigError` where the folder holds another job.
        """
        if not (self.path / JOB).exists():
            return []
        wanted, stored = json.loads(json.dumps(job)), self.job()
        known = [name for name in {**wanted, **stored} if stored.get(name) != wanted.get(name)]
        match stored:
            case {"chains": int(before), "shard_rows": int(rows)} if {*known} == {
                "limit",
                "chains",
            }:
                if wanted["chains"] > before:
                    return [before // rows]
        for name in known:
            differs = f"{name} is {stored.get(name)!r} there and {wanted.get(name)!r} here"
            remedy = "give this job a folder of its own with --out, and --replies of that one"
            raise ConfigError(f"{self.path} holds chains of another job: {differs}; {remedy}")
        return []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which this process alone writes here; a `ConfigError` if another one does."""
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path / ".lock").acquire(blocking=False)
        except Timeout:
            busy = f"--out {self.path}: another process writes chains there"
            raise ConfigError(f"{busy}; wait for it, or name another folder") from None
        with lock:
            yield

    def job(self) -> dict[str, Json]:
        """What the chains were made of; a `DataError` where this is no folder of chains."""
        try:
            tree = parse_json((self.path / JOB).read_bytes())
            if not isinstance(tree, dict):
                raise ValueError(f"{JOB} holds no object")
        except (OSError, ValueError) as error:
            problem = f"is no folder of chains ({self.path / JOB}: {error})"
            raise DataError(f"{self.path} {problem}; write one with `scoter reason`") from None
        return tree

    def shard(self, number: int) -> Path:
        return self.path / f"chains-{number:05d}.parquet"

    def write(self, number: int, rows: Sequence[ChainRow]) -> None:
        columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
        columns["steps"] = [
            [{"role": role, "texts": list(texts)} for role, texts in row.steps] for row in rows
        ]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd")
        _write(self.shard(number), sink.getvalue().to_pybytes())

    def outcomes(self, number: int) -> Counter[str]:
        return Counter(_read(self.shard(number))["outcome"].to_pylist())

    def reasons(self) -> Counter[str]:
        """The reasons of the rows without a chain, counted."""
        counts: Counter[str] = Counter()
        for table in self.tables():
            rows = zip(table["outcome"].to_pylist(), table["reason"].to_pylist(), strict=True)
            counts.update(reason for outcome, reason in rows if outcome not in ("valid", "mended"))
        return counts

    def reopen(self) -> None:
        """Remove the shards of a job that got no reply at all, so that a next run asks again."""
        shards = sorted(self.path.glob("chains-*.parquet"))
        if all(set(_read(path)["outcome"].to_pylist()) <= {"unanswered"} for path in shards):
            for path in (self.path / FINISHED, *shards):
                path.unlink(missing_ok=True)

    def finish(self, shards: int) -> dict[str, int]:
        """Write `finished.json` once all shards are there; how many chains ended how."""
        counts = sum((self.outcomes(number) for number in range(shards)), Counter[str]())
        outcomes = {outcome: counts[outcome] for outcome in OUTCOMES}
        hashes = {path.name: hash_file(path) for path in map(self.shard, range(shards))}
        content = hash_json([self.job(), hashes])
        finished = {"content": content, "outcomes": outcomes, "shards": hashes}
        sealed = {**finished, "digest": hash_json(finished)}
        _write(self.path / FINISHED, json.dumps(sealed, indent=1, sort_keys=True).encode())
        return outcomes

    def content_key(self) -> str:
        """The hash of all that the finished folder holds, checked against its files."""
        path = self.path / FINISHED
        if not path.exists():
            remedy = "run the same `scoter reason` to its end"
            raise DataError(f"{self.path} holds no finished chains; {remedy}")
        try:
            finished = _Finished.model_validate(parse_json(path.read_bytes()))
            if finished.digest not in (None, hash_json(finished.model_dump(exclude={"digest"}))):
                raise ValueError("it was altered since it was written")
        except (OSError, ValueError) as error:
            remedy = "delete it and run `scoter reason` again"
            raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
        there = {shard.name for shard in self.path.glob("chains-*.parquet")}
        for name in sorted(there | set(finished.shards)):
            if name not in there or hash_file(self.path / name) != finished.shards.get(name):
                problem = "was altered since it was written, or is not of this job"
                raise DataError(f"{self.path / name} {problem}; delete it and write it again")
        if finished.content != hash_json([self.job(), finished.shards]):
            altered = f"{self.path / JOB} or {path}"
            raise DataError(f"{altered} was altered since then; write the chains again")
        return finished.content

    def tables(self) -> Iterator[pa.Table]:
        for path in sorted(self.path.glob("chains-*.parquet")):
            yield _read(path)


class _Finished(BaseModel):
    """What `finished.json` holds; `digest` is that of the rest."""

    content: str
    outcomes: dict[str, int]
    shards: dict[str, str]
    digest: str | None = None  # old folders have none


def _read(path: Path) -> pa.Table:
    try:
        table = read_parquet(path)
        if not table.schema.equals(SCHEMA):
            raise ValueError("its columns are not those of chains")
    except (OSError, ValueError) as error:
        remedy = "delete it and run the same `scoter reason` again"
        raise DataError(f"{path} is no shard of chains ({error}); {remedy}") from None
    return table


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
