"""Every stage makes what it made when its version was set, so a forgotten bump is noticed."""

import copy
import json
from pathlib import Path
from typing import Any

import golden_outputs
import pytest
from golden_outputs import FILE, RENEW, forgotten, outputs, problems

from scoter.stages.context import VERSIONS
from scoter.storage.store import Store

GOLDENS = json.loads(FILE.read_text())
MADE_WITH = {stage: golden["version"] for stage, golden in GOLDENS.items()}
ALIKE = copy.deepcopy(GOLDENS)
for alike in ALIKE.values():
    del alike["version"]


def test_every_stage_makes_what_its_version_made(tmp_path: Path) -> None:
    assert set(GOLDENS) == set(VERSIONS)
    assert problems(GOLDENS, outputs(Store(tmp_path / "store")), VERSIONS) == []


def with_change(stage: str, field: str, factor: float) -> dict[str, Any]:
    made = copy.deepcopy(ALIKE)
    for file in (file for artefact in made[stage]["made"] for file in artefact.values()):
        if field in file["close"]:
            file["close"][field] = [number * factor for number in file["close"][field]]
    return made


@pytest.mark.parametrize(
    ("stage", "field"),
    [("items", "vectors"), ("train", "weights"), ("rank", "scores"), ("chains", "vectors")],
)
def test_a_forgotten_bump_is_named_with_what_changed(stage: str, field: str) -> None:
    assert problems(GOLDENS, with_change(stage, field, 1.0001), MADE_WITH) == []
    [line] = problems(GOLDENS, with_change(stage, field, 1.05), MADE_WITH)
    assert f"the output of the stage {stage!r} changed ({field} of " in line
    assert f"bump VERSIONS[{stage!r}] in scoter/stages/context.py" in line
    assert RENEW in line


def test_whole_numbers_text_and_files_count_exactly() -> None:
    for change in ("exact", "file", "field", "artefact"):
        made = copy.deepcopy(ALIKE)
        files = made["discover"]["made"][0]
        if change == "exact":
            files["pattern.json"]["exact"] = "0" * 16
        elif change == "file":
            files["new.json"] = {"exact": "", "close": {}}
        elif change == "field":
            files["pattern.json"]["close"]["new"] = [0.0]
        else:
            made["discover"]["made"].append(files)
        [line] = problems(GOLDENS, made, MADE_WITH)
        assert "bump VERSIONS['discover']" in line


def test_what_follows_a_changed_stage_is_not_blamed() -> None:
    made = with_change("items", "vectors", 2)
    made["train"] = with_change("train", "weights", 2)["train"]
    [line] = problems(GOLDENS, made, MADE_WITH)
    assert "'items'" in line


def test_a_bumped_version_asks_for_a_new_golden_and_a_new_stage_for_its_first() -> None:
    made = with_change("rank", "scores", 2)
    bumped = {**MADE_WITH, "rank": MADE_WITH["rank"] + 1}
    [line] = problems(GOLDENS, made, bumped)
    was = MADE_WITH["rank"]
    assert f"VERSIONS['rank'] is {was + 1}, and its golden was made with {was}; renew" in line
    assert forgotten(GOLDENS, made, bumped) == []
    [line] = problems(GOLDENS, ALIKE, {**MADE_WITH, "new": 1})
    assert "the stage 'new' has no golden; add its output to golden_outputs.py" in line
    [line] = problems(GOLDENS, {**ALIKE, "new": ALIKE["rank"]}, {**MADE_WITH, "new": 1})
    assert f"the stage 'new' has no golden; make it with `{RENEW}`" in line


def test_a_renewal_does_not_hide_a_forgotten_bump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden_outputs, "FILE", tmp_path / "goldens.json")
    golden_outputs.FILE.write_text(FILE.read_text())
    monkeypatch.setattr(golden_outputs, "outputs", lambda store: with_change("rank", "scores", 2))
    with pytest.raises(SystemExit, match=r"nothing was renewed\nthe output of the stage 'rank'"):
        golden_outputs.main()
    assert golden_outputs.FILE.read_text() == FILE.read_text()
    monkeypatch.setattr(golden_outputs, "VERSIONS", {**VERSIONS, "rank": VERSIONS["rank"] + 1})
    golden_outputs.main()
    renewed = json.loads(golden_outputs.FILE.read_text())
    assert renewed["rank"]["version"] == VERSIONS["rank"] + 1
    assert {stage for stage in renewed if renewed[stage] != GOLDENS[stage]} == {"rank"}
