"""Replies on disk, one by one, so that a killed generation repeats at most the calls that were
under way.

A folder of shards; each process that writes adds a shard of its own, a line of JSON per reply,
written by one call of the operating system. A kill can only cut the last line of a shard, and a
line without its end is not read. So nothing is locked, and nothing that was paid for is lost. What
a *process* is killed for is survived; a power cut may cost the last seconds of replies.
"""

import hashlib
import json
import os
import re
import threading
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scoter.errors import StoreError
from scoter.reasoning.language.language_model import Completion, CompletionRequest, LanguageModel
from scoter.storage.untrusted import MAX_LINE, parse_json

_LINE = re.compile(rb'\{"key":"([0-9a-f]{64})",.*\}\n')
_LONGEST = 4 * MAX_LINE
_REMEDY = "delete that file and run again; its replies are then asked for anew"


class RequestStore:
    """Replies by the key of their request. Two processes may write at once; each sees what was
    there when it opened.

    Example:
        >>> import tempfile
        >>> from scoter.reasoning.language.language_model import Message
        >>> folder, request = (
        ...     Path(tempfile.mkdtemp()),
        ...     CompletionRequest((Message("user", "Hello?"),), "some-model"),
        ... )
        >>> RequestStore(folder).put(request, Completion("Hello.", "stop", 3, 2, "{}"))
        >>> RequestStore(folder).get(request).text
        'Hello.'
    """

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
        """The keys of the requests whose replies it holds."""
        return {key.hex() for key in self._places}

    def get(self, request: CompletionRequest) -> Completion | None:
        """The stored reply, or None."""
        place = self._places.get(bytes.fromhex(request.key))
        if place is None:
            return None
        shard, start = place
        try:
            with shard.open("rb") as file:
                file.seek(start)
                row = parse_json(file.readline())
            if row.get("check") not in (None, _check(row["completion"])):
                raise ValueError("the reply was altered since it was written")
            if row["request"] == json.loads(request.to_json()):
                return Completion(**row["completion"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{shard} cannot be read at byte {start} ({type(error).__name__}: {error}); "
                f"{_REMEDY}"
            ) from None
        raise StoreError(
            f"{shard} was altered at byte {start}: the request there is not the one of its key; "
            f"{_REMEDY}"
        )

    def put(self, request: CompletionRequest, completion: Completion) -> None:
        """Keep a reply. A key that is there already keeps its first reply."""
        key = request.key
        kept = asdict(completion)
        reply = f'"completion":{json.dumps(kept)},"check":"{_check(kept)}"'
        row = f'{{"key":"{key}","request":{request.to_json()},{reply}}}\n'.encode()
        with self._lock:
            if bytes.fromhex(key) in self._places:
                return
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _append(self._shard, row)
            except OSError as error:
                raise StoreError(
                    f"the request store {self.folder} cannot be written "
                    f"({error.strerror or error}); what it holds is kept. "
                    "Free space or permissions there and run again"
                ) from None
            self._places[bytes.fromhex(key)] = (self._shard, self._end)
            self._end += len(row)

    def check(self) -> None:
        """Read every reply again.

        Raises:
            StoreError: one was altered, or cannot be read; the message names the file.
        """
        for key, (shard, start) in self._places.items():
            try:
                with shard.open("rb") as file:
                    file.seek(start)
                    row = parse_json(file.readline())
                asked = json.dumps(row["request"], sort_keys=True, separators=(",", ":"))
                known = hashlib.sha256(asked.encode()).digest() == key
                if row.get("check") not in (None, _check(row["completion"])) or not known:
                    raise ValueError("the request or the reply was altered since it was written")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(
                    f"{shard} cannot be read at byte {start} ({error}); {_REMEDY}"
                ) from None

    def recording(self, model: LanguageModel) -> "StoredModel":
        """`model`, asked only for what is not stored yet."""
        return StoredModel(self, model)

    def replay(self) -> "StoredModel":
        """The stored replies alone, without a server; a request that is not stored is refused."""
        return StoredModel(self, None)

    def _index(self, shard: Path) -> None:
        start = 0
        with shard.open("rb") as file:
            while line := file.readline(_LONGEST):
                found = _LINE.fullmatch(line)
                if found:
                    self._places.setdefault(bytes.fromhex(found[1].decode()), (shard, start))
                elif line.endswith(b"\n"):
                    raise StoreError(
                        f"{shard} holds no reply at byte {start}: it starts {line[:40]!r}; "
                        f"{_REMEDY}"
                    )
                start += len(line)


class StoredModel:
    """A language model with a memory: record (with a model) or replay (without). `hits` and
    `misses` count its requests."""

    def __init__(self, store: RequestStore, model: LanguageModel | None) -> None:
        self.store, self.model = store, model
        self.hits = self.misses = 0
        self._lock = threading.Lock()

    @property
    def concurrency(self) -> int:
        return self.model.concurrency if self.model is not None else 1

    def complete(self, request: CompletionRequest) -> Completion:
        """The stored reply, or the model's, which is stored before it is returned.

        Raises:
            StoreError: replay only; the request is not stored. Or the store cannot be read or
                written.
            LanguageModelError: whatever the model raises.
        """
        known = self.store.get(request)
        with self._lock:
            self.hits += known is not None
            self.misses += known is None
        if known is not None:
            return known
        if self.model is None:
            start = " ".join(request.messages[-1].content.split())[:60]
            raise StoreError(
                f"replay: {self.store.folder} holds {len(self.store)} replies, none to request "
                f"{request.key[:12]} (model {request.model!r}, sample {request.sample}, "
                f"{start!r}...); record it first, with the same prompts, model, sampling settings "
                "and seed"
            )
        completion = self.model.complete(request)
        self.store.put(request, completion)
        return completion


def _check(completion: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(completion, sort_keys=True).encode()).hexdigest()[:16]


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
