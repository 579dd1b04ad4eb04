"""A job's questions and answers as the JSON-lines files of OpenAI's batch service, which `vllm run-batch` takes and gives too.

An export holds what the job would ask next, given the replies that are stored: first every chain's question, in a second
round (after an import) those that must be asked again because a reply could not be used. A line's `custom_id` is the key of its
request, so nothing depends on the order or the completeness of what comes back.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scoter.errors import DataError, ReplyError
from scoter.reasoning.chain_job import ChainJob
from scoter.reasoning.language_model import Completion, CompletionRequest
from scoter.reasoning.openai_model import chat_arguments
from scoter.reasoning.request_store import RequestStore
from scoter.reasoning.server_reply import TryAgain, read_completion
from scoter.reasoning.structured import ask_for_chain
from scoter.untrusted import MAX_LINE, parse_json
from scoter.writing import replacing

ADDRESS = "/v1/chat/completions"


class NoReplyYet(ReplyError):
    """A request whose reply is not stored."""

    def __init__(self, request: CompletionRequest) -> None:
        super().__init__("no reply yet; run again with --retry-unanswered, or export a batch and import its replies")
        self.request = request


class StoredReplies:
    """The stored replies as a language model that knows no others; a request without one is a `NoReplyYet`."""

    concurrency = 1

    def __init__(self, store: RequestStore) -> None:
        self.store = store

    def complete(self, request: CompletionRequest) -> Completion:
        known = self.store.get(request)
        if known is None:
            raise NoReplyYet(request)
        return known


@dataclass(frozen=True)
class ImportCounts:
    """What became of a file's lines, `lines` = `imported` + `duplicates` + `errors` + `malformed` + `unknown`.

    `duplicates` repeat the id of an earlier good line, which wins. `errors` are lines in which the server says that it failed.
    `unknown` lines answer nothing that this job still asks. `missing` counts requests of the job that are left without a reply.
    """

    lines: int = 0
    imported: int = 0
    duplicates: int = 0
    errors: int = 0
    malformed: int = 0
    unknown: int = 0
    missing: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, one.name):,} {one.name}" for one in fields(self))


def export_batch(job: ChainJob, store: RequestStore, path: Path) -> int:
    """Write the job's pending requests, each once, and return how many there are; 0 means that nothing is left to ask."""
    seen: set[bytes] = set()
    with replacing(path) as partial, partial.open("w") as file:
        for request in _pending(job, store):
            digest = bytes.fromhex(request.key)
            if digest not in seen:
                seen.add(digest)
                line = {"custom_id": request.key, "method": "POST", "url": ADDRESS, "body": chat_arguments(request)}
                file.write(json.dumps(line) + "\n")
    return len(seen)


def import_batch(job: ChainJob, store: RequestStore, path: Path) -> ImportCounts:
    """Keep the replies of a batch file in `store`, under the requests of the job that they answer.

    Raises:
        DataError: there is no such file.
    """
    if not path.is_file():
        raise DataError(f"--import-batch {path}: there is no such file; pass what the batch service or `vllm run-batch` wrote")
    counts, good = _read(path)
    imported, missing = 0, set()
    with path.open("rb") as file:
        # A reply may make the next question of the same chain one that the file answers as well.
        while True:
            before = imported
            missing.clear()
            for request in _pending(job, store):
                place = good.pop(request.key, None)
                if place is None:
                    missing.add(request.key)
                    continue
                file.seek(place)
                store.put(request, _completion(json.loads(file.readline())))
                imported += 1
            if imported == before:
                break
    return ImportCounts(**counts, imported=imported, unknown=len(good), missing=len(missing))


def _pending(job: ChainJob, store: RequestStore) -> Iterator[CompletionRequest]:
    """The next unanswered request of every chain that has one, in the order of the chains."""
    assert job.writing is not None
    replies = StoredReplies(store)
    for place in range(len(job)):
        try:
            ask_for_chain(replies, job.request(place), job.roles, job.writing.retries)
        except NoReplyYet as asked:
            yield asked.request


def _read(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How many lines are of no use, and where the first good line of each id starts."""
    counts = {"lines": 0, "duplicates": 0, "errors": 0, "malformed": 0}
    good: dict[str, int] = {}
    start = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            begin, start = start, start + len(line)
            if not line.strip():
                continue
            counts["lines"] += 1
            try:
                row = parse_json(line)
                key, failed = row["custom_id"], _failed(row)
                if not isinstance(key, str):
                    raise ValueError("custom_id is no text")
                if not failed:
                    _completion(row)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, TryAgain):
                counts["malformed"] += 1
                continue
            if failed:
                counts["errors"] += 1
            elif key in good:
                counts["duplicates"] += 1
            else:
                good[key] = begin
    return counts, good


def _failed(row: dict[str, Any]) -> bool:
    response = row.get("response")
    return bool(row.get("error")) or response is None or response.get("status_code", 200) != 200


def _completion(row: dict[str, Any]) -> Completion:
    return read_completion(json.dumps(row["response"]["body"]).encode())
