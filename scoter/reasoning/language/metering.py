"""What calls to a language model cost, and how fast they may start."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from scoter.errors import BudgetError, LanguageModelError

Prices = tuple[float, float]
"""What a million tokens of prompts and one of replies cost, in any currency."""


@dataclass(frozen=True)
class Usage:
    """What a model was used for: `attempts` = `replies` + the sum of `causes`.

    An attempt that timed out counts no tokens, though a hosted server may charge for it.

    >>> print(Usage(attempts=2, replies=1, causes={"timeout": 1}))
    2 calls, 1 replies, 0 + 0 tokens; failed calls: 1 timeout
    """

    attempts: int = 0
    replies: int = 0
    retries: int = 0  # attempts after a request's first
    failures: int = 0  # requests that were given up
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0  # replies without token counts; a token stands for four characters there
    extra_choices: int = 0  # replies that came unasked and were dropped
    causes: Mapping[str, int] = field(default_factory=dict)  # attempts without a usable reply

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __str__(self) -> str:
        text = f"{self.attempts:,} calls, {self.replies:,} replies, "
        text += f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        if self.unmetered:
            text += f"; the server did not count the tokens of {self.unmetered:,} replies"
            text += ", which are estimated as a quarter of the characters"
        causes = [f"{count:,} {cause}" for cause, count in sorted(self.causes.items())]
        return f"{text}; failed calls: {', '.join(causes)}" if causes else text

    def cost(self, prices: Prices) -> float:
        prompt, completion = prices
        return (self.prompt_tokens * prompt + self.completion_tokens * completion) / 1e6


@runtime_checkable
class Metered(Protocol):
    """A language model that counts what it was used for."""

    @property
    def usage(self) -> Usage: ...


def check_budget(spent: int, budget: int | None) -> None:
    """A `BudgetError` where so many tokens, those of prompts and replies, are the whole budget."""
    if budget is not None and spent >= budget:
        remedy = "Stored replies are kept: raise the budget and run again to go on"
        used = f"is spent ({spent} tokens used); no further call was made"
        raise BudgetError(f"token_budget = {budget} {used}. {remedy}")


class Meter:
    """Counts that several threads add to; `usage` is a snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()

    def count(self, **amounts: int) -> None:
        with self._lock:
            self._counts.update(amounts)

    def trouble(self, cause: str) -> None:
        with self._lock:
            self._causes[cause] += 1

    @property
    def usage(self) -> Usage:
        with self._lock:
            return Usage(**self._counts, causes=dict(self._causes))


class Pace:
    """Starts calls at least `gap` seconds apart, and delays all of them where a server asks."""

    def __init__(self, gap: float, closed: threading.Event) -> None:
        self._gap, self._closed, self._next, self._lock = gap, closed, 0.0, threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        self.sleep(start - now)

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        if self._closed.wait(max(0.0, seconds)):
            raise closed_error()


def closed_error() -> LanguageModelError:
    return LanguageModelError("the language model was closed while a request waited; open it again")
