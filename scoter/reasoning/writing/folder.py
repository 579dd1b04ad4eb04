"""A folder of chains: `job.json`, `chains-00000.parquet`, ... and, last of all, `finished.json`.

What a shard holds, and in what order, depends on the job alone, so a run that was killed and run
again leaves the same bytes as one that was not. A shard appears by one rename, whole or not at all.
`replies/`, where there is one, keeps the language model's replies and is no part of the folder's
content.
"""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoter.errors import ConfigError, DataError, StoreError
from scoter.storage.store import hash_file
from scoter.storage.untrusted import parse_json, read_parquet

JOB, FINISHED, REPLIES = "job.json", "finished.json", "replies"
OUTCOMES = ("valid", "mended", "rejected", "unanswered")
SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("user_key", pa.string()),
        ("prefix_length", pa.int32()),
        ("history", pa.string()),
        ("sample", pa.int32()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("steps", pa.list_(pa.struct([("role", pa.string()), ("texts", pa.list_(pa.string()))]))),
        ("recommendations", pa.list_(pa.string())),
        ("model", pa.string()),
        ("prompt_version", pa.string()),
    ]
)


@dataclass(frozen=True)
class ChainRow:
    """One chain, or why there is none. `steps` are (role, sentences); a final recommendation is in
    `recommendations` alone.

    `history` is the digest of the keys of the items that the chain was written from. `outcome` is
    one of `OUTCOMES`; `reason` says what was wrong with a reply, and is empty for a valid one.
    """

    user: int
    user_key: str
    prefix_length: int
    history: str
    sample: int
    outcome: str
    reason: str
    steps: tuple[tuple[str, tuple[str, ...]], ...]
    recommendations: tuple[str, ...]
    model: str
    prompt_version: str


def history_digests(item_keys: Sequence[str]) -> list[str]:
    """A digest of the first p keys for p = 1, 2, ...

    Example:
        >>> (
        ...     history_digests(["a", "b"])[0] == history_digests(["a", "c"])[0],
        ...     len(history_digests(["a", "b"])),
        ... )
        (True, 2)
    """
    digest, found = hashlib.sha256(), []
    for key in item_keys:
        digest.update(f"{len(key)}:{key}".encode())
        found.append(digest.hexdigest()[:16])
    return found


class ChainFolder:
    """The folder of one job, to write into and to read from."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def start(self, job: Mapping[str, Any]) -> None:
        """Make the folder, or find that it holds the same job.

        Raises:
            ConfigError: it holds chains of another job; the message names what differs.
        """
        wanted = json.loads(json.dumps(job))
        if (self.path / JOB).exists():
            stored = self.job()
            for name in {**wanted, **stored}:
                if stored.get(name) != wanted.get(name):
                    raise ConfigError(
                        f"{self.path} holds chains of another job: {name} is "
                        f"{stored.get(name)!r} there and {wanted.get(name)!r} "
                        "here; give this job a folder of its own with --out"
                    )
            for partial in self.path.glob("*.partial"):
                partial.unlink(missing_ok=True)  # what a kill left behind
            return
        _replace(self.path / JOB, json.dumps(wanted, indent=1, sort_keys=True).encode())

    def job(self) -> dict[str, Any]:
        """What the chains were made of."""
        try:
            found = parse_json((self.path / JOB).read_bytes())
            if not isinstance(found, dict):
                raise ValueError(f"{JOB} holds no object")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path} is no folder of chains ({self.path / JOB}: {error}); write one "
                f"with `scoter reason`"
            ) from None
        return found

    def shard(self, number: int) -> Path:
        return self.path / f"chains-{number:05d}.parquet"

    def write(self, number: int, rows: Sequence[ChainRow]) -> None:
        """Publish a shard, in place of what it may have held before."""
        columns = {
            name: [getattr(row, name) for row in rows] for name in SCHEMA.names if name != "steps"
        }
        columns["steps"] = [
            [{"role": role, "texts": list(texts)} for role, texts in row.steps] for row in rows
        ]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd")
        _replace(self.shard(number), sink.getvalue().to_pybytes())

    def outcomes(self, number: int) -> Counter[str]:
        """How many rows of a shard ended how."""
        return Counter(_read(self.shard(number))["outcome"].to_pylist())

    def reasons(self) -> Counter[str]:
        """How often each reason is given in the rows that hold no chain."""
        counts: Counter[str] = Counter()
        for table in self.tables():
            rows = zip(table["outcome"].to_pylist(), table["reason"].to_pylist(), strict=True)
            counts.update(reason for outcome, reason in rows if outcome not in ("valid", "mended"))
        return counts

    def reopen(self) -> None:
        """Take back what was written of a job that got no reply, so that a next run asks again."""
        shards = sorted(self.path.glob("chains-*.parquet"))
        for path in shards:
            if set(_read(path)["outcome"].to_pylist()) - {"unanswered"}:
                return
        for path in (self.path / FINISHED, *shards):
            path.unlink(missing_ok=True)

    def finish(self, shards: int) -> dict[str, int]:
        """Write `finished.json`, once all shards are there, and return how many chains ended
        how."""
        counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        hashes = {}
        for number in range(shards):
            counts.update(self.outcomes(number))
            hashes[self.shard(number).name] = hash_file(self.shard(number))
        found = {outcome: counts[outcome] for outcome in OUTCOMES}
        content = hashlib.sha256(
            json.dumps([self.job(), hashes], sort_keys=True).encode()
        ).hexdigest()
        told = {"content": content, "outcomes": found, "shards": hashes}
        text = json.dumps({**told, "digest": _digest(told)}, indent=1, sort_keys=True)
        _replace(self.path / FINISHED, text.encode())
        return found

    def content_key(self) -> str:
        """The hash of all that the folder holds, checked against its files.

        Raises:
            DataError: it is not finished, or a file was altered since.
        """
        if not (self.path / FINISHED).exists():
            raise DataError(
                f"{self.path} holds no finished chains; run the same `scoter reason` again to "
                f"its end"
            )
        try:
            stored = parse_json((self.path / FINISHED).read_bytes())
            wanted, content = stored["shards"], stored["content"]
            if not isinstance(wanted, dict):
                raise TypeError("its shards are no object")
            if stored.get("digest") not in (
                None,
                _digest({name: stored[name] for name in stored if name != "digest"}),
            ):
                raise ValueError("it was altered since it was written")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path / FINISHED} cannot be read ({error}); delete it and run `scoter "
                f"reason` again"
            ) from None
        there = {path.name for path in self.path.glob("chains-*.parquet")}
        for name in sorted(there | set(wanted)):
            path = self.path / name
            if name not in there or hash_file(path) != wanted.get(name):
                raise DataError(
                    f"{path} was altered since it was written, or is not of this job; delete it "
                    f"and write it again"
                )
        if (
            content
            != hashlib.sha256(json.dumps([self.job(), wanted], sort_keys=True).encode()).hexdigest()
        ):
            raise DataError(
                f"{self.path / JOB} or {self.path / FINISHED} was altered since then; write the "
                f"chains again"
            )
        return content

    def tables(self) -> Iterator[pa.Table]:
        """The shards in order, one at a time."""
        for path in sorted(self.path.glob("chains-*.parquet")):
            yield _read(path)


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> pa.Table:
    """A shard, whose columns are those that `write` gives it."""
    try:
        table = read_parquet(path)
        if not table.schema.equals(SCHEMA):
            raise ValueError("its columns are not those of chains")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no shard of chains ({error}); delete it and run the same `scoter reason` "
            f"again"
        ) from None
    return table


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}); free space there and run again"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
