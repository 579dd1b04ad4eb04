"""Who waits for discovery reads what is planned, how long it takes, and what is done."""

import time
from dataclasses import replace

import pytest

from scoter.config import DiscoverConfig
from scoter.models.backbones.popularity import Popularity
from scoter.progress import ProgressBars
from scoter.reasoning.discovery.mine import discover, planned_patterns
from scoter.types import Catalog, Split

CONFIG = DiscoverConfig(
    patterns=12, users=60, fresh_users=60, min_steps=2, max_steps=4, max_clusters=3, top_k=3
)


def test_the_estimate_comes_once_and_each_part_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines: list[str] = []
    bars = ProgressBars(lines.append, 30, "patterns", sample=2)
    bars("round 1", 0, 10)
    for done in (1, 2, 10):
        clock[0] += 4.0
        bars("round 1", done, 10)
    bars("fresh users", 0, 5)
    clock[0] += 6.0
    bars("fresh users", 5, 5)
    assert lines == [
        "discover: about 30 patterns to try",
        "discover: about 120 s in all",  # two took 8 s
        "round 1: 10 patterns, 12 s",
        "fresh users: 5 patterns, 6 s",
    ]


def counted(held_in: Split, catalog: Catalog) -> Popularity:
    return Popularity(held_in.train, catalog.item_count)


@pytest.mark.parametrize("rounds", [1, 2])
def test_every_pattern_is_counted_and_the_plan_is_near(plan_shop, encode, rounds: int) -> None:
    split, catalog = plan_shop
    config = replace(CONFIG, rounds=rounds)
    seen: list[tuple[str, int, int]] = []
    vectors = encode(catalog.columns["title"])
    given = (split, catalog, config, encode, vectors, 0, lambda held_in: counted(held_in, catalog))
    shown = discover(*given, lambda *told: seen.append(told))
    silent = discover(*given)
    assert shown.to_json() == silent.to_json()
    tried = sum(total for _, done, total in seen if done == total)
    assert tried == pytest.approx(planned_patterns(config), rel=0.5)
    assert {part for part, _, _ in seen} >= {"round 1", "fresh users"}
