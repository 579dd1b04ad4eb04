"""docs/controls.md has a row for every arm, with the parameters that are counted."""

import re
from pathlib import Path

from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.parameters import count_parameters
from scoter.experiments import CONTROLS

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([\w-]+)` \| ([\d,]+) \|", re.MULTILINE)


def test_the_document_has_every_control_and_the_counted_parameters() -> None:
    written = {name: int(count.replace(",", "")) for name, count in ROW.findall((ROOT / "docs/controls.md").read_text())}
    assert set(written) == {*CONTROLS, "tiger", "tiger-meanpool", "scoter"}
    assert written == count_parameters()


def test_every_statement_that_the_document_cites_exists() -> None:
    stated = (ROOT / "theory/STATEMENTS.md").read_text()
    cited = set(re.findall(r"\b([TF]\d+|C\d+[a-z])\b", (ROOT / "docs/controls.md").read_text()))
    assert len(cited) >= 8
    assert {name for name in cited if f"**{name}" not in stated and f"| {name} |" not in stated} == set()


def test_the_command_prints_the_counts() -> None:
    printed = CliRunner().invoke(main, ["parameters"]).stdout
    assert printed.split("\n")[0].split() == ["tiger", "1,477,123"]
    assert "control-concatenation" in printed
