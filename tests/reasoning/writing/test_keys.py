"""The key of a language model's server reaches the server and nothing else: no file, no line of
output, no error."""

from pathlib import Path

import pytest
from reason_command import arguments, chain_text, digest, rows_of, run_here
from scripted_server import ScriptedServer

KEY = "sk-fake-0123456789abcdef"


def behaviour(prompt: str, attempt: int) -> str:
    """Some histories are never answered, and one is refused; both replies tell the key back, as
    some proxies do."""
    return {0: "500", 1: "500" if attempt == 1 else "ok"}.get(int(digest(prompt), 16) % 5, "ok")


def test_nothing_that_a_run_writes_or_says_holds_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    said = ""
    with ScriptedServer(behaviour, lambda prompt, attempt: chain_text(prompt)) as server:
        given = (
            "--language-model",
            "any",
            "--base-url",
            server.base_url,
            "--key-variable",
            "SHOP_KEY",
        )
        patience = ("--attempts", "2", "--first-pause", "0.001")
        for more in (
            (*given, *patience),
            (*given, *patience, "--retry-unanswered"),
            ("--language-model", "any", "--export-batch", "b"),
        ):
            status, out, err = run_here(*arguments(tmp_path, tmp_path / "out", *more))
            assert status == 0, err
            said += out + err
        assert server.authorizations == {f"Bearer {KEY}"}
    with ScriptedServer(lambda *_: "401") as server:
        given = (
            "--language-model",
            "any",
            "--base-url",
            server.base_url,
            "--key-variable",
            "SHOP_KEY",
        )
        status, out, err = run_here(*arguments(tmp_path, tmp_path / "refused", *given))
        assert status == 1
        said += out + err
    assert {"unanswered", "valid"} <= {row["outcome"] for row in rows_of(tmp_path / "out")}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [
        path for path in files if KEY.encode() in path.read_bytes() or KEY[4:] in path.name
    ] == []
    assert KEY not in said
    assert "[key]" in said or any("[key]" in row["reason"] for row in rows_of(tmp_path / "out"))
