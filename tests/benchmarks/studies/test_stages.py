"""Growth of every stage: what is measured, how exponents are fitted, and what the page shows."""

import numpy as np
import pytest

from benchmarks.scale import stages
from benchmarks.studies.study import Row, read, write
from benchmarks.tables.stages_page import FILE, exponents, page
from scoter.storage.store import git_commit


def test_a_size_multiplies_users_and_items_of_what_is_measured() -> None:
    rows = [stages.measure(stage, 2) for stage in ("data", "statistics", "chains", "semantic IDs")]
    for row in rows:
        assert (row["users"], row["items"]) == (2 * stages.SHOPPERS, 50)
        assert row["cpu_seconds"] > 0
        assert 0 < row["before_mib"] <= row["peak_mib"]


def test_exponents_are_those_of_the_law_and_intervals_hold_them_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(0)
    laws = {"exact": 0.0, **{f"draw {number}": 0.1 for number in range(400)}}
    rows: list[Row] = [
        {"stage": stage, "size": size, "s": 3 * size**1.5 * float(np.exp(noise * rng.normal()))}
        for stage, noise in laws.items()
        for size in stages.SIZES
    ]
    found = exponents(rows, "s")
    assert found.pop("exact") == pytest.approx((1.5, 1.5, 1.5))
    assert 0.92 < np.mean([low < 1.5 < high for low, _, high in found.values()]) < 0.98


def test_rows_of_this_commit_are_not_measured_again(tmp_path, monkeypatch) -> None:
    made: list[tuple[str, int]] = []

    def measured(stage: str, size: int) -> Row:
        made.append((stage, size))
        counts = {"users": 40, "items": 25, "interactions": 360}
        cost = {"cpu_seconds": 1.0 * size, "before_mib": 100.0, "peak_mib": 100 * size**0.5}
        return {"stage": stage, "size": size, **counts, **cost}

    monkeypatch.setattr(stages, "_in_a_process", measured)
    rows = stages.main((1, 4, 16), tmp_path)
    assert len(made) == len(rows) == 3 * len(stages.STAGES)
    assert {row["commit"] for row in rows} == {git_commit()}
    path = tmp_path / FILE
    write(path, [row for row in read(path, []) if (row["stage"], row["size"]) != ("chains", 4)])
    made.clear()
    assert stages.main((1, 4, 16), tmp_path) == rows
    assert made == [("chains", 4)]
    text = page(rows).markdown()
    assert text.count("1.00 [1.00, 1.00]") == text.count("0.50 [0.50, 0.50]") == len(stages.STAGES)
