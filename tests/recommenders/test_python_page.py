"""The lines of docs/python.md run as they stand."""

import re
from pathlib import Path

import pytest

import scoter


def test_the_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCOTER_STORE", str(tmp_path / "store"))
    names: dict = {}
    exec(compile(code, "docs/python.md", "exec"), names)
    shop, model, again = names["shop"], names["model"], names["again"]
    assert isinstance(model, scoter.SCoTER)
    assert again.recommend(shop.users[:3], k=5).equals(model.recommend(shop.users[:3], k=5))
    assert list(names["ours"].minus(names["theirs"]).columns) == ["mean", "low", "high"]
    assert "rank" in capsys.readouterr().out
