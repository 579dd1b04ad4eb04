"""The summary of the discovery benchmark, and that the committed results say what their rows
say."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from benchmarks.studies.discovery import (
    FILE,
    as_text,
    keep_model_run,
    measure,
    over_seeds,
    summarise,
)
from benchmarks.suite.collect import RESULTS
from scoter.errors import ConfigError


def test_the_interval_over_seeds_is_students() -> None:
    means = np.random.default_rng(0).normal(0.02, 0.01, size=7)
    found = over_seeds(
        [{"mean": mean, "low": mean - 0.015, "high": mean + 0.015} for mean in means.tolist()]
    )
    wanted = ttest_1samp(means, 0).confidence_interval()
    assert [found["low"], found["mean"], found["high"]] == pytest.approx(
        [wanted.low, means.mean(), wanted.high]
    )
    assert found["seeds_with_low_above_zero"] == (means > 0.015).sum()


def test_one_seed_keeps_its_own_interval() -> None:
    assert over_seeds([{"mean": 0.1, "low": -0.1, "high": 0.3}])["high"] == 0.3


def test_what_is_no_discovery_with_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pattern.json").write_text("{}")
    (tmp_path / "manifest.json").write_text('{"commit": "abc", "config": {"patterns": 3}}')
    with pytest.raises(
        ConfigError, match=r"is no discovery with a language model \(KeyError: 'discover'\)"
    ):
        keep_model_run(tmp_path, tmp_path)


def test_committed_results_are_those_of_their_rows() -> None:
    committed = json.loads((RESULTS / FILE).read_text())
    for outcome in committed.values():
        assert outcome["seeds"] == len(outcome["rows"])
        assert outcome["summary"] == summarise(outcome["rows"])
        assert f"{outcome['seeds']} seeds" in as_text(outcome)
        for row in outcome["rows"]:
            assert row["rivals"]["best generated"]["calls"] == row["calls"]
            assert {rival["calls"]["fresh"] for rival in row["rivals"].values()} == {
                row["calls"]["fresh"]
            }


def test_the_planted_pattern_is_found_and_mining_pays_on_the_simulated_shop() -> None:
    outcome = json.loads((RESULTS / FILE).read_text())["simulated from seed 20"]
    assert outcome["seeds"] == 10
    assert outcome["summary"]["recovered"] >= 9
    assert all(gain["low"] > 0 for gain in outcome["summary"]["gains"].values())
    assert all(row["recall"]["low"] < row["best_possible_recall"] for row in outcome["rows"])


def test_a_second_call_goes_on_from_the_seeds_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.studies import discovery
    from scoter.config import DiscoverConfig

    ran: list[int] = []
    gain = {"mean": 0.1, "low": 0.0, "high": 0.2}

    def one_seed(chosen: object, seed: int) -> dict[str, object]:
        ran.append(seed)
        if ran == [5, 6, 7]:
            raise KeyboardInterrupt
        rivals = {"random": {"ndcg_gain": gain}}
        return {"seed": seed, "recall": {"mean": seed}, "recovered": True, "rivals": rivals}

    monkeypatch.setattr(discovery, "one_seed", one_seed)
    config = DiscoverConfig(patterns=8)
    with pytest.raises(KeyboardInterrupt):
        measure(4, tmp_path, config, first_seed=5)
    assert measure(4, tmp_path, config, first_seed=5)["summary"]["recall"] == 6.5
    assert measure(1, tmp_path, config, first_seed=5)["seeds"] == 4
    assert ran == [5, 6, 7, 7, 8]
    measure(1, tmp_path, DiscoverConfig(patterns=9), first_seed=5)
    assert ran == [5, 6, 7, 7, 8, 5]
