"""Two Ray workers leave the bytes that one process leaves."""

import importlib.util
import os
import subprocess
import sys

import pytest
from reason_command import arguments, bytes_of, chain_text, reason
from scripted_server import ScriptedServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the package ray is absent (extra 'ray')"),
]


def on_two_workers(given: list[str]) -> str:
    """The command in a process of its own, since Ray keeps threads and sockets for its own time."""
    command = [sys.executable, "-m", "scoter.cli", *map(str, given), "--engine", "ray", "--workers", "2"]
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=250)
    return done.stdout if done.returncode == 0 else done.stderr


def test_the_catalogue_reasoner_on_two_workers(tmp_path):
    shared = ["reason", "simulated", "--set", "data.simulated.users=60", "--store", tmp_path / "store", "--shard-rows", "40"]
    reason([*shared, "--json", "--out", tmp_path / "here"])
    on_two_workers([*shared, "--out", tmp_path / "ray"])
    assert len(bytes_of(tmp_path / "here")) > 8
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "here")


def test_a_language_model_on_two_workers(tmp_path):
    with ScriptedServer(lambda prompt, attempt: "ok", lambda prompt, attempt: chain_text(prompt)) as server:
        shared = ("--language-model", "any", "--base-url", server.base_url, "--shard-rows", "20")
        reason(arguments(tmp_path, tmp_path / "here", *shared))
        calls = server.attempts.total()
        said = on_two_workers(arguments(tmp_path, tmp_path / "ray", *shared, "--token-budget", "600"))
        assert "token_budget = 300 is spent" in said  # half of the budget each
        on_two_workers(arguments(tmp_path, tmp_path / "ray", *shared))
        assert server.attempts.total() == 2 * calls
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "here")
