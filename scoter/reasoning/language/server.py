"""Which language model server writes chains, as a value that another process or machine can open
too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from scoter.reasoning.language.openai_model import OpenAIModel, TokenLimit

Value = TypeVar("Value")


def option(default: Value, text: str) -> Value:
    """A field whose help text the command line shows."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ServerConfig:
    """Arguments of `OpenAIModel`; without a `base_url` the small local model is started where this
    is opened.

    None of it decides what a chain says, so none of it is in a folder's `job.json`.
    """

    base_url: str = option("", "An OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    key_variable: str | None = option(None, "The environment variable with the server's key")
    concurrency: int = option(4, "Calls at once")
    requests_per_minute: float | None = option(None, "Start no more calls a minute than this")
    timeout: float = option(120.0, "Seconds until a call is given up")
    attempts: int = option(6, "How often a call is tried")
    first_pause: float = option(0.5, "Seconds before a second attempt; doubles with each")
    token_budget: int | None = option(None, "Stop, to be continued, after so many tokens")
    token_limit: TokenLimit = option(
        "max_tokens", "The server's name for the longest reply; newer OpenAI models want the second"
    )

    @contextmanager
    def open(self) -> Iterator[OpenAIModel]:
        """The model, while the block runs."""
        from scoter.reasoning.language.local_server import local_server

        if self.base_url:
            with self._model(self.base_url, self.concurrency) as model:
                yield model
            return
        with local_server() as server, self._model(server.base_url, 1) as model:
            yield model

    def _model(self, base_url: str, concurrency: int) -> OpenAIModel:
        return OpenAIModel(
            base_url,
            key_variable=self.key_variable,
            concurrency=concurrency,
            requests_per_minute=self.requests_per_minute,
            timeout=self.timeout,
            attempts=self.attempts,
            first_pause=self.first_pause,
            token_budget=self.token_budget,
            token_limit=self.token_limit,
        )
