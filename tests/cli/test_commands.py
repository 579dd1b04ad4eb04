"""`scoter ls | config | runs` and `--plugin`: what they list is what there is."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scoter.cli.main import main
from scoter.cli.settings import comments
from scoter.config import with_overrides
from scoter.experiments import EXPERIMENTS, experiment
from scoter.plugins import VARIABLE
from scoter.storage.store import Store


def scoter(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_ls_lists_every_experiment_once_below_its_dataset() -> None:
    rows = json.loads(scoter("ls", "--json"))
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    lines = scoter("ls").splitlines()
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads == list(dict.fromkeys(row["dataset"] for row in rows))
    assert sum(line.startswith("  ") for line in lines) == len(EXPERIMENTS)


@pytest.mark.parametrize("name", ["simulated-smoke", "beauty-scoter"])
def test_every_path_that_config_shows_can_be_set(name: str) -> None:
    rows = json.loads(scoter("config", name, "--json"))
    chosen = experiment(name)
    for row in rows:
        again = with_overrides(chosen, [f"{row['path']}={json.dumps(row['value'])}"])
        assert again == chosen, row["path"]
    shown = [line.partition("  #")[0].strip() for line in scoter("config", name).splitlines()]
    assert with_overrides(chosen, shown) == chosen
    assert len(shown) <= len(rows)


def test_config_shows_what_was_set() -> None:
    shown = scoter("config", "simulated-smoke", "--set", "methods.*.training.epochs=7")
    assert "methods.*.training.epochs=7" in shown


def test_a_comment_stands_beside_its_field() -> None:
    @dataclass
    class Shape:
        """A shape."""

        width: int = 1  # in metres
        label: str = "#1"
        kind: tuple[int, ...] = ()  # of corners

    @dataclass
    class Square(Shape):
        side: int = 1  # in feet

    assert comments(Shape) == {"width": "in metres", "label": "", "kind": "of corners"}
    assert comments(Square) == {**comments(Shape), "side": "in feet"}


def test_runs_are_listed_with_their_best_method(tmp_path: Path) -> None:
    assert "no finished runs" in scoter("runs", "--store", str(tmp_path))

    def build(out: Path, scratch: Path) -> None:
        keys = ("commit", "users", "items", "note", "full_data", "differences", "config")
        methods = {
            name: {"metrics": {"test": {"recall@10": recall}}}
            for name, recall in (("tiger", 0.25), ("scoter", 0.5), ("popularity", 0.125))
        }
        run = dict.fromkeys(keys, "") | {"experiment": "toys", "dataset": "toys", "seed": 3}
        (out / "run.json").write_text(json.dumps(run | {"methods": methods}))

    made = Store(tmp_path).stage("run", 1, {}, [], build)
    (row,) = json.loads(scoter("runs", "--store", str(tmp_path), "--json"))
    assert row["run"] == f"toys-s3-{made.key[:8]}"
    assert (row["best"], row["recall@10"], row["seed"]) == ("scoter", 0.5, 3)
    assert row["methods"] == ["tiger", "scoter", "popularity"]
    assert row["finished"] == made.manifest()["created"]
    assert row["run"] in scoter("runs", "--store", str(tmp_path))


def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    def build(out: Path, scratch: Path) -> None:
        test = {"metrics": {"test": {"recall@10": 0.5}}}
        keys = ("commit", "users", "items", "note", "full_data", "differences", "config")
        run = dict.fromkeys(keys, "") | {"experiment": "toys", "dataset": "toys", "seed": 3}
        (out / "run.json").write_text(json.dumps(run | {"methods": {"tiger": test}}))

    made = [Store(tmp_path).stage("run", 1, {"number": number}, [], build) for number in range(3)]
    for damaged, text in zip(made, ("{}", "no JSON"), strict=False):
        (damaged.path / "manifest.json").write_text(text)
    done = CliRunner().invoke(main, ["runs", "--store", str(tmp_path), "--json"])
    assert [row["run"] for row in json.loads(done.stdout)] == [f"toys-s3-{made[2].key[:8]}"]
    assert all(str(damaged.path) in done.stderr for damaged in made[:2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "--store", ""], "no path"),
        (["pilot", "simulated", "--out", "x", "--worth", "nan"], "no number"),
        (["pilot", "simulated", "--out", "x", "--worth", "0"], "not in the range"),
        (["reason", "simulated", "--out", "x", "--prices", "1", "inf"], "no number"),
        (["run", "simulated", "--set", "methods={}"], "leaves nothing to run"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code != 0, said in done.stderr) == (True, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["rnu", "simulated"], "run"),
        (["run", "simulated-smok"], "simulated-smoke"),
        (["config", "beuty"], "beauty"),
        (["config", "simulated", "--set", "data.max_user=3"], "max_users"),
        (["data", "show", "beuty"], "beauty"),
        (["ls", "--jsn"], "--json"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(arguments: list[str], nearest: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code != 0
    assert "ean" in done.stderr  # click says "Did you mean", or "(Possible options: ...)"
    assert nearest in done.stderr


def every_command() -> list[list[str]]:
    names = []
    for name, command in main.commands.items():
        below = command.commands if isinstance(command, click.Group) else {}
        names += [[name, inner] for inner in below] or [[name]]
    return names


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_every_command_has_short_help_json_and_each_option_once(command: list[str]) -> None:
    flags = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", scoter(*command, "-h"), re.M)
    assert "--json" in flags
    assert len(flags) == len(set(flags))


def test_a_plugin_is_imported_before_the_command_and_by_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("import os\nos.environ['MINE'] = 'imported'\n")
    code = (
        "import os, subprocess, sys, click; from scoter.cli.main import main\n"
        "@main.command()\n"
        "def probe():\n"
        "    child = 'import os; from scoter.plugins import load_plugins; load_plugins();'\n"
        '    child += \'print(os.environ.pop("MINE"), "in the child")\'\n'
        "    click.echo(os.environ.pop('MINE'))\n"
        "    subprocess.run([sys.executable, '-c', child], cwd='/')\n"
        "main()"
    )
    monkeypatch.delenv(VARIABLE, raising=False)
    command = [sys.executable, "-c", code, "--plugin", "mine.py", "--plugin", "json", "probe"]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    around = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["imported", "imported in the child"], done.stderr


def test_a_plugin_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    done = CliRunner().invoke(main, ["--plugin", "nowhere.py", "ls"])
    assert done.exit_code == 1
    assert "the plug-in" in done.stderr
    assert "cannot be imported" in done.stderr
