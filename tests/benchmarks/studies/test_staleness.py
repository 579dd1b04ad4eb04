"""Old chains where the next purchase follows from the last one; and what many chains cost."""

import json

import numpy as np
import pytest

from benchmarks.scale.chains import main as measure_chains
from benchmarks.studies.staleness import ages_read, recall_by_age
from scoter.config import SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.errors import ConfigError
from scoter.types import Catalog, InteractionLog


@pytest.fixture(scope="module")
def shop():
    found = simulate(SimulatedConfig(users=1200, min_length=9, max_length=12), seed=0)
    return leave_one_out(found.log), found.catalog


def test_what_follows_from_the_last_purchase_is_lost_with_it():
    """Of 200 items the next one is the last one plus 11, 22, ... or 110."""
    rng, users, length = np.random.default_rng(0), 900, 9
    steps = 11 * rng.integers(1, 11, size=(users, length))
    items = (rng.integers(200, size=(users, 1)) + steps.cumsum(axis=1)) % 200
    keys = tuple(f"u{user}" for user in range(users))
    log = InteractionLog(items.ravel(), np.arange(users + 1) * length, keys)
    catalog = Catalog(tuple(f"i{item}" for item in range(200)))
    split = leave_one_out(log)
    rows = recall_by_age(split, catalog, None, 1000, seed=0, ages=(0, 1, 4))
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
        recall_by_age(split, catalog, None, ages=(0, 50))


def test_many_chains_are_counted_and_timed(tmp_path):
    measure_chains((30,), "simulated", tmp_path)
    told = json.loads((tmp_path / "chains.json").read_text())
    assert [row["chains"] for row in told["rows"]] == [30]
    for row in told["rows"]:
        assert row["chains_per_second"] == pytest.approx(row["chains"] / row["seconds"])
        assert row["peak_mib"] >= row["data_peak_mib"] > 50
