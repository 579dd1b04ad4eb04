"""Any OpenAI-compatible server (vLLM, llama.cpp, hosted) as a `LanguageModel`.

A call that is refused for now (429), breaks (5xx, cut connection), does not end (time-out) or
answers with nonsense is counted by its cause and tried again, after what the server's Retry-After
asks for or an exponentially growing, jittered pause. Other refusals (401, 404) end the run. So do
`ALIKE` requests in a row that get no reply in all their attempts, and as many that are refused in
the same way while none was answered.
"""

import json
import os
import random
import threading
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scoter.errors import ConfigError, LanguageModelError, ReplyError
from scoter.reasoning.language.grammar import grammar_of
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.metering import Meter, Pace, Usage, check_budget, closed_error
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.server_reply import TryAgain, error_message, read_body, retry_after

if TYPE_CHECKING:
    import openai

LARGEST_BODY = 4 * 2**20  # as JSON in a store at most twelve times as many bytes
ALIKE = 5
_OWN_WORDS = ("grammar", "structured_outputs")  # that servers add to OpenAI's
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WITHOUT_SCHEMA = "Use --write schema=none, for discover --set discover.sampling.schema=none"
_REMEDIES = {  # by a word of a refusal
    "'max_completion_tokens'": "Pass --token-limit max_completion_tokens",
    "response_format": _WITHOUT_SCHEMA,
    "json_schema": _WITHOUT_SCHEMA,
    "temperature": "Use --write temperature=1, for discover --set discover.sampling.temperature=1",
}
_GONE = (429, 502, 503, 504)  # other errors may be the request's own
_HOPELESS = {
    402: "it wants to be paid",
    401: "the key is not accepted",
    403: "the key may not do this",
    404: "there is no such model or address",
}


class OpenAIModel:
    """A server's chat completions, for several threads at once.

    The key comes from the environment variable that `config.key_variable` names, and is kept
    nowhere else.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config, self.concurrency = config, config.concurrency
        self._key = key_from(config.key_variable)
        self._client, self._broken = _client(config, self._key)
        self._slots = threading.BoundedSemaphore(config.concurrency)
        self._closed = threading.Event()
        rate = config.requests_per_minute
        self._pace = Pace(60.0 / rate if rate else 0.0, self._closed)
        self._meter = Meter()
        self._lock = threading.Lock()
        self._failure, self._alike = "", 0
        self.answered_before = False  # then failures are the requests' own, not the server's

    def __enter__(self) -> "OpenAIModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a request that waits for another attempt fails."""
        self._closed.set()
        self._client.close()

    @property
    def usage(self) -> Usage:
        return self._meter.usage

    def complete(self, request: CompletionRequest) -> Completion:
        """The server's reply, tried `config.attempts` times.

        A `ReplyError` concerns this request alone. Any other `LanguageModelError` ends the run.
        """
        trouble: list[TryAgain] = []
        for attempt in range(self.config.attempts):
            if trouble:
                self._pause(request, attempt, trouble[-1])
            check_budget(self.usage.tokens, self.config.token_budget)
            self._pace.wait()
            with self._slots:
                self._meter.count(attempts=1, retries=int(attempt > 0))
                try:
                    return self._send(request)
                except TryAgain as failure:
                    trouble.append(failure)
            self._meter.trouble(trouble[-1].cause)
        causes = ", ".join(failure.cause for failure in trouble)
        raise self._given_up(
            f"the server gave no usable reply in {len(trouble)} attempts ({causes}; the last: "
            f"{trouble[-1]}). Try again later, or raise attempts or timeout",
            gone=all(failure.gone for failure in trouble),
        )

    def _send(self, request: CompletionRequest) -> Completion:
        import openai

        chat = self._client.chat.completions.with_streaming_response
        deadline = time.monotonic() + self.config.timeout
        body = chat_arguments(request, self.config)
        more = {name: body.pop(name) for name in _OWN_WORDS if name in body}
        try:
            with chat.create(**body, extra_body=more) as response:
                read = bytearray()
                for piece in response.iter_bytes():
                    read += piece
                    if time.monotonic() > deadline:
                        late = f"the reply had not ended after {self.config.timeout:g} s"
                        raise TryAgain("timeout", late)
                    if len(read) > LARGEST_BODY:
                        raise TryAgain("malformed", f"the reply exceeds {LARGEST_BODY} bytes")
        except openai.APIStatusError as error:
            raise self._refused(error, request) from None
        except (openai.APIConnectionError, self._broken) as error:
            if "Timeout" in type(error).__name__:
                late = f"nothing came for {self.config.timeout:g} s"
                raise TryAgain("timeout", late, gone=True) from None
            text = str(error.__cause__ or error) or type(error).__name__
            raise TryAgain("connection", text, gone=True) from None
        except RuntimeError:
            if self._closed.is_set():  # the client was closed just before it sent
                raise closed_error() from None
            raise
        return self._read(bytes(read), request)

    def _read(self, raw: bytes, request: CompletionRequest) -> Completion:
        body = read_body(raw)
        completion = body.completion(raw, request)
        self._meter.count(
            extra_choices=len(body.choices) - 1,
            unmetered=int(not body.metered),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            replies=int(not body.elsewhere),
        )
        self._alike = 0
        if body.elsewhere:
            self._meter.trouble("no content")
            raise self._given_up(f"the server answered, but {body.elsewhere}")
        return completion

    def _refused(self, error: "openai.APIStatusError", request: CompletionRequest) -> Exception:
        words = error_message(error.body) or " ".join(str(error.message).split())
        status, words = error.status_code, self._hide(words)[:300].rstrip(".")
        if status in (408, 409, 429) or status >= 500:
            cause = "rate limit" if status == 429 else "server error"
            wait = retry_after(error.response.headers)
            return TryAgain(cause, f"{status}: {words}", wait, gone=status in _GONE)
        self._meter.trouble("refused")
        if status in _HOPELESS:
            return LanguageModelError(
                f"{self.config.base_url} refuses model {request.model!r} with status {status}, "
                f"{_HOPELESS[status]}: {words}. Check the address, the model's name and the key's "
                "variable"
            )
        remedy = next((f". {remedy}" for word, remedy in _REMEDIES.items() if word in words), "")
        return self._given_up(f"the server refuses a request with status {status}: {words}{remedy}")

    def _given_up(self, text: str, gone: bool = False) -> LanguageModelError:
        """A request's error, or after `ALIKE` the run's; chains keep it, so without the address.

        Requests fail alike by their text, or because the server is `gone`.
        """
        text = self._hide(text).replace(self.config.base_url, "the server")
        failure, address = "gone" if gone else text, self.config.base_url
        self._meter.count(failures=1)
        with self._lock:
            self._alike = self._alike + 1 if failure == self._failure else 1
            self._failure, alike = failure, self._alike
        answered = self.usage.replies or self.answered_before
        if alike < ALIKE or (answered and not gone):
            return ReplyError(text)
        failed = f"the first {ALIKE} requests failed alike and none was answered"
        if answered:
            failed = f"{ALIKE} requests in a row got no reply (run again to go on)"
        return LanguageModelError(f"{failed}, so no more are sent to {address}: {text}")

    def _pause(self, request: CompletionRequest, attempt: int, failure: TryAgain) -> None:
        longest = self.config.longest_wait
        if failure.wait is not None:
            if failure.wait > longest:
                wait = f"asks to wait {failure.wait:g} s, longer than longest_wait = {longest:g}"
                remedy = "run again later, stored replies are kept"
                raise LanguageModelError(f"{self.config.base_url} {wait}; {remedy}")
            self._pace.hold(failure.wait)
            self._pace.sleep(failure.wait)
            return
        share = random.Random(f"{request.key}{attempt - 1}").uniform(0.5, 1.0)
        self._pace.sleep(share * min(longest, self.config.first_pause * 2 ** (attempt - 1)))

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def chat_arguments(
    request: CompletionRequest, server: ServerConfig = ServerConfig()
) -> dict[str, Any]:
    """The body of the chat-completions call for a request."""
    arguments: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.sampler_seed,
        server.token_limit: request.max_tokens,
    }
    if request.json_schema and server.guided != "response_format":
        grammar = grammar_of(request.json_schema)
        vllm = {"structured_outputs": {"grammar": grammar}}
        return {**arguments, **({"grammar": grammar} if server.guided == "llama.cpp" else vllm)}
    if request.json_schema:
        schema = {"name": "reply", "strict": True, "schema": json.loads(request.json_schema)}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _client(config: ServerConfig, key: str) -> "tuple[openai.OpenAI, type[Exception]]":
    if find_spec("openai") is None:
        remedy = "which is absent; pip install 'scoter[llm]'"
        raise ConfigError(f"a language model server needs the package openai, {remedy}")
    address = urlsplit(config.base_url)
    if address.scheme not in ("http", "https"):
        wanted = "it should read like http://127.0.0.1:8000/v1"
        raise ConfigError(f"base_url = {config.base_url!r} is no address of a server; {wanted}")
    import httpx2
    import openai

    calls, seconds = config.concurrency, config.timeout
    http = httpx2.Client(
        timeout=seconds,
        trust_env=address.hostname not in _LOOPBACK,  # no proxy on the way to this machine
        limits=httpx2.Limits(max_connections=calls, max_keepalive_connections=calls),
        follow_redirects=False,
    )
    client = openai.OpenAI(
        base_url=config.base_url,
        api_key=key or "none",
        timeout=seconds,
        max_retries=0,
        http_client=http,
    )
    return client, httpx2.HTTPError


def key_from(variable: str | None) -> str:
    key = os.environ.get(variable or "", "").strip()
    if variable is not None and not key:
        problem = "that environment variable is empty; put the server's key there"
        raise ConfigError(f"key_variable = {variable!r}, but {problem}")
    return key
