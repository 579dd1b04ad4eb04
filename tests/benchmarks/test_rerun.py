"""A committed row is made again by its own recipe, and judged by what its tolerance says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import t

from benchmarks import rerun
from benchmarks.__main__ import main
from benchmarks.suite.collect import RESULTS
from benchmarks.suite.recipes import TODAY, stored_recipe
from scoter.config import REASONS, to_json
from scoter.errors import DataError

ROW = "simulated-lambda-1/popularity/0"


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, dict]:
    folder = tmp_path_factory.mktemp("rerun")
    arguments = ["rerun", ROW, "--out", str(folder), "--store", str(folder / "store")]
    done = CliRunner().invoke(main, arguments)
    (file,) = folder.glob("*.json")
    return done.exit_code, done.stdout, json.loads(file.read_text())


def test_a_row_is_reproduced_to_the_digits_that_are_printed(again: tuple[int, str, dict]) -> None:
    status, text, found = again
    assert status == 0
    assert re.search(r"ndcg@10 +0\.\d{4} +0\.\d{4} +0\.0001 +yes", text)
    assert found["kind"] == "counted"
    assert found["within"]
    assert found["again"]["peak_mib"] > 50
    for each in found["metrics"].values():
        assert each["again"] == pytest.approx(each["before"], abs=rerun.PRINTED)


def test_a_changed_row_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = rerun.committed(ROW)
    row["metrics"] = {**row["metrics"], "recall@5": row["metrics"]["recall@5"] + 2e-4}
    monkeypatch.setattr(rerun, "committed", lambda name, results: row)
    arguments = ["rerun", ROW, "--out", str(tmp_path), "--store", str(tmp_path / "store")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert re.search(r"recall@5 .* NO\n", done.stdout)


def test_every_row_of_the_page_has_its_own_recipe() -> None:
    names = rerun.shown()
    assert len(names) == len(set(names)) >= 80
    for name in names:
        row = rerun.committed(name)
        made = rerun.experiment_of_row(row)
        tree = json.loads(to_json(made))
        recipe = stored_recipe(json.loads(row["config"]))
        assert tree["methods"] == {row["method"]: recipe.pop("method")}
        assert all(tree[part] == recipe[part] for part in recipe if part not in TODAY)
        assert name.startswith(made.data.label)


def test_tolerances_are_those_of_a_plain_computation() -> None:
    groups: dict[tuple, list[float]] = {}
    for row in rerun.merged():
        if row["epochs"] and not row["dataset"].startswith("simulated"):
            recipe = str(stored_recipe(json.loads(row["config"])))
            key = (row["dataset"], row["method"], recipe)
            groups.setdefault(key, []).append(row["metrics"]["ndcg@10"])
    several = [np.array(values) / np.mean(values) for values in groups.values() if len(values) > 1]
    freedom = sum(map(len, several)) - len(several)
    deviation = np.sqrt(sum(values.var() * len(values) for values in several) / freedom)
    limits = rerun.tolerances()
    wanted = t.ppf(0.975, freedom) * np.sqrt(2) * deviation
    assert limits["trained"]["ndcg@10"] == pytest.approx(wanted)
    assert all(limits["device"][name] >= limits["trained"][name] for name in rerun.METRICS)
    assert set(limits) == set(rerun.KINDS)


def test_kinds_follow_epochs_shop_device_and_precision() -> None:
    row = {"dataset": "beauty", "epochs": 3, "versions": '{"device": "cpu", "precision": "bf16"}'}
    other = {**row, "versions": '{"device": "NVIDIA H200", "precision": "bf16"}'}
    single = {**row, "versions": '{"device": "cpu", "precision": "fp32"}'}
    assert rerun.kind_of(row) == rerun.kind_of(row, row) == "trained"
    assert rerun.kind_of(row, other) == rerun.kind_of(row, single) == "device"
    assert rerun.kind_of({**row, "epochs": 0}, other) == "counted"
    assert rerun.kind_of({**row, "dataset": "simulated-lambda-1"}, other) == "simulated"


def test_a_draw_is_the_same_for_everybody() -> None:
    done = CliRunner().invoke(main, ["rerun", "--draw", "3"])
    assert done.stdout.split() == rerun.drawn(3)
    assert set(rerun.drawn(3)) < set(rerun.shown())


def test_what_cannot_be_run_again_is_named() -> None:
    with pytest.raises(DataError, match="ROW='beauty/tigre/0' is no committed row"):
        rerun.committed("beauty/tigre/0")
    (name,) = (row["name"] for row in rerun.merged() if "smollm2" in row["name"])
    with pytest.raises(DataError, match="chains of a language model"):
        rerun.experiment_of_row(rerun.committed(name))


def test_kept_reruns_say_whether_they_are_within() -> None:
    files = sorted((RESULTS / rerun.FOLDER).glob("*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text())
        assert file.stem == found["name"].replace("/", "-")
        assert found["within"] == all(each["within"] for each in found["metrics"].values())


def test_a_row_of_other_reasons_names_the_commit_that_makes_it_again() -> None:
    row = rerun.committed("beauty/reasons-logit/0")
    config = json.loads(row["config"])
    rerun.check_reasons(row | {"config": json.dumps(config | {"reasons": REASONS})})
    with pytest.raises(DataError, match=f"check out {row['commit'][:12]} to make it again"):
        rerun.check_reasons(row | {"config": json.dumps(config | {"reasons": REASONS - 1})})
    rerun.check_reasons(rerun.committed("beauty/tiger/0"))
