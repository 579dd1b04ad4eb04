"""Requests and their keys; many requests at once, with models that fail, stall and repeat
themselves."""

import hashlib
import json
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import complete_many

from scoter.errors import BudgetError, ConfigError, ReplyError
from scoter.reasoning.language.language_model import (
    Completion,
    CompletionRequest,
    Message,
    answer_many,
)

REQUEST = CompletionRequest((Message("user", "Hello?"),), "some-model")


def requests(count: int) -> list[CompletionRequest]:
    return [replace(REQUEST, sample=number) for number in range(count)]


@given(
    st.text(),
    st.floats(0, 2),
    st.floats(0.01, 1),
    st.integers(1, 9999),
    st.integers(0, 2**40),
    st.integers(0, 99),
)
def test_a_request_survives_json_and_its_key_with_it(
    text: str, temperature: float, top_p: float, tokens: int, seed: int, sample: int
) -> None:
    request = CompletionRequest(
        (Message("system", text), Message("user", "?")),
        "m",
        temperature,
        top_p,
        tokens,
        seed,
        sample,
    )
    tree = json.loads(request.to_json())
    turns = tuple(Message(**turn) for turn in tree.pop("messages"))
    again = CompletionRequest(turns, **tree)
    assert again == request
    assert again.key == request.key == hashlib.sha256(request.to_json().encode()).hexdigest()


def test_a_key_stays_what_it_was() -> None:
    """Stored replies are found by it."""
    assert REQUEST.key == "e6b84d55ecdf089a46dea6fa26209488665ca320c0409793283548cf326ef8df"


def test_whatever_decides_a_reply_decides_the_key() -> None:
    others = {
        "messages": (Message("system", "Hello?"),),
        "model": "other",
        "temperature": 0.5,
        "top_p": 0.5,
        "max_tokens": 9,
        "seed": 1,
        "sample": 1,
        "json_schema": "{}",
    }
    variants = [replace(REQUEST, **{name: value}) for name, value in others.items()]
    assert set(others) == set(REQUEST.__dataclass_fields__)
    assert len({REQUEST.key, *(variant.key for variant in variants)}) == 1 + len(others)
    assert len({replace(REQUEST, sample=k).sampler_seed for k in range(50)}) == 50


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("max_tokens", 0),
        ("sample", -1),
        ("messages", ()),
    ],
)
def test_an_impossible_request_names_its_argument(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(REQUEST, **{name: value})


class Fake:
    """Replies with the sample's number after `delays[sample]` seconds; `errors[sample]` is raised
    instead."""

    def __init__(
        self,
        concurrency: int,
        delays: dict[int, float] | None = None,
        errors: dict[int, Exception] | None = None,
    ):
        self.concurrency, self.delays, self.errors = concurrency, delays or {}, errors or {}
        self.calls: Counter[int] = Counter()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def complete(self, request: CompletionRequest) -> Completion:
        with self.lock:
            self.calls[request.sample] += 1
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.delays.get(request.sample, 0.0))
        with self.lock:
            self.now -= 1
        if request.sample in self.errors:
            raise self.errors[request.sample]
        return Completion(str(request.sample), "stop", 1, 1, "")


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_every_request_is_answered_exactly_once(concurrency: int) -> None:
    rng = np.random.default_rng(concurrency)
    delays = {number: float(rng.uniform(0, 0.01)) for number in range(40)}
    failing = {
        int(number): ReplyError(f"no reply {number}") for number in rng.choice(40, 7, replace=False)
    }
    model = Fake(concurrency, delays, failing)
    answers = list(complete_many(model, requests(40)))
    assert sorted(answer.index for answer in answers) == list(range(40))
    for answer in answers:
        expected = (
            (None, f"no reply {answer.index}")
            if answer.index in failing
            else (str(answer.index), "")
        )
        assert (answer.reply and answer.reply.text, answer.error) == expected
    assert set(model.calls.values()) == {1}
    assert model.most <= concurrency


def test_equal_requests_under_way_are_asked_once_and_answered_each() -> None:
    model = Fake(4, {0: 0.1})
    answers = list(complete_many(model, [REQUEST, REQUEST, replace(REQUEST, sample=1), REQUEST]))
    assert sorted(answer.index for answer in answers) == [0, 1, 2, 3]
    assert model.calls == {0: 1, 1: 1}


def test_requests_are_read_as_they_are_needed() -> None:
    read = []

    def feed():
        for request in requests(1000):
            read.append(request)
            yield request

    answers = complete_many(Fake(2), feed())
    next(answers)
    assert len(read) <= 5
    answers.close()


@pytest.mark.parametrize("error", [BudgetError("the budget is spent"), RuntimeError("a defect")])
def test_what_ends_a_run_keeps_the_calls_under_way(error: Exception) -> None:
    model = Fake(3, delays={0: 0.2, 1: 0.2, 2: 0.05}, errors={2: error})
    kept: list[int] = []
    with pytest.raises(type(error), match=str(error)):
        kept.extend(answer.index for answer in complete_many(model, requests(50)))
    assert {0, 1} <= set(kept)
    assert sorted(kept) == sorted(set(model.calls) - {2})
    assert len(model.calls) < 10


def test_requests_that_cannot_be_made_lose_no_reply() -> None:
    def feed():
        yield from requests(3)
        raise ConfigError("no more prompts")

    kept: list[int] = []
    with pytest.raises(ConfigError, match="no more prompts"):
        kept.extend(answer.index for answer in answer_many(Fake(2).complete, feed(), 2))
    assert sorted(kept) == [0, 1, 2]


def test_who_stops_reading_does_not_wait() -> None:
    model = Fake(2, delays={1: 3.0})
    answers = complete_many(model, requests(100))
    assert next(answers).index == 0
    start = time.monotonic()
    answers.close()
    assert time.monotonic() - start < 2.5
    assert len(model.calls) <= 5


def test_concurrency_is_checked() -> None:
    with pytest.raises(ConfigError, match="concurrency = 0"):
        list(complete_many(Fake(0), requests(1)))
