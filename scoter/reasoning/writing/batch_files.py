"""A job's questions and answers as the JSON-lines files of OpenAI's batch service, which
`vllm run-batch` takes and gives too.

An export holds what the job would ask next, given the replies that are stored: first every chain's
question, in a second round (after an import) those that must be asked again because a reply could
not be used. A line's `custom_id` is the key of its request, so nothing depends on the order or the
completeness of what comes back.
"""

import json
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from scoter.errors import DataError, ReplyError
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.openai_model import TokenLimit, chat_arguments
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server_reply import Body, TryAgain, error_message, read_body
from scoter.reasoning.language.structured import ask_for_chain
from scoter.reasoning.writing.job import ChainJob
from scoter.storage.untrusted import MAX_LINE, open_unpacked, parse_json
from scoter.storage.writing import replacing

ADDRESS = "/v1/chat/completions"
_WANTED = "pass what the batch service or `vllm run-batch` wrote for this job's --export-batch"


class NoReplyYet(ReplyError):
    """A request whose reply is not stored."""

    def __init__(self, request: CompletionRequest) -> None:
        super().__init__(
            "no reply yet; run again with --retry-unanswered, or export a batch and import its "
            "replies"
        )
        self.request = request


class StoredReplies:
    """The stored replies as a language model that knows no others; a request without one is a
    `NoReplyYet`."""

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
    """What became of a file's lines, `lines` = `imported` + `duplicates` + `errors` + `malformed` +
    `unknown`.

    `duplicates` repeat the id of an earlier good line, which wins. `errors` are lines in which the
    server says that it failed, or that hold no answer; `first_error` says what the first one was.
    `unknown` lines answer nothing that this job still asks. `missing` counts requests of the job
    that are left without a reply.
    """

    lines: int = 0
    imported: int = 0
    duplicates: int = 0
    errors: int = 0
    malformed: int = 0
    unknown: int = 0
    missing: int = 0
    first_error: str = ""

    def __str__(self) -> str:
        counts = [one.name for one in fields(self) if one.type is int]
        said = f"; the first error: {self.first_error}" if self.first_error else ""
        return ", ".join(f"{getattr(self, name):,} {name}" for name in counts) + said


def export_batch(
    job: ChainJob, store: RequestStore, path: Path, token_limit: TokenLimit = "max_tokens"
) -> int:
    """Write the job's pending requests, each once; `token_limit` is as for `OpenAIModel`.

    Returns:
        How many there are; 0 means that nothing is left to ask.

    Raises:
        StoreError: the file cannot be written.
    """
    seen: set[bytes] = set()
    with replacing(path) as partial, partial.open("w") as file:
        for request in _pending(job, store):
            digest = bytes.fromhex(request.key)
            if digest not in seen:
                seen.add(digest)
                body = chat_arguments(request, token_limit)
                line = {"custom_id": request.key, "method": "POST", "url": ADDRESS, "body": body}
                file.write(json.dumps(line) + "\n")
    return len(seen)


def import_batch(job: ChainJob, store: RequestStore, path: Path) -> ImportCounts:
    """Keep the replies of a batch file in `store`, under the requests of the job that they answer.

    Raises:
        DataError: there is no such file, it cannot be read, or it holds no reply to any request of
            the job; a file that was imported before is none of these.
    """
    if not path.is_file():
        raise DataError(f"--import-batch {path}: there is no such file; {_WANTED}")
    try:
        with _seekable(path) as file:
            lines = _read(file)
            known = not lines.good.keys().isdisjoint(store.keys())
            counts = _keep(job, store, file, lines)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"--import-batch {path} cannot be read ({error}); {_WANTED}") from None
    if not counts.imported and not known:
        strange = f"; the first strange line: {lines.strange[:80]!r}" if lines.strange else ""
        what = f"answers no request of this job ({counts}{strange})" if counts.lines else "is empty"
        raise DataError(f"--import-batch {path} {what}; {_WANTED}")
    return counts


def _keep(job: ChainJob, store: RequestStore, file: IO[bytes], lines: "_Lines") -> ImportCounts:
    """Store the replies that the job asks for, until none is left that a further question wants."""
    good, imported, missing = dict(lines.good), 0, set()
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
            raw, body = _body(parse_json(file.readline()))
            store.put(request, body.completion(raw, request))
            imported += 1
        if imported == before:
            break
    return ImportCounts(
        **lines.counts,
        imported=imported,
        unknown=len(good),
        missing=len(missing),
        first_error=lines.first_error,
    )


@contextmanager
def _seekable(path: Path) -> Iterator[Any]:
    """A plain or packed file, to read at any place."""
    with open_unpacked(path) as file:
        if file.seekable():
            yield file
            return
        with TemporaryFile() as plain:
            shutil.copyfileobj(file, plain)
            plain.seek(0)
            yield plain


def _pending(job: ChainJob, store: RequestStore) -> Iterator[CompletionRequest]:
    """The next unanswered request of every chain that has one, in the order of the chains."""
    assert job.writing is not None
    replies = StoredReplies(store)
    for place in range(len(job)):
        try:
            ask_for_chain(replies, job.request(place), job.roles, job.writing.retries)
        except NoReplyYet as asked:
            yield asked.request


@dataclass
class _Lines:
    """How many lines are of no use, and where the first good line of each id starts."""

    counts: Counter[str] = field(default_factory=Counter)
    good: dict[str, int] = field(default_factory=dict)
    first_error: str = ""
    strange: bytes = b""


def _read(file: IO[bytes]) -> _Lines:
    found = _Lines()
    start = 0
    while line := file.readline(MAX_LINE):
        begin, start = start, start + len(line)
        if not line.strip():
            continue
        found.counts["lines"] += 1
        try:
            row = parse_json(line)
            key, failure = row["custom_id"], _failure(row)
            if not isinstance(key, str):
                raise ValueError("custom_id is no text")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, TryAgain):
            found.counts["malformed"] += 1
            found.strange = found.strange or line
            continue
        if failure:
            found.counts["errors"] += 1
            found.first_error = found.first_error or failure
        elif key in found.good:
            found.counts["duplicates"] += 1
        else:
            found.good[key] = begin
    return found


def _failure(row: dict[str, Any]) -> str:
    """What the server says in a line without an answer; '' where there is one."""
    response = row.get("response")
    if not row.get("error") and response is not None and response.get("status_code", 200) == 200:
        return _body(row)[1].elsewhere
    words = error_message(row.get("error")) or error_message((response or {}).get("body"))
    return words[:300] or "the server says no more than that it failed"


def _body(row: dict[str, Any]) -> tuple[bytes, Body]:
    raw = json.dumps(row["response"]["body"]).encode()
    return raw, read_body(raw)
