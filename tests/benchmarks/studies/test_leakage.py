"""The results file of leakage comes from the shared measurement."""

import json
from pathlib import Path

import pytest

from benchmarks.studies.leakage import measure
from benchmarks.tables.leakage_page import PARTS, page


@pytest.mark.timeout(120)
def test_a_dataset_is_measured_beside_the_others(tmp_path: Path):
    (tmp_path / "leakage.json").write_text('{"other": {"rows": []}}')
    measured = measure("simulated", seed=1, results=tmp_path)
    kept = json.loads((tmp_path / "leakage.json").read_text())
    assert set(kept) == {"other", "simulated"}
    assert kept["simulated"] == measured
    assert {row["part"] for row in measured["rows"]} == set(PARTS)
    assert page(measured).markdown().count("\n| ") == 3 * (
        1 + len({row["step"] for row in measured["rows"]})
    )


@pytest.mark.timeout(120)
def test_equally_informed_parts_agree_on_a_shop_that_does_not_change(tmp_path: Path):
    measured = measure("simulated", seed=1, results=tmp_path, equal=True)
    rows = [row for row in measured["rows"] if row["step"].startswith("recommendation")]
    assert [row["part"] for row in rows] == ["last-train", "valid", "test"]
    shares, error = [row["item"] for row in rows], max(row["item_error"] for row in rows)
    assert 0 < max(shares) - min(shares) < 5 * error
    assert "last training item | validation | test |" in page(measured).markdown()


def test_items_without_categories_have_no_table_of_them():
    shares = {"item": 0.25, "item_error": 0.01, "item_alike": 0.25, "item_alike_error": 0.01}
    row = {"step": "final", **shares, "category": None, "category_error": None}
    text = page({"rows": [{**row, "part": part} for part in PARTS]}).markdown()
    assert text.count("| final | .250 ± .010 |") == 2
    assert text.count("| step |") == 2
    assert text.endswith("The items have no category, so no step can name the target's.\n")
