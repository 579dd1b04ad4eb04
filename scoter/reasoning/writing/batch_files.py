"""A job's requests and replies as JSON-lines files of batch services (OpenAI, `vllm run-batch`).

An export holds what the job would ask next, given the stored replies: first every chain's question,
after an import those that must be asked again because a reply could not be used. A line's
`custom_id` is the key of its request, so the order and completeness of the replies do not matter.
"""

import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pydantic import BaseModel

from scoter.errors import DataError, ReplyError
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.openai_model import chat_arguments
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.server_reply import Body, TryAgain, error_message, read_body
from scoter.reasoning.language.structured import ask_for_chain
from scoter.reasoning.writing.job import ChainJob
from scoter.storage.untrusted import MAX_LINE, open_unpacked, parse_json
from scoter.storage.writing import replacing

ADDRESS = "/v1/chat/completions"
_WANTED = "pass what the batch service or `vllm run-batch` wrote for this job's --export-batch"


class NoReplyYet(ReplyError):
    def __init__(self, request: CompletionRequest) -> None:
        remedy = "run again with --retry-unanswered, or export a batch and import its replies"
        super().__init__(f"no reply yet; {remedy}")
        self.request = request


class StoredReplies:
    """The stored replies as a language model; a request without one is a `NoReplyYet`."""

    concurrency = 1

    def __init__(self, store: RequestStore) -> None:
        self.store = store

    def complete(self, request: CompletionRequest) -> Completion:
        known = self.store.get(request)
        if known is None:
            raise NoReplyYet(request)
        return known


@dataclass
class ImportCounts:
    """What became of the lines of a batch file; `lines` is the sum of the five counts below it."""

    lines: int = 0
    imported: int = 0
    duplicates: int = 0  # repeat the id of an earlier good line, which is used
    errors: int = 0  # the server says that it failed, or gives no answer
    malformed: int = 0
    unknown: int = 0  # answer nothing that this job still asks
    missing: int = 0  # requests of the job that are left without a reply
    first_error: str = ""  # what the first of `errors` says

    def __str__(self) -> str:
        counts = {name: count for name, count in vars(self).items() if name != "first_error"}
        text = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        return f"{text}; the first error: {self.first_error}" if self.first_error else text


def export_batch(
    job: ChainJob, store: RequestStore, path: Path, server: ServerConfig = ServerConfig()
) -> int:
    """Write the job's pending requests, each once, and return how many there are."""
    count = 0
    with replacing(path) as partial, partial.open("w") as file:
        for count, request in enumerate(pending_requests(job, store), 1):  # noqa: B007
            body = chat_arguments(request, server)
            line = {"custom_id": request.key, "method": "POST", "url": ADDRESS, "body": body}
            file.write(json.dumps(line) + "\n")
    return count


def pending_requests(job: ChainJob, store: RequestStore) -> Iterator[CompletionRequest]:
    """What the job would ask next, given the stored replies, each question once."""
    assert job.writing is not None
    replies, seen = StoredReplies(store), set[bytes]()
    for place in range(len(job)):
        try:
            ask_for_chain(replies, job.request(place), job.roles, job.writing.retries)
        except NoReplyYet as asked:
            digest = bytes.fromhex(asked.request.key)
            if digest not in seen:
                seen.add(digest)
                yield asked.request


def import_batch(job: ChainJob, store: RequestStore, path: Path) -> ImportCounts:
    """Keep the replies of a batch file in `store`, under the requests that they answer.

    Raises:
        DataError: the file cannot be read, or holds no reply to any request of the job; one that
            was imported before is no error.
    """
    if not path.is_file():
        raise DataError(f"--import-batch {path}: there is no such file; {_WANTED}")
    counts = ImportCounts()
    try:
        with _seekable(path) as file:
            places, strange = _read(file, counts)
            known = not places.keys().isdisjoint(store.keys())
            _keep(job, store, file, places, counts)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"--import-batch {path} cannot be read ({error}); {_WANTED}") from None
    if not counts.imported and not known:
        text = f"{counts}; the first strange line: {strange[:80]!r}" if strange else str(counts)
        what = f"answers no request of this job ({text})" if counts.lines else "is empty"
        raise DataError(f"--import-batch {path} {what}; {_WANTED}")
    return counts


class _Response(BaseModel):
    status_code: object = 200
    body: object = None


class _Line(BaseModel):
    """A line of a batch file, as the service writes it."""

    custom_id: str
    response: _Response | None = None
    error: object = None

    def reply(self) -> tuple[bytes, Body]:
        raw = json.dumps(self.response.body if self.response else None).encode()
        return raw, read_body(raw)

    def failure(self) -> str:
        response = self.response or _Response(status_code=None)
        if not self.error and response.status_code == 200:
            return self.reply()[1].elsewhere
        words = error_message(self.error) or error_message(response.body)
        return words[:300] or "the server says no more than that it failed"


def _read(file: IO[bytes], counts: ImportCounts) -> tuple[dict[str, int], bytes]:
    """Where the first good line of each id starts, and the first line that is malformed."""
    places: dict[str, int] = {}
    strange, end = b"", 0
    while text := file.readline(MAX_LINE):
        start, end = end, end + len(text)
        if not text.strip():
            continue
        counts.lines += 1
        try:
            line = _Line.model_validate(parse_json(text))
            failure = line.failure()
        except (ValueError, RecursionError, TryAgain):
            counts.malformed += 1
            strange = strange or text
            continue
        if failure:
            counts.errors += 1
            counts.first_error = counts.first_error or failure
        elif line.custom_id in places:
            counts.duplicates += 1
        else:
            places[line.custom_id] = start
    return places, strange


def _keep(
    job: ChainJob,
    store: RequestStore,
    file: IO[bytes],
    places: dict[str, int],
    counts: ImportCounts,
) -> None:
    """Store the replies that the job asks for.

    A reply may lead to a further question of the same chain, which the file may answer too.
    """
    before = -1
    while counts.imported != before:
        before = counts.imported
        counts.missing = 0
        for request in pending_requests(job, store):
            start = places.pop(request.key, None)
            if start is None:
                counts.missing += 1
                continue
            file.seek(start)
            raw, body = _Line.model_validate(parse_json(file.readline())).reply()
            store.put(request, body.completion(raw, request))
            counts.imported += 1
    counts.unknown = len(places)


@contextmanager
def _seekable(path: Path) -> Iterator[IO[bytes]]:
    """A plain or packed file, to read at any place."""
    with open_unpacked(path) as file:
        if file.seekable():
            yield file
            return
        with TemporaryFile() as plain:
            shutil.copyfileobj(file, plain)
            plain.seek(0)
            yield plain
