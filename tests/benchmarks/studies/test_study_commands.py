"""Every study is a command: listed without being loaded, and helped by its module's docstring."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import STUDIES, main
from benchmarks.studies.study import merged, put, read, write


def test_help_lists_every_study_and_loads_none() -> None:
    code = (
        "import sys\nfrom benchmarks.__main__ import main\n"
        "main(['-h'], standalone_mode=False)\n"
        "loaded = [name for name in sys.modules if name.startswith('benchmarks.studies.')]\n"
        "print(loaded, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    assert last == "['benchmarks.studies.study'] False"
    listed = {line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "}
    assert {*STUDIES, "collect", "run", "tables", "controls", "documents", "report"} <= listed


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_study_says_what_it_measures(name: str) -> None:
    printed = CliRunner().invoke(main, [name, "-h"], catch_exceptions=False).output
    first = str(import_module(STUDIES[name]).__doc__).splitlines()[0]
    assert first in " ".join(printed.split())
    assert "--results" in printed


def test_a_results_file_keeps_what_is_measured_under_other_names(tmp_path: Path) -> None:
    path = tmp_path / "results" / "study.json"
    put(path, "simulated", {"seeds": 1})
    put(path, "beauty", {"seeds": 2})
    put(path, "simulated", {"seeds": 3})
    assert json.loads(path.read_text()) == {"beauty": {"seeds": 2}, "simulated": {"seeds": 3}}
    assert read(tmp_path / "none.json", []) == []
    with pytest.raises(TypeError):
        write(path, {"not JSON": object()})
    assert read(path, {})["beauty"] == {"seeds": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["study.json"]


def test_rows_of_equal_key_are_replaced_and_the_others_sorted() -> None:
    rows = [{"seed": 2, "place": 0}, {"seed": 0, "place": 1}, {"seed": 0, "place": 0}]
    assert merged(rows, [{"seed": 1, "place": 5}], ["seed"], ["place"]) == [
        {"seed": 0, "place": 0},
        {"seed": 0, "place": 1},
        {"seed": 1, "place": 5},
        {"seed": 2, "place": 0},
    ]
    assert merged(rows, [{"seed": 0, "place": 7}], ["seed"])[0] == {"seed": 0, "place": 7}
