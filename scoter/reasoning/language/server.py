"""How a language model server is called: a value that other processes and machines can use too."""

from dataclasses import dataclass, field
from typing import Literal, TypeVar

from scoter.errors import ConfigError

TokenLimit = Literal["max_tokens", "max_completion_tokens"]
Guided = Literal["response_format", "llama.cpp", "vllm"]
Value = TypeVar("Value")


def option(default: Value, text: str) -> Value:
    """A field whose help text the command line shows."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ServerConfig:
    """How a server is called. None of it decides what a chain says, so no key holds it.

    The budget counts prompt and completion tokens. The calls under way when it is spent still
    finish, so at most `concurrency` replies go beyond it.
    """

    base_url: str = option("", "The OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    key_variable: str | None = option(None, "The environment variable that holds the server's key")
    concurrency: int = option(4, "Calls at once; of local:FILE.gguf as many parallel slots")
    model_threads: int = option(1, "Processor threads of local:FILE.gguf")
    requests_per_minute: float | None = option(None, "Start no more calls in a minute, evenly")
    timeout: float = option(120.0, "Seconds until a call is given up")
    attempts: int = option(6, "How often a call is tried")
    first_pause: float = option(0.5, "Seconds before a second attempt; doubles with each")
    longest_wait: float = option(120.0, "The most seconds between two attempts")
    token_budget: int | None = option(
        None, "Stop, to be continued, once this run has used so many tokens"
    )
    token_limit: TokenLimit = option(
        "max_tokens", "The server's name for the longest reply; newer OpenAI models want the second"
    )
    guided: Guided = option(
        "response_format",
        "How a reply is held to its schema: as hosted servers do, or by a grammar of llama.cpp or "
        "vLLM that leaves no room for white space",
    )

    def __post_init__(self) -> None:
        numbers = ("concurrency", "model_threads", "requests_per_minute", "timeout", "attempts")
        for name in (*numbers, "first_pause", "longest_wait", "token_budget"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value}; it must be above 0")
