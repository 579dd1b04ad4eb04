"""The large shop is what it says it is, and the plan's page is made of the committed results."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from large_shop import SOURCE, Size, lengths_of, write_raw

from benchmarks.scale.plan import costs, pages, parameters
from benchmarks.suite.collect import RESULTS
from scoter.data.official.prepare import k_core, prepare

SIZE = Size(interactions=8000, users=1200, items=300)


def test_preparing_leaves_the_five_core_of_what_was_written(tmp_path: Path) -> None:
    plain = write_raw(tmp_path, SIZE, seed=0)
    with gzip.open(tmp_path / SOURCE.files[0]) as file:
        lines = file.readlines()
    with gzip.open(tmp_path / SOURCE.files[1]) as file:
        assert plain == sum(map(len, lines)) + len(file.read())
    written = [json.loads(line) for line in lines]
    assert len(written) == SIZE.interactions
    users, user_numbers = np.unique(
        [review["reviewerID"] for review in written], return_inverse=True
    )
    items, item_numbers = np.unique([review["asin"] for review in written], return_inverse=True)
    assert len(users) == SIZE.users
    assert list(items) == sorted(items)
    keep = k_core(user_numbers, item_numbers, 5)
    log, catalog = prepare(SOURCE, tmp_path)
    assert len(log.items) == keep.sum() > 1000
    assert set(log.user_keys) == set(users[user_numbers[keep]])
    assert set(catalog.keys) == set(items[item_numbers[keep]])
    assert all(catalog.columns["title"])


def test_parameters_are_those_of_the_model() -> None:
    from benchmarks.speed.training import build
    from benchmarks.speed.work import BEAUTY_ITEMS, random_ids

    model = build(random_ids(BEAUTY_ITEMS, seed=0))
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(
        parameters(), rel=0.01
    )


def test_the_plan_is_made_of_the_committed_costs() -> None:
    growth, speed, chains, scale = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("growth", "speed", "chains", "scale")
    )
    cost = costs(growth, speed, chains, scale)
    product = f"{10**8 * cost['trie_bytes'] / 1e9:.3g} GB"
    each = f"{cost['trie_bytes']:.0f} bytes"
    assert f"| trie, stored | 1e+08 | {each} | {product} |" in pages()["serving"].markdown()
    assert all(value > 0 for value in cost.values())


def test_lengths_sum_to_the_interactions_and_three_in_ten_are_regular() -> None:
    lengths = lengths_of(Size(4000, 1000, 200), np.random.default_rng(0))
    assert (lengths.sum(), lengths.min(), (lengths >= 5).sum()) == (4000, 1, 300)
