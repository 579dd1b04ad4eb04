"""Requests to a language model and their answers, many at a time.

A request names everything that decides its reply, so its hash is the key of the stored reply. Each
sample of a prompt is a request of its own, so a store never answers two with one reply.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from typing import Generic, Literal, TypeVar

from scoter.errors import ConfigError, ReplyError
from scoter.seeding import derive_seed

Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class CompletionRequest:
    """Everything that decides a reply; `seed` and `sample` together seed the server's sampler.

    >>> first = CompletionRequest((Message("user", "Name a soap."),), "some-model")
    >>> second = CompletionRequest(first.messages, "some-model", sample=1)
    >>> first.key == second.key
    False
    """

    messages: tuple[Message, ...]
    model: str
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # probability mass of nucleus sampling (Holtzman et al. 2020), in (0, 1]
    max_tokens: int = 512
    seed: int = 0
    sample: int = 0  # the number of this sample among those of the same prompt, from 0
    json_schema: str = ""  # text of a JSON schema that the reply must follow; '' sets none

    def __post_init__(self) -> None:
        ranges = {
            "messages": (bool(self.messages), "must not be empty"),
            "temperature": (0 <= self.temperature < float("inf"), "must be 0 or more"),
            "top_p": (0 < self.top_p <= 1, "must lie in (0, 1]"),
            "max_tokens": (self.max_tokens >= 1, "must be 1 or more"),
            "sample": (self.sample >= 0, "must be 0 or more"),
        }
        for name, (fits, wanted) in ranges.items():
            if not fits:
                raise ConfigError(f"{name} = {getattr(self, name)} of a request {wanted}")

    def to_json(self) -> str:
        """Canonical JSON: equal requests give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """sha256 of the canonical JSON: the name of the reply in a `RequestStore`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def sampler_seed(self) -> int:
        """The seed of the server's sampler, in [0, 2**31); each sample has its own."""
        return derive_seed(self.seed, "sample", self.sample) % 2**31


@dataclass(frozen=True)
class Completion:
    """A reply of a language model."""

    text: str
    finish_reason: str = "stop"  # or 'length' where the reply was cut
    prompt_tokens: int = 0
    completion_tokens: int = 0
    raw: str = ""  # the body as the server sent it


@dataclass(frozen=True)
class Answer(Generic[Reply]):
    """The reply to request number `index`, or None and the error that took its place."""

    index: int
    reply: Reply | None
    error: str = ""


_Call = tuple[Future[Reply], list[int]]
"""A call under way, and the numbers of the requests that it answers."""


def answer_many(
    ask: Callable[[CompletionRequest], Reply],
    requests: Iterable[CompletionRequest],
    concurrency: int,
) -> Iterator[Answer[Reply]]:
    """Ask about every request from `concurrency` threads; answers come in no fixed order.

    `requests` is read as needed; equal requests that are under way together are asked once. A
    `ReplyError` answers its own request. Any other error ends the run: the calls under way are
    awaited, their answers yielded, and then the error is raised. If the reader stops, at most
    `concurrency` calls end in the background.

    >>> asked = [CompletionRequest((Message("user", word),), "m") for word in ("a", "b")]
    >>> sorted(answer.reply for answer in answer_many(lambda request: request.model, asked, 2))
    ['m', 'm']
    """
    if concurrency < 1:
        raise ConfigError(f"concurrency = {concurrency}; it must be 1 or more")
    feed = enumerate(requests)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="language-model")
    calls: dict[str, _Call[Reply]] = {}
    fatal: BaseException | None = None
    try:
        while True:
            fatal = fatal or _start(feed, calls, 2 * concurrency, partial(pool.submit, ask))
            if not calls:
                break
            wait([future for future, _ in calls.values()], return_when=FIRST_COMPLETED)
            for key, (future, numbers) in list(calls.items()):
                if not future.done():
                    continue
                del calls[key]
                error = None if future.cancelled() else future.exception()
                if error is not None and not isinstance(error, ReplyError):
                    fatal = fatal or error
                    for other, _ in calls.values():
                        other.cancel()
                elif not future.cancelled():
                    reply = None if error else future.result()
                    yield from (Answer(number, reply, str(error or "")) for number in numbers)
    finally:
        pool.shutdown(wait=not calls, cancel_futures=True)
    if fatal is not None:
        raise fatal


def _start(
    feed: Iterator[tuple[int, CompletionRequest]],
    calls: dict[str, _Call[Reply]],
    most: int,
    submit: Callable[[CompletionRequest], Future[Reply]],
) -> Exception | None:
    """Start calls until `most` are under way; the error of a request that cannot be made."""
    try:
        while len(calls) < most:
            number, request = next(feed)
            if request.key not in calls:
                calls[request.key] = (submit(request), [])
            calls[request.key][1].append(number)
    except StopIteration:
        pass
    except Exception as error:
        return error
    return None


def schema_text(schema: object) -> str:
    """A JSON schema as text, in its own order: a server writes the properties in that order, and a
    chain must come to its steps before its recommendations."""
    return json.dumps(schema, separators=(",", ":"))
