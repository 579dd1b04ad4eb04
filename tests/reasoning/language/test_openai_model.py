"""A misbehaving server over real HTTP: every request is answered once or given up by name, and
every attempt is counted."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate

import numpy as np
import pytest
from scripted_server import COMPLETION_TOKENS, PROMPT_TOKENS, ScriptedServer, complete_many

from scoter.errors import BudgetError, ConfigError, LanguageModelError, ReplyError
from scoter.reasoning.language.language_model import CompletionRequest, Message
from scoter.reasoning.language.openai_model import ALIKE, OpenAIModel
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.server_reply import TryAgain, read_body, retry_after

CAUSE = {
    "429": "rate limit",
    "429:0.05": "rate limit",
    "500": "server error",
    "503": "server error",
    "time-out": "timeout",
    "drip": "timeout",
    "cut": "connection",
    "hang up": "connection",
    "malformed": "malformed",
    "empty": "malformed",
    "wrong schema": "malformed",
    "not UTF-8": "malformed",
}


def ask(text: str, **settings) -> CompletionRequest:
    return CompletionRequest((Message("user", text),), "some-model", **settings)


def open_model(server: ScriptedServer, **settings) -> OpenAIModel:
    return OpenAIModel(
        ServerConfig(server.base_url, **({"first_pause": 0.005, "timeout": 5.0} | settings))
    )


@pytest.mark.timeout(120)
def test_no_reply_is_lost_doubled_or_waited_for_forever() -> None:
    rng = np.random.default_rng(0)
    failing = [name for name in CAUSE if CAUSE[name] != "timeout"]
    plans = {
        f"prompt {n}": [failing[k] for k in rng.choice(len(failing), rng.integers(0, 4))]
        for n in range(60)
    }
    for prompt, last in zip(list(plans)[10:40], ["ok", "duplicated", "no usage"] * 10, strict=True):
        plans[prompt].append(last)
    with (
        ScriptedServer(
            lambda prompt, attempt: plans[prompt][attempt] if attempt < len(plans[prompt]) else "ok"
        ) as server,
        open_model(server, concurrency=6, timeout=60.0) as model,
    ):
        answers = list(complete_many(model, [ask(prompt) for prompt in plans]))
        usage = model.usage
    assert sorted(answer.index for answer in answers) == list(range(60))
    assert all(answer.reply.text == f"reply to prompt {answer.index}" for answer in answers)
    ended = Counter(plan[-1] if plan and plan[-1] not in CAUSE else "ok" for plan in plans.values())
    causes = Counter(CAUSE[name] for plan in plans.values() for name in plan if name in CAUSE)
    assert set(causes) == set(CAUSE.values()) - {"timeout"}
    assert usage.causes == causes
    assert usage.attempts == sum(server.attempts.values()) == 60 + sum(causes.values())
    assert (usage.replies, usage.retries, usage.failures) == (60, sum(causes.values()), 0)
    assert (
        (usage.extra_choices, usage.unmetered)
        == (2 * ended["duplicated"], ended["no usage"])
        == (20, 10)
    )
    estimated = [
        len(f"prompt {n}") // 4 + 1 for n in range(10, 40) if plans[f"prompt {n}"][-1] == "no usage"
    ]
    assert usage.prompt_tokens == 50 * PROMPT_TOKENS + sum(estimated)
    assert server.most_at_once <= 6


def test_what_takes_too_long_is_tried_again() -> None:
    plans = {"silent": ["time-out", "429", "ok"], "dripping": ["drip", "ok"], "quick": ["ok"]}
    with (
        ScriptedServer(lambda prompt, attempt: plans[prompt][attempt]) as server,
        open_model(server, concurrency=3, timeout=2.0) as model,
    ):
        start = time.monotonic()
        answers = list(complete_many(model, [ask(prompt) for prompt in plans]))
        assert 2.0 <= time.monotonic() - start < 20
        assert sorted((answer.index, answer.error) for answer in answers) == [
            (0, ""),
            (1, ""),
            (2, ""),
        ]
        assert server.attempts == {"silent": 3, "dripping": 2, "quick": 1}
        assert model.usage.causes == {"timeout": 2, "rate limit": 1}


def test_what_is_never_answered_is_given_up_alone() -> None:
    with ScriptedServer(
        lambda prompt, _: "500" if prompt == "bad" else "400" if prompt == "odd" else "ok"
    ) as server:
        with open_model(server, attempts=3) as model:
            answers = list(complete_many(model, [ask("good"), ask("bad"), ask("odd"), ask("fine")]))
        errors = {answer.index: answer.error for answer in answers}
        assert errors[0] == errors[3] == ""
        assert "in 3 attempts (server error, server error, server error; the last: 500" in errors[1]
        assert "raise attempts or timeout" in errors[1]
        assert "status 400" in errors[2]
        assert server.attempts == {"good": 1, "bad": 3, "odd": 1, "fine": 1}
        usage = model.usage
    assert (usage.attempts, usage.replies, usage.retries, usage.failures) == (6, 2, 2, 2)
    assert usage.causes == {"server error": 3, "refused": 1}


@pytest.mark.parametrize("behaviour", ["400", "422", "500", "malformed"])
def test_a_server_that_fails_every_request_alike_is_left_alone(behaviour: str) -> None:
    with ScriptedServer(lambda *_: behaviour) as server:
        with (
            open_model(server, concurrency=2, attempts=2) as model,
            pytest.raises(
                LanguageModelError, match=f"the first {ALIKE} requests failed alike"
            ) as caught,
        ):
            list(complete_many(model, [ask(str(n)) for n in range(200)]))
        assert not isinstance(caught.value, ReplyError)
        assert len(server.attempts) <= ALIKE + 2 * 2  # those under way and those queued behind them
    assert "status" in str(caught.value) or behaviour in str(caught.value)


def test_one_answer_shows_that_the_server_takes_requests() -> None:
    with (
        ScriptedServer(lambda prompt, _: "ok" if prompt == "0" else "400") as server,
        open_model(server) as model,
    ):
        answers = list(complete_many(model, [ask(str(n)) for n in range(3 * ALIKE)]))
    assert sum("status 400" in answer.error for answer in answers) == 3 * ALIKE - 1


def test_failures_that_differ_are_those_of_their_requests() -> None:
    def plan(prompt: str, _: int) -> str:
        return "400" if int(prompt) % 2 else "422"

    with ScriptedServer(plan) as server, open_model(server, concurrency=1) as model:
        answers = list(complete_many(model, [ask(str(n)) for n in range(3 * ALIKE)]))
    assert len(answers) == 3 * ALIKE


def test_an_answer_elsewhere_is_paid_for_once_and_is_no_reply() -> None:
    message = {"content": None, "reasoning_content": "thoughts"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    raw = json.dumps({"choices": [{"message": message}], "usage": usage})
    with ScriptedServer(lambda *_: "raw", lambda *_: raw) as server, open_model(server) as model:
        with pytest.raises(
            ReplyError, match="the content is empty, and the text is in `reasoning_content`"
        ):
            model.complete(ask("hello"))
        assert sum(server.attempts.values()) == 1
        used = model.usage
    assert (used.attempts, used.replies, used.tokens, used.causes) == (1, 0, 10, {"no content": 1})


def test_usage_says_once_that_it_is_estimated() -> None:
    with ScriptedServer(lambda *_: "no usage") as server, open_model(server) as model:
        list(complete_many(model, [ask(str(n)) for n in range(3)]))
        line = str(model.usage)
    assert line.startswith("3 calls, 3 replies, 3 + ")
    assert line.count("the server did not count the tokens of 3 replies") == 1


def test_a_request_is_sent_whole() -> None:
    with (
        ScriptedServer(lambda *_: "ok") as server,
        open_model(server, token_limit="max_completion_tokens") as model,
    ):
        request = ask(
            "hello",
            temperature=0.7,
            top_p=0.9,
            max_tokens=33,
            sample=2,
            json_schema='{"type":"object"}',
        )
        model.complete(request)
        sent = server.bodies[0]
    assert sent["messages"] == [{"role": "user", "content": "hello"}]
    assert (sent["model"], sent["temperature"], sent["top_p"]) == ("some-model", 0.7, 0.9)
    assert (sent["max_completion_tokens"], sent["seed"]) == (33, request.sampler_seed)
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_retry_after_holds_back_everybody() -> None:
    with (
        ScriptedServer(
            lambda prompt, attempt: "429:0.6" if (prompt, attempt) == ("first", 0) else "ok"
        ) as server,
        open_model(server, concurrency=1) as model,
    ):
        answers = list(complete_many(model, [ask("first"), ask("second")]))
        arrivals = [moment for moment, _ in server.arrivals]
    assert [answer.error for answer in answers] == ["", ""]
    assert len(arrivals) == 3
    assert arrivals[1] - arrivals[0] >= 0.6
    assert arrivals[2] - arrivals[0] >= 0.6


def test_too_long_a_retry_after_ends_the_run() -> None:
    with (
        ScriptedServer(lambda *_: "429:3600") as server,
        open_model(server, longest_wait=5.0) as model,
    ):
        with pytest.raises(
            LanguageModelError, match="asks to wait 3600 s, longer than longest_wait = 5"
        ):
            model.complete(ask("hello"))
        assert sum(server.attempts.values()) == 1


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after(
        {"retry-after": formatdate(time.time() + 100, usegmt=True)}
    ) == pytest.approx(100, abs=3)
    assert retry_after({"retry-after": formatdate(time.time() - 100, usegmt=True)}) == 0.0
    assert [retry_after({"retry-after": text}) for text in ("soon", "nan", "inf", "")] == [None] * 4
    assert retry_after({}) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"choices": [{}]}', b"\xff", b"[" * 100_000, b'{"choices": "x"}'],
)
def test_what_is_no_completion_is_malformed(body: bytes) -> None:
    with pytest.raises(TryAgain) as caught:
        read_body(body)
    assert caught.value.cause == "malformed"
    assert len(str(caught.value)) < 500


def test_the_key_comes_from_the_environment_and_is_told_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_KEY", "secret-12345")
    with (
        ScriptedServer(lambda *_: "401") as server,
        open_model(server, key_variable="SHOP_KEY") as model,
    ):
        with pytest.raises(LanguageModelError, match="the key is not accepted") as caught:
            model.complete(ask("hello"))
        assert server.authorizations == {"Bearer secret-12345"}
        assert sum(server.attempts.values()) == 1
    assert "secret" not in str(caught.value)
    assert "[key]" in str(caught.value)
    with (
        ScriptedServer(lambda *_: "500") as server,
        open_model(server, key_variable="SHOP_KEY", attempts=2) as model,
        pytest.raises(ReplyError) as given_up,
    ):
        model.complete(ask("hello"))
    assert "[key]" in str(given_up.value)
    assert "secret" not in str(given_up.value)
    monkeypatch.setenv("SHOP_KEY", "")
    with pytest.raises(
        ConfigError, match="key_variable = 'SHOP_KEY', but that environment variable is empty"
    ):
        OpenAIModel(ServerConfig("http://127.0.0.1:1/v1", key_variable="SHOP_KEY"))


def test_no_other_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-12345")
    with ScriptedServer(lambda *_: "ok") as server, open_model(server) as model:
        model.complete(ask("hello"))
        assert server.authorizations == {"Bearer none"}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_token_budget_stops_cleanly(concurrency: int) -> None:
    each = PROMPT_TOKENS + COMPLETION_TOKENS
    kept = []
    with (
        ScriptedServer(lambda *_: "ok") as server,
        open_model(server, concurrency=concurrency, token_budget=35) as model,
    ):
        with pytest.raises(
            BudgetError, match=r"token_budget = 35 is spent \(\d+ tokens used\).*raise the budget"
        ):
            kept.extend(
                answer.index for answer in complete_many(model, [ask(str(n)) for n in range(20)])
            )
        assert 4 <= len(kept) <= 4 + concurrency - 1
        assert len(kept) == sum(server.attempts.values()) == model.usage.replies
        assert model.usage.tokens == each * len(kept)
        assert model.usage.cost((1e6, 2e6)) == len(kept) * (PROMPT_TOKENS + 2 * COMPLETION_TOKENS)


def test_the_request_rate_is_kept() -> None:
    with (
        ScriptedServer(lambda *_: "ok") as server,
        open_model(server, concurrency=4, requests_per_minute=600.0) as model,
    ):
        start = time.monotonic()
        assert len(list(complete_many(model, [ask(str(n)) for n in range(6)]))) == 6
        assert time.monotonic() - start >= 0.5  # the sixth may start 5 x 60 / 600 s after the first


def test_calls_overlap_up_to_the_limit() -> None:
    with (
        ScriptedServer(lambda *_: "slow:0.3") as server,
        open_model(server, concurrency=3) as model,
    ):
        assert len(list(complete_many(model, [ask(str(n)) for n in range(6)]))) == 6
        assert server.most_at_once == 3


def test_closing_wakes_who_waits() -> None:
    with ScriptedServer(lambda *_: "429:50") as server:
        model = open_model(server, concurrency=1)
        answers = complete_many(model, [ask("hello")])
        threading.Timer(0.5, model.close).start()
        start = time.monotonic()
        with pytest.raises(LanguageModelError, match="was closed"):
            next(answers)
        assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("timeout", -1.0),
        ("attempts", 0),
        ("requests_per_minute", 0.0),
        ("token_budget", 0),
    ],
)
def test_impossible_settings_name_themselves(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value}; it must be above 0"):
        OpenAIModel(ServerConfig("http://127.0.0.1:1/v1", **{name: value}))


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigError, match="base_url = 'localhost:8000'"):
        OpenAIModel(ServerConfig("localhost:8000"))


def test_nothing_heavy_is_loaded_before_a_model_is_opened() -> None:
    modules = (
        "language_model",
        "openai_model",
        "replies",
        "local_server",
        "prompts",
        "registry",
        "structured",
    )
    names = (*(f"language.{module}" for module in modules), "discovery.grounding")
    imports = "; ".join(f"import scoter.reasoning.{name}" for name in names)
    heavy = "{'openai', 'httpx2', 'torch', 'xllamacpp', 'sklearn'}"
    code = f"import sys; {imports}; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoter.reasoning.language.openai_model.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"needs the package openai.*pip install 'scoter\[llm\]'"):
        OpenAIModel(ServerConfig("http://127.0.0.1:1/v1"))
