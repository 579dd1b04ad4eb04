"""What `--language-model` names, and language models that a plug-in adds."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
from reason_command import arguments, reason, rows_of, run_here

import scoter
from scoter.errors import ConfigError
from scoter.plugins import VARIABLE
from scoter.reasoning.language.language_model import Completion, CompletionRequest, Message
from scoter.reasoning.language.local_server import LOCAL_MODEL
from scoter.reasoning.language.registry import LANGUAGE_MODELS, choose_language_model
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig

SERVER = ServerConfig("http://127.0.0.1:1/v1")
PLUGIN = """
import json
import scoter
from scoter.reasoning.language.language_model import Completion

@scoter.register_language_model("echo-of-a-file")
class Echo:
    concurrency = 2

    def __init__(self, word, server):
        self.word = f"{word} {server.token_budget}"

    def complete(self, request):
        steps = [{"role": role, "text": f"{role}."} for role in ("likes", "needs")]
        text = json.dumps({"steps": steps, "recommendations": [self.word]})
        return Completion(text, "stop", 3, 2)
"""


@pytest.fixture
def registered():
    """What a test registers is gone after it."""
    before = dict(LANGUAGE_MODELS.registered)
    yield LANGUAGE_MODELS.registered
    LANGUAGE_MODELS.registered.clear()
    LANGUAGE_MODELS.registered.update(before)


@pytest.mark.parametrize(
    ("text", "server", "way", "name"),
    [
        ("local", ServerConfig(), "local", LOCAL_MODEL),
        ("qwen2.5:1.5b", SERVER, "server", "qwen2.5:1.5b"),
        ("local:latest", SERVER, "server", "local:latest"),
        ("server:some-model", SERVER, "server", "some-model"),
        ("echo:soap:bar", ServerConfig(), "echo", "echo:soap:bar"),
        ("echo", SERVER, "echo", "echo"),
    ],
)
def test_a_text_names_an_entry_or_a_model_of_the_server(text, server, way, name, registered):
    scoter.register_language_model("echo")(lambda rest, server: None)
    choice = choose_language_model(text, server)
    assert (choice.way, choice.name, choice.small) == (way, name, way == "local")


def test_what_cannot_be_opened_is_refused(registered) -> None:
    assert choose_language_model("catalog") is None
    assert choose_language_model("any", offline=True).name == "any"
    for text in ("catalog", "local"):
        with pytest.raises(ConfigError, match=f"{text} has no use for --base-url http://127"):
            choose_language_model(text, SERVER)
    with pytest.raises(ConfigError, match=r"lokal needs .*--base-url.*Did you mean 'local'\?"):
        choose_language_model("lokal")
    registered["none"] = lambda rest, server: 3
    with (
        pytest.raises(ConfigError, match="'none:x' gives a int, which lacks complete"),
        choose_language_model("none:x").open(),
    ):
        pass


def test_a_context_manager_is_closed_and_replies_are_counted(tmp_path: Path, registered) -> None:
    class Twice:
        concurrency = 1

        def complete(self, request: CompletionRequest) -> Completion:
            return Completion(request.messages[0].content * 2, "stop", 4, 8)

    events = []

    @scoter.register_language_model("twice")
    @contextmanager
    def twice(rest, server):
        events.append(rest)
        yield Twice()
        events.append("closed")

    request = CompletionRequest((Message("user", "soap "),), "twice:x")
    with choose_language_model("twice:x").recording(RequestStore(tmp_path)) as model:
        assert [model.complete(request).text for _ in range(2)] == ["soap soap "] * 2
        assert (model.usage.replies, model.usage.tokens, model.hits) == (1, 12, 1)
    assert events == ["x", "closed"]


def test_a_file_adds_a_language_model_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.setenv(VARIABLE, os.fspath(tmp_path / "mine.py"))
    given = ("--language-model", "echo-of-a-file:soap", "--token-budget", "9", "--limit", "12")
    made = reason(arguments(tmp_path, tmp_path / "out", *given))
    assert made["outcomes"]["valid"] == 12
    assert (made["usage"]["replies"], made["usage"]["prompt_tokens"]) == (12, 36)
    rows = rows_of(tmp_path / "out")
    assert {row["model"] for row in rows} == {"echo-of-a-file:soap"}
    assert {tuple(row["recommendations"]) for row in rows} == {("soap 9",)}
    status, _, err = run_here(*arguments(tmp_path, tmp_path / "other", "--language-model", "ehco"))
    assert status == 1
    assert "choose from: catalog, local, echo-of-a-file" in err
    assert json.loads((tmp_path / "out" / "job.json").read_text())["model"] == "echo-of-a-file:soap"
