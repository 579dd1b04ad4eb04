"""The examples of docs/plug-ins.md run as written: the file, then the command lines."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "plug-ins.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M))
PROGRAMS = {"scoter": ["-m", "scoter.cli"], "python": []}


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], flags=re.S | re.M)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_runs_from_the_command_line(section: str, tmp_path: Path) -> None:
    """Each `$ command` ends well, and prints the lines that stand below it."""
    for code in blocks(section, "python"):
        (tmp_path / "mine.py").write_text(code)
        assert len(list(filter(None, code.splitlines()))) <= 15
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    surroundings = os.environ | {"SCOTER_STORE": str(tmp_path / "store"), "PYTHONPATH": paths}
    for block in blocks(section, "console"):
        for command in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, expected = command.partition("\n")
            program, *arguments = shlex.split(line)
            made = subprocess.run(
                [sys.executable, *PROGRAMS[program], *arguments],
                cwd=tmp_path,
                env=surroundings,
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
            for text in filter(None, map(str.strip, expected.splitlines())):
                assert text in made.stdout
