"""Loops side by side: their arguments, logs and ends."""

import json
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import benchmarks.__main__ as command
from benchmarks.suite import side_by_side as module
from benchmarks.suite.side_by_side import arguments_of, side_by_side


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of Python: it notes its arguments, then does what they say."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys, time\n"
        "print(json.dumps(sys.argv[1:]), flush=True)\n"
        "time.sleep(60 if 'wait' in sys.argv else 0)\n"
        "sys.exit(3 if 'fail' in sys.argv else 0)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(program))
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.05)
    return tmp_path


def test_each_loop_has_a_log_and_the_worst_status_is_returned(stand_in: Path) -> None:
    logs, looks = stand_in / "logs", []
    assert side_by_side(3, ["a"], logs, lambda: looks.append(1)) == 0
    told = [json.loads(log.read_text()) for log in sorted(logs.iterdir())]
    assert told == [["-u", "-m", "benchmarks", "run", "a"]] * 3
    assert looks
    assert side_by_side(2, ["fail"], logs) == 3


def test_an_end_from_outside_ends_every_loop(stand_in: Path) -> None:
    def look() -> None:
        if all(log.read_text() for log in (stand_in / "logs").iterdir()):
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(2, ["wait"], stand_in / "logs", look)
    assert time.monotonic() - began < 50


def test_arguments_are_those_given_but_for_what_is_changed() -> None:
    @click.command()
    @click.option("--only", multiple=True)
    @click.option("--budget-minutes", type=float)
    @click.option("--list", "only_list", is_flag=True)
    @click.option("--at-once", default=1)
    @click.pass_context
    def run(context: click.Context, **given: object) -> None:
        click.echo(json.dumps(arguments_of(context, at_once=1)))

    words = ["--only", "a/*", "--only", "b", "--at-once", "4"]
    said = CliRunner().invoke(run, words).output
    assert json.loads(said) == ["--only=a/*", "--only=b", "--at-once=1"]


def test_the_suites_command_starts_its_own_loops(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "--at-once", "2", "--only", "beauty/tiger/0", "--store", str(stand_in / "s")]
    done = CliRunner().invoke(command.main, words)
    assert done.exit_code == 0
    logs = stand_in / "s" / "logs"
    assert str(logs) in done.output
    for log in (logs / "loop-1.log", logs / "loop-2.log"):
        assert {"--only=beauty/tiger/0", "--at-once=1", f"--store={stand_in / 's'}"} <= set(
            json.loads(log.read_text())
        )
