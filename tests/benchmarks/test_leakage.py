"""The results file of leakage comes from the shared measurement."""

import json
from pathlib import Path

import pytest

from benchmarks.leakage import main
from benchmarks.leakage_page import PARTS, as_markdown


@pytest.mark.timeout(120)
def test_a_dataset_is_measured_beside_the_others(tmp_path: Path):
    (tmp_path / "leakage.json").write_text('{"other": {"rows": []}}')
    measured = main("simulated", seed=1, results=tmp_path)
    kept = json.loads((tmp_path / "leakage.json").read_text())
    assert set(kept) == {"other", "simulated"}
    assert kept["simulated"] == measured
    assert {row["part"] for row in measured["rows"]} == set(PARTS)
    assert as_markdown(measured).count("\n| ") == 3 * (1 + len({row["step"] for row in measured["rows"]}))


@pytest.mark.timeout(120)
def test_equally_informed_parts_agree_on_a_shop_that_does_not_change(tmp_path: Path):
    measured = main("simulated", seed=1, results=tmp_path, equal=True)
    rows = [row for row in measured["rows"] if row["step"].startswith("recommendation")]
    assert [row["part"] for row in rows] == ["last-train", "valid", "test"]
    shares, error = [row["item"] for row in rows], max(row["item_error"] for row in rows)
    assert 0 < max(shares) - min(shares) < 5 * error
    assert "last training item | validation | test |" in as_markdown(measured)
