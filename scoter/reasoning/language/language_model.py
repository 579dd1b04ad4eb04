"""What a language model is to us: a frozen request goes in, a completion comes out, and many may be
under way at once.

A request names everything that decides its reply, so its hash is the key under which the reply is
stored. The k-th sample of a prompt is a *different request* (`sample=k`), so no store ever answers
ten samples with one reply.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

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
    """Everything that decides a reply. `json_schema` is the text of a JSON schema that the reply
    must follow, or ''.

    `temperature` 0 is greedy; `top_p` is the mass of nucleus sampling (Holtzman et al., 2020).
    `seed` and `sample` together seed the server's sampler.

    Example:
        >>> first = CompletionRequest((Message("user", "Name a soap."),), "some-model")
        >>> second = CompletionRequest(first.messages, "some-model", sample=1)
        >>> (
        ...     first.key == CompletionRequest(first.messages, "some-model").key,
        ...     first.key == second.key,
        ... )
        (True, False)
    """

    messages: tuple[Message, ...]
    model: str
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    sample: int = 0
    json_schema: str = ""

    def __post_init__(self) -> None:
        problems = {
            "messages is empty": not self.messages,
            f"temperature = {self.temperature}; it must be 0 or more": not 0
            <= self.temperature
            < float("inf"),
            f"top_p = {self.top_p}; it must lie in (0, 1]": not 0 < self.top_p <= 1,
            f"max_tokens = {self.max_tokens}; it must be 1 or more": self.max_tokens < 1,
            f"sample = {self.sample}; it must be 0 or more": self.sample < 0,
        }
        for problem, present in problems.items():
            if present:
                raise ConfigError(f"a completion request cannot be made: {problem}")

    def to_json(self) -> str:
        """Canonical JSON: equal requests give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "CompletionRequest":
        """The inverse of `to_json`."""
        tree = json.loads(text)
        return cls(
            **{**tree, "messages": tuple(Message(**message) for message in tree["messages"])}
        )

    @property
    def key(self) -> str:
        """sha256 of the canonical JSON: the name of the reply in a `RequestStore`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def sampler_seed(self) -> int:
        """What the server's sampler is seeded with, in [0, 2**31); another one for each sample."""
        return derive_seed(self.seed, "sample", self.sample) % 2**31


@dataclass(frozen=True)
class Completion:
    """A reply. `raw` is the body as the server sent it; `finish_reason` is 'stop', or 'length'
    where it was cut."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    raw: str


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that completes requests. `concurrency` is how many calls of `complete` may usefully
    run at once."""

    @property
    def concurrency(self) -> int: ...

    def complete(self, request: CompletionRequest) -> Completion:
        """The reply to one request; safe to call from several threads.

        Raises:
            ReplyError: this request got no usable reply; others may.
            LanguageModelError: no request will get one.
        """
        ...


@dataclass(frozen=True)
class Answer(Generic[Reply]):
    """What became of request number `index`: a reply, or the error that stands in its place."""

    index: int
    request: CompletionRequest
    reply: Reply | None
    error: str = ""


def complete_many(
    model: LanguageModel, requests: Iterable[CompletionRequest]
) -> Iterator[Answer[Completion]]:
    """Complete all requests, `model.concurrency` at a time, and yield each answer as it comes, in
    no fixed order.

    Every request is answered exactly once; `answer_many` says what happens on errors.

    Example:
        >>> class Echo:
        ...     concurrency = 2
        ...
        ...     def complete(self, request):
        ...         return Completion(request.messages[-1].content.upper(), "stop", 1, 1, "")
        >>> asked = [
        ...     CompletionRequest((Message("user", word),), "echo") for word in ("soap", "comb")
        ... ]
        >>> sorted((answer.index, answer.reply.text) for answer in complete_many(Echo(), asked))
        [(0, 'SOAP'), (1, 'COMB')]
    """
    return answer_many(model.complete, requests, model.concurrency)


def answer_many(
    ask: Callable[[CompletionRequest], Reply],
    requests: Iterable[CompletionRequest],
    concurrency: int,
) -> Iterator[Answer[Reply]]:
    """`ask` about every request from `concurrency` threads; `requests` is read as needed, never all
    at once.

    A `ReplyError` is the answer to its own request. Any other error ends the run: nothing new is
    asked, the calls under way are awaited and their answers yielded, and then the error is raised.
    Equal requests that are under way together are asked once. Whoever stops reading leaves at most
    `concurrency` calls to end in the background.
    """
    if concurrency < 1:
        raise ConfigError(f"concurrency = {concurrency}; it must be 1 or more")
    feed = enumerate(requests)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="language-model")
    asked: dict[Future[Reply], list[tuple[int, CompletionRequest]]] = {}
    keys: dict[str, Future[Reply]] = {}
    fatal: BaseException | None = None
    exhausted = False
    try:
        while True:
            while fatal is None and not exhausted and len(asked) < 2 * concurrency:
                try:
                    row = next(feed, None)
                except Exception as error:  # the requests themselves cannot be made
                    row, fatal = None, error
                exhausted = row is None
                if row is not None and row[1].key in keys:
                    asked[keys[row[1].key]].append(row)
                elif row is not None:
                    future = keys[row[1].key] = pool.submit(ask, row[1])
                    asked[future] = [row]
            if not asked:
                break
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                rows = asked.pop(future)
                del keys[rows[0][1].key]
                error = None if future.cancelled() else future.exception()
                if future.cancelled() or (error is not None and not isinstance(error, ReplyError)):
                    fatal = fatal or error
                    for waiting in asked:
                        waiting.cancel()
                    continue
                for index, request in rows:
                    yield Answer(
                        index, request, None if error else future.result(), str(error or "")
                    )
    finally:
        pool.shutdown(wait=not asked, cancel_futures=True)
    if fatal is not None:
        raise fatal


def schema_text(schema: dict[str, Any]) -> str:
    """A JSON schema as the text that `CompletionRequest.json_schema` takes.

    Its order is kept: a server that decodes by a schema writes the properties in the schema's
    order, and a chain must come to its steps before it comes to its recommendations.
    """
    return json.dumps(schema, separators=(",", ":"))
