"""`verify` holds as it stands, and sees a reversed inequality or a broken bound as exactly that."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import theory
from theory import bounds
from theory.__main__ import main
from theory.verify import Check, Comparison, Effort, all_checks, at_most, check, equal, run
from theory.verify import runner as runner_module

SMALL = Effort(joints=800, models=20, repetitions=300)
IDS = [
    *[
        "T1",
        "T2",
        "C2a",
        "C2b",
        "T3",
        "T4",
        "T5",
        "T6",
        "T7",
        "C7a",
        "T8",
        "T9",
        "T10",
        "T11",
        "H11b",
        "T12",
        "G1",
        "G2",
        "G3",
    ],
    *(f"T{i}" for i in range(13, 25)),
    *(f"F{i}" for i in range(1, 12)),
    *("W1", "W2"),
]


@pytest.fixture
def small(monkeypatch):
    """The command line at test size."""
    monkeypatch.setattr("theory.verify.QUICK", SMALL)


def test_every_id_holds_and_is_reported(small, capsys):
    assert main(["verify", "--quick", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert [row["id"] for row in report["results"]] == IDS
    assert all(row["ok"] and row["slack"] >= 0 and row["cases"] > 0 for row in report["results"])


def test_ids_are_those_of_the_statements():
    text = (Path(theory.__file__).parent / "STATEMENTS.md").read_text()
    for name in IDS:
        assert f"**{name}" in text or f"| {name} |" in text


@pytest.fixture(scope="module")
def compared():
    """Every check by its id, and what it compares, made once."""
    return {c.id: (c, list(c.run(SMALL))) for c in all_checks()}


def with_result(statement: Check, comparisons: list[Comparison]) -> Check:
    return replace(statement, run=lambda effort: comparisons)


@pytest.mark.parametrize("name", IDS)
def test_a_reversed_statement_fails(compared, name):
    one, comparisons = compared[name]
    assert not check(with_result(one, [c.reversed() for c in comparisons]), SMALL).ok


def test_one_reversed_inequality_is_seen_as_exactly_that(compared, monkeypatch, small, capsys):
    results = {name: comparisons for name, (_, comparisons) in compared.items()}
    results["T4"] = [c.reversed() for c in results["T4"]]
    checks = [with_result(one, results[name]) for name, (one, _) in compared.items()]
    monkeypatch.setattr(runner_module, "all_checks", lambda: checks)
    assert main(["verify", "--quick"]) == 1
    *_, count, failed = capsys.readouterr().out.splitlines()
    held = len(IDS) - 1
    assert count.startswith(f"{held} of {len(IDS)} statements hold, in ")
    assert "Slack: how far the closest case is from refuting a statement" in count
    assert failed == "Failed: T4"


@pytest.mark.parametrize(
    ("function", "broken", "failing"),
    [
        ("recall_ceiling_weak", lambda h, items, k: np.full(np.shape(h), 0.3), ["T5"]),
        ("hellman_raviv_constant", lambda k, items=None: 0.05, ["T6"]),
        ("table_excess", lambda cells, items, n: 1e-4, ["T11"]),
        ("xu_raginsky", lambda information, n: 0.1 * np.sqrt(information / n), ["T12"]),
        ("selection_optimism", lambda patterns, rows: 0.01, ["G2"]),
        ("best_of_n_kl", lambda n: 0.5 * np.log(n), ["G3"]),
        ("certified_information", lambda recall, base: 10.0, ["C7a"]),
    ],
)
def test_a_broken_bound_fails_its_own_statement(monkeypatch, function, broken, failing):
    monkeypatch.setattr(bounds, function, broken)
    checks = [
        c for c in all_checks() if c.id in ("T5", "T6", "T7", "C7a", "T11", "T12", "G2", "G3")
    ]
    assert [result.id for result in run(SMALL, checks) if not result.ok] == failing


def test_comparisons_keep_their_worst_slack():
    assert at_most([1.0, 2.0], [1.5, 2.25]).slack == 0.25
    assert not at_most(1.0, 0.9).ok
    assert equal(1.0, 1.0 + 1e-13).ok
    assert not equal(1.0, 1.0 + 1e-11).ok
    assert not at_most(float("nan"), 1.0).ok


@pytest.mark.slow
def test_the_full_run_holds():
    assert main(["verify", "--full"]) == 0
