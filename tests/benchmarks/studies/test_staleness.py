"""Old chains on the simulated shop, whose next purchase follows from the last two brands; and what
many chains cost."""

import json

import numpy as np
import pytest

from benchmarks.scale.chains import main as measure_chains
from benchmarks.studies.staleness import ages_read, recall_by_age
from scoter.config import SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.errors import ConfigError
from scoter.types import ReasoningPattern, Step


def vectors_of(texts) -> np.ndarray:
    """A fixed random direction for each word."""
    vectors = np.zeros((len(texts), 48), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(".", " ").split():
            vectors[row] += np.random.default_rng(list(word.encode())).normal(size=48)
    return vectors


@pytest.fixture(scope="module")
def shop():
    found = simulate(SimulatedConfig(users=1200, min_length=9, max_length=12), seed=0)
    return leave_one_out(found.log), found.catalog


def test_what_follows_from_the_last_two_purchases_is_lost_with_them(shop):
    split, catalog = shop
    pattern = ReasoningPattern(
        tuple(Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (2, 1))
    )
    rows = recall_by_age(
        split,
        catalog,
        pattern,
        vectors_of,
        vectors_of(catalog.columns["title"]),
        1000,
        seed=0,
        ages=(0, 1, 4),
    )
    fresh, newer, older = (row["recall"] for row in rows)
    assert [row["age"] for row in rows] == [0, 1, 4]
    assert {row["recall"]["users"] for row in rows} == {
        int((split.train.lengths >= 6).sum().clip(max=1000))
    }
    assert fresh["low"] > newer["high"]
    assert fresh["low"] > older["high"]
    for row in rows:
        lost = row["difference to age 0"]
        assert lost["mean"] == pytest.approx(row["recall"]["mean"] - fresh["mean"])
        assert lost["low"] <= lost["mean"] <= lost["high"]
    assert rows[1]["difference to age 0"]["high"] < 0


def test_ages_are_those_that_counting_gives(shop):
    split, _ = shop
    for distance in (1, 3, 9):
        lengths = split.train.lengths[split.valid.users].tolist()
        ages = [length - length // distance * distance for length in lengths if length >= distance]
        found = ages_read(split, distance)
        assert found["share_without"] == pytest.approx(1 - len(ages) / len(lengths))
        assert found["mean_age"] == pytest.approx(np.mean(ages))
        assert found["chains"] == sum((length + 1) // distance for length in lengths)


def test_chains_too_old_for_everybody_are_refused(shop):
    split, catalog = shop
    with pytest.raises(ConfigError, match="only 0 users have 52 training interactions"):
        recall_by_age(
            split,
            catalog,
            ReasoningPattern((Step("recommendation"),)),
            vectors_of,
            vectors_of(["a"]),
            ages=(0, 50),
        )


def test_many_chains_are_counted_and_timed(tmp_path):
    measure_chains((30,), "simulated", tmp_path)
    told = json.loads((tmp_path / "chains.json").read_text())
    assert [row["chains"] for row in told["rows"]] == [30]
    for row in told["rows"]:
        assert row["chains_per_second"] == pytest.approx(row["chains"] / row["seconds"])
        assert row["peak_mib"] >= row["data_peak_mib"] > 50
