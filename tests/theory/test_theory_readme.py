"""The README of the theory says what the statements, the checks and the results say."""

import re
from pathlib import Path

import theory
from theory.verify import all_checks

FOLDER = Path(theory.__file__).parent
README = (FOLDER / "README.md").read_text()


def test_false_claims_are_those_of_the_statements_and_of_the_checks():
    told = re.findall(r"^\| (F\d+) \|", README, flags=re.MULTILINE)
    stated = re.findall(
        r"^\| (F\d+) \|", (FOLDER / "STATEMENTS.md").read_text(), flags=re.MULTILINE
    )
    assert told == stated == [check.id for check in all_checks() if check.id.startswith("F")]


def test_the_example_runs(capsys):
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    exec(code.group(1), {})
    assert "none" in capsys.readouterr().out
