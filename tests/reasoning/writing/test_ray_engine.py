"""Questions that Ray's HTTP processor asks lead to the bytes of one process."""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from reason_command import arguments, bytes_of, chain_text, reason, rows_of
from scripted_server import ScriptedServer

sys.path.append(str(Path(__file__).parents[2]))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the package ray is absent (extra 'ray')"
    ),
]


def on_two_workers(given: list[str], **kill: Callable[[], bool]) -> str:
    from ray_worker import on_ray

    return on_ray(["-m", "scoter.cli.main", *given, "--engine", "ray", "--workers", "2"], **kill)


def test_a_language_model_on_two_workers(tmp_path):
    with ScriptedServer(
        lambda prompt, attempt: "ok", lambda prompt, attempt: chain_text(prompt)
    ) as server:
        shared = ("--language-model", "any", "--base-url", server.base_url, "--shard-rows", "20")
        reason(arguments(tmp_path, tmp_path / "here", *shared))
        calls = server.attempts.total()
        said = on_two_workers(
            arguments(tmp_path, tmp_path / "ray", *shared, "--token-budget", "600")
        )
        assert "token_budget = 600 is spent" in said, said
        on_two_workers(arguments(tmp_path, tmp_path / "ray", *shared))
        assert 2 * calls <= server.attempts.total() <= 2.5 * calls  # some were under way
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "here")


def test_a_killed_worker_loses_and_doubles_nothing(tmp_path):
    def slowly(prompt: str, attempt: int) -> str:
        time.sleep(0.05)
        return chain_text(prompt)

    with ScriptedServer(lambda prompt, attempt: "ok", slowly) as server:
        shared = ("--language-model", "any", "--base-url", server.base_url, "--shard-rows", "5")
        reason(arguments(tmp_path, tmp_path / "here", *shared))
        given = arguments(tmp_path, tmp_path / "ray", *shared)
        on_two_workers(given, begun=lambda: any((tmp_path / "ray").glob("replies/*.jsonl")))
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "here")
    rows = rows_of(tmp_path / "ray")
    assert (
        len({(row["user"], row["prefix_length"], row["sample"]) for row in rows}) == len(rows) > 40
    )
