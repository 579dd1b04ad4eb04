"""What was tried is kept as it came out; and the attempts themselves, in short, among the slow
tests."""

import json
from pathlib import Path

import pytest
from fuzz import mutated

from benchmarks.studies import reliability
from benchmarks.studies.reliability import FILE, SECTIONS, Section, keep, measure, pages
from scoter.errors import ConfigError


def test_a_section_that_failed_says_so(tmp_path: Path) -> None:
    keep(
        "kills",
        Section("Kills", "Said.", ("what", "count"), [["a|b", 12345]], False, ["one differs"]),
        tmp_path,
    )
    page = pages(tmp_path)["kills"].markdown()
    assert "| a\\|b | 12,345 |" in page
    assert "**Not all of it passed**" in page
    assert "--only kills" in page
    assert json.loads((tmp_path / FILE).read_text())["kills"]["commit"]


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(ConfigError, match=f"choose from: {', '.join(SECTIONS)}"):
        measure(["nothing"])


def test_without_the_harness_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliability, "HARNESS", tmp_path / "tests" / "faults")
    with pytest.raises(ConfigError, match=r"has no kills\.py; run from a checkout with its tests"):
        measure(["kills"], tmp_path)


def test_mutations_depend_on_the_seed_alone() -> None:
    import random

    content = json.dumps({"a": [1, "two"], "b": None}).encode()
    found = [[mutated(content, random.Random(seed)) for seed in range(50)] for _ in range(2)]
    assert found[0] == found[1]
    assert len(set(found[0])) > 40


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    from kills import kill_and_compare

    found = kill_and_compare(tmp_path, kills=3, seed=1)
    assert len(found["killed"]) == 3
    assert found["files"] > 50
    assert (found["different"], found["damaged"], found["crashed"], found["left"]) == (
        [],
        [],
        [],
        0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faults", "fuzz", "determinism"])
def test_a_quick_attempt_breaks_nothing(name: str, tmp_path: Path) -> None:
    section = measure([name], tmp_path, quick=True)[name]
    assert section.passed, section.notes
