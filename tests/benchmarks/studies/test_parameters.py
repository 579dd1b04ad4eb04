"""docs/controls.md has a row for every arm, with the parameters that are counted."""

import re
from pathlib import Path

from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.studies.parameters import count_parameters
from scoter.experiments import CONTROLS

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `([\w-]+)` \| ([\d,]+) \|", re.MULTILINE)


def test_the_document_has_every_control_and_the_counted_parameters() -> None:
    written = {
        name: int(count.replace(",", ""))
        for name, count in ROW.findall((ROOT / "docs/controls.md").read_text())
    }
    assert set(written) == {*CONTROLS, "tiger", "tiger-meanpool", "scoter"}
    assert written == count_parameters()


def test_every_statement_that_the_document_cites_exists() -> None:
    stated = (ROOT / "theory/STATEMENTS.md").read_text()
    cited = set(re.findall(r"\b([TF]\d+|C\d+[a-z])\b", (ROOT / "docs/controls.md").read_text()))
    assert len(cited) >= 8
    assert {
        name for name in cited if f"**{name}" not in stated and f"| {name} |" not in stated
    } == set()


def test_the_command_prints_the_counts() -> None:
    printed = CliRunner().invoke(main, ["parameters"]).stdout.splitlines()
    assert printed[0].split() == ["beauty", "tiger", "1,477,123"]
    concatenation = {
        line.split()[0]: int(line.split()[2].replace(",", ""))
        for line in printed
        if "concatenation" in line
    }
    # Two steps fewer: 832 numbers each that are projected to 128, and nothing else, since one slot
    # has one position.
    assert concatenation["beauty"] - concatenation["toys"] == 2 * 832 * 128
    assert not any(
        "toys" in line and line.split()[1] == "control-without-step-13" for line in printed
    )
