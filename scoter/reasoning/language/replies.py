"""Replies on disk, so that a killed run repeats at most the calls that were under way.

A folder of shards. Each process that writes adds a shard of its own, with a line of JSON for each
reply, written by one call of the operating system. A kill can cut only the last line of a shard,
and a line without its end is not read, so nothing is locked and nothing that was paid for is lost.
A power cut may cost the last seconds.
"""

import hashlib
import json
import os
import re
import threading
import uuid
from dataclasses import asdict
from pathlib import Path

from scoter.errors import StoreError
from scoter.protocols import LanguageModel
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.metering import Meter, Metered, Usage
from scoter.storage.untrusted import MAX_LINE, parse_json

_LINE = re.compile(rb'\{"key":"([0-9a-f]{64})",.*\}\n')
_REMEDY = "delete that file and run again; its replies are then asked for again"


class RequestStore:
    """Replies by request. Several processes may write; each sees what was there when it opened."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._lock = threading.Lock()
        self._shard = self.folder / f"{uuid.uuid4().hex[:16]}.jsonl"
        self._end = 0
        for shard in sorted(self.folder.glob("*.jsonl")):
            self._index(shard)

    def __len__(self) -> int:
        return len(self._places)

    def keys(self) -> set[str]:
        return {key.hex() for key in self._places}

    def get(self, request: CompletionRequest) -> Completion | None:
        """The stored reply, or None; a `StoreError` where it was altered or cannot be read."""
        key = bytes.fromhex(request.key)
        return self._read(key) if key in self._places else None

    def put(self, request: CompletionRequest, completion: Completion) -> None:
        """Keep a reply, unless its request already has one."""
        key = request.key
        reply = json.dumps(asdict(completion))
        asked, check = request.to_json(), _check(completion)
        fields = f'"key":"{key}","request":{asked},"completion":{reply},"check":"{check}"'
        row = f"{{{fields}}}\n".encode()
        with self._lock:
            if bytes.fromhex(key) in self._places:
                return
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _append(self._shard, row)
            except OSError as error:
                problem = f"{self.folder} cannot be written ({error.strerror or error})"
                remedy = "what it holds is kept. Free space or permissions there and run again"
                raise StoreError(f"the request store {problem}; {remedy}") from None
            self._places[bytes.fromhex(key)] = (self._shard, self._end)
            self._end += len(row)

    def check(self) -> None:
        """Read every reply again; a `StoreError` names the file of one that was altered."""
        for key in self._places:
            self._read(key)

    def recording(self, model: LanguageModel) -> "StoredModel":
        """`model`, asked only for what is not stored yet."""
        return StoredModel(self, model)

    def replay(self) -> "StoredModel":
        """The stored replies alone, without a server; a request that is not stored is refused."""
        return StoredModel(self, None)

    def _read(self, key: bytes) -> Completion:
        shard, start = self._places[key]
        try:
            with shard.open("rb") as file:
                file.seek(start)
                row = parse_json(file.readline())
            asked = json.dumps(row["request"], sort_keys=True, separators=(",", ":"))
            if hashlib.sha256(asked.encode()).digest() != key:
                raise ValueError("the request there is not the one of its key")
            reply = Completion(**row["completion"])
            if row.get("check") not in (None, _check(reply)):  # old stores have none
                raise ValueError("the reply is not the one that was written")
            return reply
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"was altered at byte {start}, or cannot be read ({error})"
            raise StoreError(f"{shard} {problem}; {_REMEDY}") from None

    def _index(self, shard: Path) -> None:
        start = 0
        with shard.open("rb") as file:
            while line := file.readline(4 * MAX_LINE):
                match = _LINE.fullmatch(line)
                if match:
                    self._places.setdefault(bytes.fromhex(match[1].decode()), (shard, start))
                elif line.endswith(b"\n"):
                    problem = f"holds no reply at byte {start}: it starts {line[:40]!r}"
                    raise StoreError(f"{shard} {problem}; {_REMEDY}")
                start += len(line)


class StoredModel:
    """A language model with a memory: it records (with a model) or replays (without one)."""

    def __init__(self, store: RequestStore, model: LanguageModel | None) -> None:
        self.store, self.model = store, model
        self.hits = 0  # requests whose reply was stored
        self._lock = threading.Lock()
        self._meter = Meter()

    @property
    def concurrency(self) -> int:
        return self.model.concurrency if self.model is not None else 1

    @property
    def usage(self) -> Usage:
        """By the model's own counts, or else by its replies."""
        return self.model.usage if isinstance(self.model, Metered) else self._meter.usage

    def complete(self, request: CompletionRequest) -> Completion:
        """The stored reply, or the model's, which is stored before it is returned."""
        known = self.store.get(request)
        if known is not None:
            with self._lock:
                self.hits += 1
            return known
        if self.model is None:
            start = " ".join(request.messages[-1].content.split())[:60]
            raise StoreError(
                f"replay: {self.store.folder} holds {len(self.store)} replies, none to request "
                f"{request.key[:12]} (model {request.model!r}, sample {request.sample}, "
                f"{start!r}...); record it first, with the same prompts, model, settings and seed"
            )
        reply = self.model.complete(request)
        tokens = {name: getattr(reply, name) for name in ("prompt_tokens", "completion_tokens")}
        self._meter.count(attempts=1, replies=1, **tokens)
        self.store.put(request, reply)
        return reply


def _check(completion: Completion) -> str:
    text = json.dumps(asdict(completion), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _append(shard: Path, row: bytes) -> None:
    """Write a whole line or raise; a write that the system cut short is taken back."""
    descriptor = os.open(shard, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        if (written := os.write(descriptor, row)) != len(row):
            os.ftruncate(descriptor, before)
            raise OSError(None, f"only {written} of {len(row)} bytes could be written")
    finally:
        os.close(descriptor)
