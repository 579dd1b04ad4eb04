"""Which language model server writes chains, as a value that another process or machine can open
too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scoter.reasoning.language.openai_model import OpenAIModel, TokenLimit


@dataclass(frozen=True)
class ServerConfig:
    """Arguments of `OpenAIModel`; without a `base_url` the small local model is started where this
    is opened.

    None of it decides what a chain says, so none of it is in a folder's `job.json`.
    """

    base_url: str = ""
    key_variable: str | None = None
    concurrency: int = 4
    requests_per_minute: float | None = None
    timeout: float = 120.0
    attempts: int = 6
    first_pause: float = 0.5
    token_budget: int | None = None
    token_limit: TokenLimit = "max_tokens"

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
