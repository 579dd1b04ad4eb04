"""Replies on disk: what is written is found again, whatever cuts a shard short, and nothing is
asked for twice."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, complete_many

from scoter.errors import StoreError
from scoter.reasoning.language.language_model import Completion, CompletionRequest, Message
from scoter.reasoning.language.openai_model import OpenAIModel
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig

REQUEST = CompletionRequest(
    (Message("user", "Hello \N{SNOWMAN}?\n\u2028"),), "some-model", json_schema='{"type":"object"}'
)
ROWS = [
    (
        replace(REQUEST, sample=k),
        Completion(f"reply {k}\n\N{SNOWMAN}\ud800", "stop", k, k, '{"a":\n1}'),
    )
    for k in range(5)
]

GENERATION = """
import sys
from scoter.reasoning.language.language_model import CompletionRequest, Message, answer_many
from scoter.reasoning.language.openai_model import OpenAIModel
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig
numbers = range(int(sys.argv[3]))
requests = [CompletionRequest((Message("user", str(n)),), "some-model") for n in numbers]
with OpenAIModel(ServerConfig(sys.argv[1], concurrency=3)) as model:
    stored = RequestStore(sys.argv[2]).recording(model)
    for answer in answer_many(stored.complete, requests, stored.concurrency):
        print(answer.index, flush=True)
"""


class Counting:
    concurrency = 3

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()

    def complete(self, request: CompletionRequest) -> Completion:
        self.calls[request.sample] += 1
        return Completion(f"sample {request.sample}", "stop", 1, 1, "")


def filled(folder: Path) -> RequestStore:
    store = RequestStore(folder)
    for request, completion in ROWS:
        store.put(request, completion)
    return store


def test_what_is_put_is_got_by_this_process_and_the_next(tmp_path: Path) -> None:
    assert len(RequestStore(tmp_path)) == 0
    for store in (filled(tmp_path), RequestStore(tmp_path)):
        assert len(store) == 5
        assert [store.get(request) for request, _ in ROWS] == [completion for _, completion in ROWS]
        assert store.get(replace(REQUEST, sample=9)) is None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_second_process_adds_its_own_shard_and_the_first_reply_stays(tmp_path: Path) -> None:
    filled(tmp_path)
    second = RequestStore(tmp_path)
    second.put(REQUEST, Completion("another", "stop", 0, 0, ""))
    second.put(replace(REQUEST, sample=7), Completion("seven", "stop", 0, 0, ""))
    third = RequestStore(tmp_path)
    assert len(third) == 6
    assert third.get(REQUEST) == ROWS[0][1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_shard_cut_at_any_byte_gives_its_whole_lines_and_no_other(tmp_path: Path) -> None:
    filled(tmp_path / "whole")
    (shard,) = (tmp_path / "whole").iterdir()
    whole = shard.read_bytes()
    (tmp_path / "cut").mkdir()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    around_ends = [end + shift for end in ends for shift in (-1, 0, 1)]
    for length in sorted({*range(0, len(whole), 11), *around_ends, len(whole)}):
        (tmp_path / "cut" / "a.jsonl").write_bytes(whole[:length])
        store = RequestStore(tmp_path / "cut")
        assert len(store) == whole[:length].count(b"\n")
    found = [store.get(request) for request, _ in ROWS]
    assert found == [completion for _, completion in ROWS]


def test_an_altered_store_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    (shard,) = tmp_path.iterdir()
    whole = shard.read_bytes()
    shard.write_bytes(whole.replace(b'"model":"some-model"', b'"model":"same-model"'))
    with pytest.raises(StoreError, match=r"was altered at byte 0.*delete that file"):
        RequestStore(tmp_path).get(REQUEST)
    shard.write_bytes(b"not a reply\n" + whole)
    with pytest.raises(StoreError, match=r"holds no reply at byte 0.*'not a reply"):
        RequestStore(tmp_path)


def test_a_full_disk_is_an_error_that_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    write = os.write
    monkeypatch.setattr(
        os, "write", lambda descriptor, row: write(descriptor, row[: len(row) // 2])
    )
    with pytest.raises(StoreError, match=r"cannot be written.*what it holds is kept"):
        store.put(replace(REQUEST, sample=8), Completion("eight", "stop", 0, 0, ""))
    monkeypatch.undo()
    store.put(replace(REQUEST, sample=9), Completion("nine", "stop", 0, 0, ""))
    assert RequestStore(tmp_path).get(replace(REQUEST, sample=9)) == Completion(
        "nine", "stop", 0, 0, ""
    )
    assert len(RequestStore(tmp_path)) == 6


def test_recording_asks_for_each_request_once_and_replay_for_none(tmp_path: Path) -> None:
    model, requests = Counting(), [replace(REQUEST, sample=k) for k in range(20)]
    list(complete_many(RequestStore(tmp_path).recording(model), requests[:12]))
    recording = RequestStore(tmp_path).recording(model)
    answers = list(complete_many(recording, requests))
    assert recording.hits == 12
    assert set(model.calls.values()) == {1}
    assert len(model.calls) == 20
    replay = RequestStore(tmp_path).replay()
    replayed = list(complete_many(replay, requests))
    by_index = {answer.index: answer.reply for answer in answers}
    assert {answer.index: answer.reply for answer in replayed} == by_index
    assert replay.hits == 20


def test_replay_refuses_what_it_does_not_have(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(
        StoreError, match=r"holds 5 replies, none to request .*sample 77, 'Hello .*record it first"
    ):
        RequestStore(tmp_path).replay().complete(replace(REQUEST, sample=77))


@pytest.mark.timeout(200)
def test_a_killed_generation_repeats_at_most_the_calls_under_way(tmp_path: Path) -> None:
    with ScriptedServer(lambda *_: "slow:0.02") as server:
        arguments = [sys.executable, "-c", GENERATION, server.base_url, str(tmp_path), "30"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert len([child.stdout.readline() for _ in range(7)]) == 7
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        done = subprocess.run(arguments, capture_output=True, check=True)
        assert sorted(map(int, done.stdout.split())) == list(range(30))
        assert set(server.attempts) == {str(n) for n in range(30)}
        assert sum(server.attempts.values()) <= 30 + 3  # three calls at once
        with OpenAIModel(ServerConfig(server.base_url, attempts=1)) as model:
            recording = RequestStore(tmp_path).recording(model)
            list(
                complete_many(
                    recording,
                    [
                        CompletionRequest((Message("user", str(n)),), "some-model")
                        for n in range(30)
                    ],
                )
            )
            assert recording.hits == 30


def test_no_key_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "secret-12345")
    with (
        ScriptedServer(lambda *_: "ok") as server,
        OpenAIModel(ServerConfig(server.base_url, key_variable="SHOP_KEY")) as model,
    ):
        RequestStore(tmp_path).recording(model).complete(REQUEST)
        assert server.authorizations == {"Bearer secret-12345"}
    (shard,) = tmp_path.iterdir()
    assert b"secret" not in shard.read_bytes()
    assert json.loads(shard.read_bytes())["completion"]["text"].startswith("reply to Hello")


def test_stored_replies_have_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        list(complete_many(RequestStore(tmp_path / "replies").recording(Counting()), [REQUEST]))
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "replies").rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(tmp_path / "plain").stat().st_mode}
