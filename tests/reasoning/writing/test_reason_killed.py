"""A job that is killed again and again leaves the bytes of one that is not, and asks nothing twice
but what was under way."""

import random
import time

import pytest
from reason_command import arguments, bytes_of, chain_text, child_of, digest, rows_of
from scripted_server import ScriptedServer

CONCURRENCY = 4


def reply(prompt: str, attempt: int) -> str:
    """Of seven histories one is answered with prose at first, and one for good."""
    kind = int(digest(prompt), 16) % 7
    asked_again = "could not be used" in prompt
    return "Certainly!" if kind == 1 or (kind == 0 and not asked_again) else chain_text(prompt)


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_job_ends_as_an_uninterrupted_one(kills, tmp_path):
    rng = random.Random(kills)
    with ScriptedServer(lambda prompt, attempt: "ok", reply) as server:
        shared = (
            "--language-model",
            "any",
            "--base-url",
            server.base_url,
            "--concurrency",
            str(CONCURRENCY),
            "--shard-rows",
            "8",
        )
        whole, torn = tmp_path / "whole", tmp_path / "torn"
        child = child_of(arguments(tmp_path, whole, *shared))
        child.join(60)
        assert child.exitcode == 0
        calls = server.attempts.total()
        once = dict(server.attempts)
        assert max(once.values()) == 1
        server.attempts.clear()
        done = 0
        while done < kills:
            child = child_of(arguments(tmp_path, torn, *shared))
            wanted = min(server.attempts.total() + rng.randrange(calls // kills), calls - 1)
            while server.attempts.total() <= wanted and child.is_alive():
                time.sleep(0.001)
            time.sleep(rng.random() * 0.02)
            child.kill()
            child.join()
            assert child.exitcode == -9, "the job ended before it could be killed"
            done += 1
        child = child_of(arguments(tmp_path, torn, *shared))
        child.join(60)
        assert child.exitcode == 0
        assert bytes_of(torn) == bytes_of(whole)
        repeated = server.attempts.total() - calls
        assert set(server.attempts) == set(once)
        assert 0 <= repeated <= kills * CONCURRENCY
    outcomes = [row["outcome"] for row in rows_of(torn)]
    assert set(outcomes) == {"valid", "mended", "rejected"}


def test_a_finished_job_asks_nothing(tmp_path):
    with ScriptedServer(lambda prompt, attempt: "ok", reply) as server:
        given = arguments(
            tmp_path,
            tmp_path / "out",
            "--language-model",
            "any",
            "--base-url",
            server.base_url,
            "--limit",
            "20",
        )
        for _ in range(2):
            child = child_of(given)
            child.join(60)
            assert child.exitcode == 0
        assert max(server.attempts.values()) == 1
