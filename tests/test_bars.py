"""Bars show on a terminal alone, name what is under way, and leave nothing behind."""

import io
from contextlib import redirect_stderr

import pytest

from scoter import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_all() -> None:
    with progress.parts("export", 2) as begin:
        begin("opening")
        begin("hashing")
    with progress.under_way("train tiger"):
        progress.on_stderr("a line")
    with progress.counting("ranking", 5, "user") as note:
        note([1, 2, 3])
        note([4, 5])


def test_nothing_but_lines_is_shown_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    use_all()
    assert capsys.readouterr().err == "a line\n"


def test_a_terminal_shows_the_parts_and_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0)
    with redirect_stderr(Terminal()) as terminal:
        use_all()
    text = terminal.getvalue()
    for shown in ("export: opening", "export: hashing", "2/2", "train tiger ...", "ranking:"):
        assert shown in text
    assert text.endswith("\r")  # the last bar is wiped away


def test_what_is_counted_quickly_has_no_bar() -> None:
    with redirect_stderr(Terminal()) as terminal:
        for shown in (True, False):
            with progress.counting("ranking", 5, "user", shown) as note:
                note([1, 2])
    assert "ranking" not in terminal.getvalue()
