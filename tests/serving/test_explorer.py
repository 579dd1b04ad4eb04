"""Users of an explorer: the lists are those that were measured, and a contribution is what another
model run says."""

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from wiped import Without

from scoter.cli.main import main
from scoter.evaluation.evaluator import load_user_metrics
from scoter.models.decoding.exact import log_likelihoods
from scoter.serving import explorer
from scoter.stages.finished import FinishedRun


@pytest.fixture(scope="module")
def explored(finished: Any) -> list[dict[str, Any]]:
    return json.loads(explorer.explore(*finished).file("explorer.json").read_text())


def test_the_truth_is_marked_where_the_ranks_say(
    finished: Any, explored: list[dict[str, Any]]
) -> None:
    _, run = finished
    rows = np.linspace(0, 59, explorer.SHOWN).astype(int)
    for method in ("popularity", "tiger", "scoter", "listed", "sasrec-ce-scoter"):
        ranks = load_user_metrics(run.file(f"ranks/{method}-test.parquet")).ranks[rows]
        for entry, rank in zip(explored, ranks.tolist(), strict=True):
            marked = [
                place
                for place, item in enumerate(entry["recommendations"][method], 1)
                if item["truth"]
            ]
            assert marked == ([rank] if 0 < rank <= explorer.ITEMS else [])
            if method in entry["read"]:
                assert entry["read"][method]["rank"] == (rank or None)
    assert {method for entry in explored for method in entry["read"]} == {
        "tiger-meanpool",
        "scoter",
        "listed",
        "sasrec-ce-scoter",
    }


def test_contributions_are_those_of_the_chain_that_the_test_read(
    finished: Any, explored: list[dict[str, Any]]
) -> None:
    store, run = finished
    opened = FinishedRun(store, run).method("scoter")
    split = opened.run.split
    network, reader, _ = opened.trained()
    network.precision = "fp32"
    histories, targets = (
        split.histories("test").select(np.arange(4)),
        split.targets("test").items[:4],
    )
    exact = log_likelihoods(network, histories, reader)
    for step, label in enumerate(explored[0]["read"]["scoter"]["steps"]):
        hidden = log_likelihoods(network, histories, Without(reader, step))
        for row in range(4):
            read = explored[row]["read"]["scoter"]
            assert read["truth"][step] == pytest.approx(
                float((exact - hidden)[row, targets[row]]), abs=2e-4
            ), label
    assert explored[0]["user"] == split.train.user_keys[0]


def test_a_user_is_explained_alike_whoever_else_is_shown(
    finished: Any, explored: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "SHOWN", 7)
    fewer = json.loads(explorer.explore(*finished).file("explorer.json").read_text())
    everyone = {entry["user"]: entry for entry in explored}
    rows = np.linspace(0, 59, 7).astype(int)
    assert [entry["user"] for entry in fewer] == [list(everyone)[row] for row in rows]
    for entry in fewer:
        whole = everyone[entry["user"]]
        for method, read in entry["read"].items():
            assert read["truth"] == pytest.approx(whole["read"][method]["truth"], abs=2e-4)
            lists = (shown["recommendations"][method] for shown in (entry, whole))
            for item, same in zip(*lists, strict=True):
                assert item["contributions"] == pytest.approx(same["contributions"], abs=2e-4)


def test_the_command_explores_and_says_when_it_cannot(finished: Any, tmp_path: Any) -> None:
    store, run = finished
    out = tmp_path / "run.html"
    made = CliRunner().invoke(
        main, ["show", "latest", "--report", str(out), "--store", str(store.root)]
    )
    assert made.exit_code == 0, made.output
    assert "What each step contributed, scoter, user" in out.read_text()
    copy = tmp_path / "store" / "run" / run.path.name
    copy.mkdir(parents=True)
    for path in run.path.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(run.path)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(run.path)).write_bytes(path.read_bytes())
    made = CliRunner().invoke(
        main, ["show", "latest", "--report", str(out), "--store", str(tmp_path / "store")]
    )
    assert made.exit_code == 0, made.output
    assert "without contributions" in made.stderr
    assert "has no finished" in made.stderr
    assert "What each step contributed, " not in out.read_text()
