"""`scoter reproduce`: from a language model to a table, in one command that can be stopped."""

import json
from pathlib import Path

import pytest
from reason_command import chain_text, run_here
from scripted_server import ScriptedServer

SIZES = {
    "data.simulated.users": 160,
    "discover.users": 12,
    "discover.fresh_users": 12,
    "discover.sampling.samples": 2,
    "discover.max_clusters": 3,
    "methods.*.training.epochs": 1,
}


def command(server: ScriptedServer, folder: Path, *more: str) -> tuple[int, str, str]:
    settings = [part for name, value in SIZES.items() for part in ("--set", f"{name}={value}")]
    asked = (
        "--language-model",
        "any",
        "--base-url",
        server.base_url,
        "--limit",
        "20",
        "--methods",
        "tiger,scoter",
    )
    where = ("--store", str(folder / "store"), "--out", str(folder / "out"))
    return run_here("reproduce", "simulated", *settings, *asked, *where, *more)


def test_a_run_that_ran_out_of_tokens_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    def well(prompt: str, attempt: int) -> str:
        return "ok"

    with ScriptedServer(well, lambda prompt, attempt: chain_text(prompt)) as server:
        status, _, said = command(server, tmp_path, "--forecast")
        assert status == 0, said
        assert "to discover a pattern: 96 chains" in said
        assert "20 chains, about 20 calls" in said
        assert not server.attempts
        stops = 0
        while (ended := command(server, tmp_path, "--json", "--token-budget", "500"))[0]:
            assert "token_budget" in ended[2]
            assert stops < 10
            stops += 1
        asked = sum(server.attempts.values())
        again = command(server, tmp_path, "--json")
        assert sum(server.attempts.values()) == asked
    assert stops >= 2
    tables = [json.loads(output[1])["methods"] for output in (ended, again)]
    assert tables[0] == tables[1]
    assert list(tables[0]) == ["tiger", "scoter"]
    told = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    assert told["language model"] == "any"
    assert told["chains"] == 20
    assert (tmp_path / "out" / "report.html").exists()
    roles = json.loads((tmp_path / "out" / "pattern.json").read_text())["pattern"]["steps"]
    assert {step["role"] for step in roles} <= {"likes", "needs", "recommendation"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--language-model", "catalog"), "`scoter run simulated` reproduces with the catalogue"),
        (("--methods", "tiger,scotre"), "no method 'scotre'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, given: tuple[str, ...], expected: str) -> None:
    arguments = {"--language-model": "local", "--out": str(tmp_path), **dict([given])}
    flat = [part for pair in arguments.items() for part in pair]
    status, _, said = run_here("reproduce", "simulated", "--store", str(tmp_path / "s"), *flat)
    assert status == 1
    assert expected in said
