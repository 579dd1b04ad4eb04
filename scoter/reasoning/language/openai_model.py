"""Any OpenAI-compatible server (vLLM, llama.cpp, hosted) as a `LanguageModel`, surviving what such
servers do.

A call may be refused (429), break (5xx, cut connection), never end (time-out) or answer with
nonsense (malformed or empty body). Each of these is counted by name and tried again, after what the
server's Retry-After asks for or else after an exponentially growing, jittered pause. Other refusals
(401, 404) end the run, because no retry helps. So do `ALIKE` requests in a row that all fail in the
same way while none was answered.
"""

import json
import os
import random
import threading
import time
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

from scoter.errors import BudgetError, ConfigError, LanguageModelError, ReplyError
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.metering import Meter, Pace, Prices, Usage, closed_error
from scoter.reasoning.language.server_reply import TryAgain, error_message, read_body, retry_after

__all__ = ["OpenAIModel", "Prices", "Usage", "chat_arguments"]

LARGEST_BODY = 16 * 2**20
ALIKE = 5
TokenLimit = Literal["max_tokens", "max_completion_tokens"]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WITHOUT_SCHEMA = "Use --write schema=none, for discover --set discover.sampling.schema=none"
_REMEDIES = {  # by a word of a refusal
    "'max_completion_tokens'": "Pass --token-limit max_completion_tokens",
    "response_format": _WITHOUT_SCHEMA,
    "json_schema": _WITHOUT_SCHEMA,
    "temperature": "Use --write temperature=1, for discover --set discover.sampling.temperature=1",
}
_HOPELESS = {
    401: "the key is not accepted",
    403: "the key may not do this",
    404: "there is no such model or address",
}


class OpenAIModel:
    """A server's chat completions, for several threads at once.

    Args:
        base_url: where the server's API is, such as `http://127.0.0.1:8000/v1`.
        key_variable: the environment variable that holds the key; None sends none. The key itself
            is kept nowhere else.
        concurrency: the most calls at once.
        requests_per_minute: the most calls started in a minute, evenly spaced; None sets no limit.
        timeout: seconds until a call is given up, whether nothing comes or the reply does not end.
        attempts: how often a request is sent before it is given up.
        first_pause: seconds before the second attempt; the pause doubles with each further one.
        longest_wait: seconds; neither a pause of ours nor a Retry-After may be longer.
        token_budget: prompt and completion tokens after which no call is started. The calls then
            under way still finish, so that at most `concurrency` replies go beyond it.
        token_limit: the name under which the server takes `max_tokens`; some hosted models want the
            longer one.

    Raises:
        ConfigError: an argument is out of range, the key's variable is empty, or the `openai`
            package is absent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key_variable: str | None = None,
        concurrency: int = 4,
        requests_per_minute: float | None = None,
        timeout: float = 120.0,
        attempts: int = 6,
        first_pause: float = 0.5,
        longest_wait: float = 120.0,
        token_budget: int | None = None,
        token_limit: TokenLimit = "max_tokens",
    ) -> None:
        _positive(
            {
                "concurrency": concurrency,
                "timeout": timeout,
                "attempts": attempts,
                "token_budget": token_budget,
            }
        )
        _positive(
            {
                "requests_per_minute": requests_per_minute,
                "first_pause": first_pause,
                "longest_wait": longest_wait,
            }
        )
        self.base_url, self.concurrency, self.timeout = base_url, concurrency, timeout
        self.attempts, self.token_budget = attempts, token_budget
        self.first_pause, self.longest_wait = first_pause, longest_wait
        self._token_limit: TokenLimit = token_limit
        self._key = _key_from(key_variable)
        self._client, self._broken = _client(base_url, self._key, timeout, concurrency)
        self._slots = threading.BoundedSemaphore(concurrency)
        self._closed = threading.Event()
        self._pace = Pace(60.0 / requests_per_minute if requests_per_minute else 0.0, self._closed)
        self._meter = Meter()
        self._lock = threading.Lock()
        self._failure, self._alike = "", 0
        self.answered_before = (
            False  # where an earlier run got replies, failures are the requests' own
        )

    def __enter__(self) -> "OpenAIModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; whoever waits to try again stops waiting and fails."""
        self._closed.set()
        self._client.close()

    @property
    def usage(self) -> Usage:
        """What was used until now."""
        return self._meter.usage

    def complete(self, request: CompletionRequest) -> Completion:
        """The server's reply, tried `attempts` times.

        Raises:
            ReplyError: no attempt gave a usable reply, or the server finds fault with this very
                request.
            BudgetError: the token budget is spent.
            LanguageModelError: the server refuses us or every request, asks for too long a wait, or
                the model was closed.
        """
        trouble: list[str] = []
        for attempt in range(self.attempts):
            self._check_budget()
            self._pace.wait()
            with self._slots:
                self._meter.count({"attempts": 1, "retries": int(attempt > 0)})
                try:
                    return self._send(request)
                except TryAgain as failed:
                    failure = failed
            self._meter.trouble(failure.cause)
            trouble.append(failure.cause)
            if attempt + 1 < self.attempts:
                self._pause(request, attempt, failure)
        raise self._given_up(
            f"{self.base_url} gave no usable reply in {self.attempts} attempts "
            f"({', '.join(trouble)}; the last: {self._hide(failure.detail)}). Try again later, "
            f"or raise attempts or timeout"
        )

    def _send(self, request: CompletionRequest) -> Completion:
        import openai

        deadline = time.monotonic() + self.timeout
        arguments = chat_arguments(request, self._token_limit)
        try:
            with self._client.chat.completions.with_streaming_response.create(
                **arguments
            ) as response:
                pieces, size = [], 0
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    size += len(piece)
                    if time.monotonic() > deadline:
                        raise TryAgain(
                            "timeout", f"the reply had not ended after {self.timeout:g} s"
                        )
                    if size > LARGEST_BODY:
                        raise TryAgain(
                            "malformed", f"the reply is longer than {LARGEST_BODY} bytes"
                        )
        except openai.APITimeoutError:
            raise TryAgain("timeout", f"nothing came for {self.timeout:g} s") from None
        except openai.APIStatusError as error:
            raise self._refused(error, request) from None
        except openai.APIConnectionError as error:
            raise TryAgain("connection", str(error.__cause__ or error)) from None
        except self._broken as error:
            cause = "timeout" if "Timeout" in type(error).__name__ else "connection"
            raise TryAgain(cause, str(error) or type(error).__name__) from None
        except RuntimeError:
            if self._closed.is_set():  # the client was closed just before it sent
                raise closed_error() from None
            raise
        return self._read(b"".join(pieces), request)

    def _read(self, body: bytes, request: CompletionRequest) -> Completion:
        reply = read_body(body)
        found = reply.completion(body, request)
        self._meter.count({"extra_choices": len(reply.choices) - 1})
        self._meter.count({"unmetered": int(not reply.metered)})
        self._meter.count({"prompt_tokens": found.prompt_tokens})
        self._meter.count({"completion_tokens": found.completion_tokens})
        if reply.elsewhere:
            self._meter.trouble("no content")
            raise self._given_up(f"{self.base_url} answered, but {self._hide(reply.elsewhere)}")
        self._meter.count({"replies": 1})
        return found

    def _refused(self, error: Any, request: CompletionRequest) -> Exception:
        """What a status other than 200 means: try again, give this request up, or give everything
        up."""
        words = error_message(error.body) or " ".join(str(error.message).split())
        status, said = error.status_code, self._hide(words)[:300].rstrip(".")
        if status in (408, 409, 429) or status >= 500:
            cause = "rate limit" if status == 429 else "server error"
            return TryAgain(cause, f"{status}: {said}", retry_after(error.response.headers))
        self._meter.trouble("refused")
        if status in _HOPELESS:
            return LanguageModelError(
                f"{self.base_url} refuses model {request.model!r} with status {status}, "
                f"{_HOPELESS[status]}: {said}. "
                "Check the address, the model's name and the key's variable"
            )
        remedy = next((f". {remedy}" for word, remedy in _REMEDIES.items() if word in said), "")
        text = f"{self.base_url} refuses a request with status {status}: {said}{remedy}"
        return self._given_up(text)

    def _given_up(self, text: str) -> LanguageModelError:
        """The error of a request without a usable reply; after `ALIKE` such, that of the run."""
        self._meter.count({"failures": 1})
        with self._lock:
            self._failure, self._alike = text, self._alike + 1 if text == self._failure else 1
            alike = self._alike
        if alike < ALIKE or self.usage.replies or self.answered_before:
            return ReplyError(text)
        what = f"the first {ALIKE} requests failed alike and none was answered"
        return LanguageModelError(f"{what}, so no more are sent: {text}")

    def _pause(self, request: CompletionRequest, attempt: int, failure: "TryAgain") -> None:
        if failure.wait is not None and failure.wait > self.longest_wait:
            raise LanguageModelError(
                f"{self.base_url} asks to wait {failure.wait:g} s, longer than longest_wait = "
                f"{self.longest_wait:g}; "
                "run again later, what was answered is kept where replies are stored"
            )
        share = random.Random(f"{request.key}{attempt}").uniform(
            0.5, 1.0
        )  # its own for each request, so that they part
        pause = share * min(self.longest_wait, self.first_pause * 2**attempt)
        if failure.wait is not None:
            self._pace.hold(failure.wait)
            pause = failure.wait
        self._pace.sleep(pause)

    def _check_budget(self) -> None:
        spent = self.usage.tokens
        if self.token_budget is not None and spent >= self.token_budget:
            raise BudgetError(
                f"token_budget = {self.token_budget} is spent ({spent} tokens used); no further "
                "call was made. What was answered is kept where replies are stored: raise the "
                "budget and run again to go on"
            )

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def chat_arguments(
    request: CompletionRequest, token_limit: TokenLimit = "max_tokens"
) -> dict[str, Any]:
    """The body of the chat-completions call that a request stands for.

    Example:
        >>> from scoter.reasoning.language.language_model import Message
        >>> chat_arguments(CompletionRequest((Message("user", "Hello?"),), "some-model"))[
        ...     "messages"
        ... ]
        [{'role': 'user', 'content': 'Hello?'}]
    """
    arguments: dict[str, Any] = {
        "model": request.model,
        "messages": [
            {"role": message.role, "content": message.content} for message in request.messages
        ],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.sampler_seed,
        token_limit: request.max_tokens,
    }
    if request.json_schema:
        schema = {"name": "reply", "strict": True, "schema": json.loads(request.json_schema)}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _client(
    base_url: str, key: str, timeout: float, concurrency: int
) -> tuple[Any, type[Exception]]:
    """The `openai` client, without its own retries, and what its connections raise when a reply
    breaks off."""
    if find_spec("openai") is None:
        raise ConfigError(
            "a language model server needs the package openai, which is absent; pip install "
            "'scoter[llm]'"
        )
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise ConfigError(
            f"base_url = {base_url!r} is no address of a server; it should read like "
            f"http://127.0.0.1:8000/v1"
        )
    import httpx2
    import openai

    direct = urlsplit(base_url).hostname in _LOOPBACK  # no proxy between us and ourselves
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    http = httpx2.Client(
        timeout=timeout, trust_env=not direct, limits=limits, follow_redirects=False
    )
    client = openai.OpenAI(
        base_url=base_url, api_key=key or "none", timeout=timeout, max_retries=0, http_client=http
    )
    return client, httpx2.HTTPError


def _key_from(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"key_variable = {variable!r}, but that environment variable is empty; put the "
            f"server's key there"
        )
    return key


def _positive(values: dict[str, float | int | None]) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{name} = {value}; it must be above 0")
