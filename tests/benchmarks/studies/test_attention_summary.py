"""What users' gates and attention come to, against numbers made here."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.studies.attention import measure
from scoter.errors import DataError


def finished(folder, seed=0, commit="a" * 40, gate=(0.0, 1.0), data=None):
    (folder / "attention").mkdir(parents=True)
    run = {
        "dataset": "beauty",
        "seed": seed,
        "commit": commit,
        "config": {"data": data or {}, "chains": {}},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "manifest.json").write_text(json.dumps({"key": folder.name}))
    (folder / "attention" / "scoter.json").write_text(json.dumps({"roles": ["likes", "nothing"]}))
    attention = np.array([[0.25, 0.75], [0.75, 0.25]], np.float16)
    values = {"gate": np.array(gate, np.float16), "attention": attention}
    save_file(values, folder / "attention" / "scoter.safetensors")
    return folder


def test_means_and_intervals_are_those_of_the_users(tmp_path):
    rows = measure([finished(tmp_path / "run", gate=(0.5, 0.5))], tmp_path)
    found = {row["slot"]: row for row in rows}
    assert {slot: row["mean"] for slot, row in found.items()} == {
        "likes": 0.5,
        "nothing": 0.5,
        "gate": 0.5,
    }
    assert (found["gate"]["low"], found["gate"]["high"]) == (0.5, 0.5)
    assert (found["likes"]["low"], found["likes"]["high"]) == (0.25, 0.75)
    assert [row["kind"] for row in rows] == ["attention", "attention", "gate"]
    assert {row["run"] for row in rows} == {"run"}


def test_a_seed_is_replaced_and_another_one_stays(tmp_path):
    measure([finished(tmp_path / "a"), finished(tmp_path / "b", seed=1)], tmp_path)
    measure([finished(tmp_path / "d"), finished(tmp_path / "c", gate=(1.0, 1.0))], tmp_path)
    rows = json.loads((tmp_path / "attention.json").read_text())["rows"]
    assert [(row["run"], row["mean"]) for row in rows if row["kind"] == "gate"] == [
        ("c", 1.0),
        ("b", 0.5),
    ]


def test_unfinished_dirty_and_chainless_runs_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no finished run"):
        measure([tmp_path / "none"], tmp_path)
    with pytest.raises(DataError, match="uncommitted changes"):
        measure([finished(tmp_path / "dirty", commit="a" * 40 + "+dirty")], tmp_path)
    run = finished(tmp_path / "run")
    for path in (run / "attention").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no method of it reads chains"):
        measure([run], tmp_path)
    assert not (tmp_path / "attention.json").exists()
