"""The lines of docs/python.md and of README.md run as they stand."""

import re
from pathlib import Path

import pytest
import torch

import scoter


def test_the_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCOTER_STORE", str(tmp_path / "store"))
    names: dict = {}
    for code in blocks:
        exec(compile(code, "docs/python.md", "exec"), names)
    scores = names["mine"](torch.zeros(400, 5, dtype=torch.long), names["steps"], names["mask"])
    assert scores.shape == (400, len(names["shop"].items))
    shop, model, again = names["shop"], names["model"], names["again"]
    assert isinstance(model, scoter.SCoTER)
    assert again.recommend(shop.users[:3], k=5).equals(model.recommend(shop.users[:3], k=5))
    assert list(names["ours"].minus(names["theirs"]).columns) == ["mean", "low", "high"]
    assert "rank" in capsys.readouterr().out


README = (Path(__file__).parents[2] / "README.md").read_text()


def printed_by_readme(capsys: pytest.CaptureFixture, *changes: tuple[str, str]) -> list[list[str]]:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.S | re.M)
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), {})
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_lines_of_the_readme_run_at_a_smaller_size(capsys: pytest.CaptureFixture) -> None:
    rows = printed_by_readme(capsys, ("users=1500", "users=150"), ('"epochs": 4', '"epochs": 1'))
    (shown,) = re.findall(r"^```\n( +mean.*?)^```", README, flags=re.S | re.M)
    assert [row[0] for row in rows] == [line.split()[0] for line in shown.splitlines()]


@pytest.mark.slow
def test_the_readme_shows_what_its_lines_print(capsys: pytest.CaptureFixture) -> None:
    rows = printed_by_readme(capsys)
    (shown,) = re.findall(r"^```\n( +mean.*?)^```", README, flags=re.S | re.M)
    for row, line in zip(rows[2:], shown.splitlines()[2:], strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx(
            [float(cell) for cell in line.split()[1:]], abs=0.03
        )
