"""What a job of chain writing will cost: before it starts from its prompts, while it runs from what
its replies took."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scoter.reasoning.language.metering import Prices, Usage
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.writing.job import ChainJob

CHARACTERS_PER_TOKEN = 4
_LOOKED_AT = 200
_MARKS = 20


@dataclass(frozen=True)
class Forecast:
    """What is still to be done. `seconds` and `money` are None where nothing is known of them.

    `measured` says whether tokens come from replies; otherwise prompts count a token for four
    characters, and each reply is taken to be as long as it may be.
    """

    chains: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float | None
    money: float | None
    measured: bool

    def __str__(self) -> str:
        """One line for people.

        Example:
            >>> print(Forecast(100, 80, 20_000, 8_000, 160.0, None, True))
            100 chains, about 80 calls, 20,000 + 8,000 tokens, 3 min
        """
        bound = "" if self.measured else "at most "
        parts = [f"{self.chains:,} chains", f"about {self.calls:,} calls"]
        parts.append(f"{self.prompt_tokens:,} + {bound}{self.completion_tokens:,} tokens")
        if self.seconds is not None:
            parts.append(
                f"{self.seconds / 60:.0f} min" if self.seconds >= 90 else f"{self.seconds:.0f} s"
            )
        if self.money is not None:
            parts.append(f"price {bound}{self.money:.2f}")
        return ", ".join(parts)


def forecast(
    job: ChainJob, shards: list[int], store: RequestStore, prices: Prices | None = None
) -> Forecast:
    """Before the first call: `_LOOKED_AT` evenly spaced chains of the missing shards stand for all
    of them.

    How long a call takes cannot be known before there was one, so `seconds` is None.
    """
    chains = sum(len(job.places(shard)) for shard in shards)
    places = [place for shard in shards for place in job.places(shard)]
    looked_at = (
        [
            places[index]
            for index in np.unique(np.linspace(0, chains - 1, min(chains, _LOOKED_AT)).astype(int))
        ]
        if places
        else []
    )
    unknown, prompt, known = 0, 0, []
    for place in looked_at:
        request = job.request(place)
        if (reply := store.get(request)) is not None:
            known.append(reply)
            continue
        unknown += 1
        prompt += (
            sum(len(message.content) for message in request.messages) // CHARACTERS_PER_TOKEN + 1
        )
    share = chains / max(1, len(looked_at))
    longest = 0 if job.writing is None else job.writing.max_tokens
    length = (
        float(np.mean([reply.completion_tokens for reply in known])) if known else float(longest)
    )
    tokens = (round(prompt * share), round(unknown * share * length))
    return _forecast(chains, round(unknown * share), tokens, None, prices, measured=bool(known))


@dataclass(frozen=True)
class _Mark:
    """How far a run was at some time."""

    time: float
    done: int
    usage: Usage


class Progress:
    """Counts outcomes, and says every `interval` seconds how far the job is and what it still
    takes.

    What the rest takes is judged by the last few minutes, since a run that goes on from stored
    replies starts faster than it can continue.

    Args:
        chains: how many this run is to write.
        usage: what the model was used for up to now; None for the catalogue reasoner.
    """

    def __init__(
        self,
        chains: int,
        say: Callable[[str], None],
        usage: Callable[[], Usage] | None = None,
        prices: Prices | None = None,
        interval: float = 10.0,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._chains, self._say, self._usage, self._prices, self._interval = (
            chains,
            say,
            usage,
            prices,
            interval,
        )
        self._said = time.monotonic()
        self._marks = deque([self._mark()], maxlen=_MARKS)

    def __call__(self, outcome: str) -> None:
        """A further chain, and how it ended."""
        self.outcomes[outcome] += 1
        now = time.monotonic()
        if now - self._said >= self._interval:
            self._said = now
            self._marks.append(self._mark())
            self._say(
                f"{self.outcomes.total():,} of {self._chains:,} chains ({self.ended()}); to "
                f"come: {self.left()}"
            )

    def ended(self) -> str:
        return ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items()))

    def left(self) -> Forecast:
        """What the rest takes, if it goes on as of late."""
        before, now = self._marks[0], self._mark()
        chains = self._chains - now.done
        rest = chains / max(1, now.done - before.done)
        calls = round((now.usage.attempts - before.usage.attempts) * rest)
        prompt = round((now.usage.prompt_tokens - before.usage.prompt_tokens) * rest)
        completion = round((now.usage.completion_tokens - before.usage.completion_tokens) * rest)
        return _forecast(
            chains,
            calls,
            (prompt, completion),
            (now.time - before.time) * rest,
            self._prices,
            measured=True,
        )

    def _mark(self) -> "_Mark":
        return _Mark(
            time.monotonic(),
            self.outcomes.total(),
            self._usage() if self._usage is not None else Usage(),
        )


def _forecast(
    chains: int,
    calls: int,
    tokens: tuple[int, int],
    seconds: float | None,
    prices: Prices | None,
    measured: bool,
) -> Forecast:
    money = (
        Usage(prompt_tokens=tokens[0], completion_tokens=tokens[1]).cost(prices)
        if prices is not None
        else None
    )
    return Forecast(chains, calls, *tokens, seconds, money, measured)
