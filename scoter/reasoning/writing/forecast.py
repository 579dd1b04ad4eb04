"""What a job of chain writing costs: before it starts from its prompts, later from its replies."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scoter.reasoning.language.metering import Prices, Usage
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.writing.job import ChainJob

CHARACTERS_PER_TOKEN = 4
_SAMPLE = 200  # chains that stand for all
_MARKS = 20  # intervals over which speed is measured


@dataclass(frozen=True)
class Forecast:
    """What is still to be done.

    >>> print(Forecast(100, 80, 20_000, 8_000, seconds=160.0))
    100 chains, about 80 calls, 20,000 + 8,000 tokens, 3 min
    """

    chains: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float | None = None  # None before the first call
    prices: Prices | None = None
    measured: bool = True  # whether tokens come from replies; else replies are as long as allowed

    @property
    def money(self) -> float | None:
        used = Usage(prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens)
        return None if self.prices is None else used.cost(self.prices)

    def __str__(self) -> str:
        bound = "" if self.measured else "at most "
        parts = [f"{self.chains:,} chains", f"about {self.calls:,} calls"]
        parts.append(f"{self.prompt_tokens:,} + {bound}{self.completion_tokens:,} tokens")
        if self.seconds is not None:
            long = self.seconds >= 90
            parts.append(f"{self.seconds / 60:.0f} min" if long else f"{self.seconds:.0f} s")
        if self.money is not None:
            parts.append(f"price {bound}{self.money:.2f}")
        return ", ".join(parts)


def forecast(
    job: ChainJob, shards: list[int], store: RequestStore, prices: Prices | None = None
) -> Forecast:
    """Before the first call: some evenly spaced chains of the missing shards stand for all."""
    places = [place for shard in shards for place in job.places(shard)]
    spaced = np.linspace(0, len(places) - 1, min(len(places), _SAMPLE)).astype(int)
    sample = [job.request(places[index]) for index in np.unique(spaced)]
    replies = [store.get(request) for request in sample]
    asked = [request for request, reply in zip(sample, replies, strict=True) if reply is None]
    characters = (sum(len(turn.content) for turn in request.messages) for request in asked)
    prompt = sum(count // CHARACTERS_PER_TOKEN + 1 for count in characters)
    lengths = [reply.completion_tokens for reply in replies if reply is not None]
    longest = [request.max_tokens for request in asked] or [0]
    length = float(np.mean(lengths or longest))
    share = len(places) / max(1, len(sample))
    return Forecast(
        chains=len(places),
        calls=round(len(asked) * share),
        prompt_tokens=round(prompt * share),
        completion_tokens=round(len(asked) * share * length),
        prices=prices,
        measured=bool(lengths),
    )


class Progress:
    """Counts outcomes, and says every `interval` seconds how far the job is and what remains.

    What remains is judged by the last few minutes, since stored replies make the start faster.
    """

    def __init__(
        self,
        chains: int,
        say: Callable[[str], None],
        usage: Callable[[], Usage] = Usage,
        prices: Prices | None = None,
        interval: float = 10.0,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._chains, self._say, self._usage = chains, say, usage
        self._prices, self._interval = prices, interval
        self._marks = deque([self._mark()], maxlen=_MARKS)

    def __call__(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        if time.monotonic() - self._marks[-1][0] >= self._interval:
            self._marks.append(self._mark())
            ended = ", ".join(f"{count:,} {name}" for name, count in sorted(self.outcomes.items()))
            done = f"{self.outcomes.total():,} of {self._chains:,} chains ({ended})"
            self._say(f"{done}; to come: {self.left()}")

    def left(self) -> Forecast:
        (began, before, first), (now, done, last) = self._marks[0], self._mark()
        chains = self._chains - done
        share = chains / max(1, done - before)
        return Forecast(
            chains=chains,
            calls=round((last.attempts - first.attempts) * share),
            prompt_tokens=round((last.prompt_tokens - first.prompt_tokens) * share),
            completion_tokens=round((last.completion_tokens - first.completion_tokens) * share),
            seconds=(now - began) * share,
            prices=self._prices,
        )

    def _mark(self) -> tuple[float, int, Usage]:
        return time.monotonic(), self.outcomes.total(), self._usage()
