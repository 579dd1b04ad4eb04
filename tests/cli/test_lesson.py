"""A demonstration ends with what it can be read against."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scoter.cli.lesson import WHOLE, lesson
from scoter.config import with_overrides
from scoter.data.simulated import simulate
from scoter.errors import ConfigError
from scoter.experiments import experiment


def run(name: str, seed: int = 0) -> Any:
    outcome = {"experiment": name}
    return cast(Any, SimpleNamespace(experiment=experiment(name), seed=seed, outcome=outcome))


def test_the_simulated_shop_tells_its_exact_ceilings() -> None:
    config = experiment("simulated-smoke").data.simulated
    assert config is not None
    shop = simulate(config, 3)
    text = " ".join(lesson(run("simulated-smoke", seed=3)))
    assert f"{shop.best_recall(10):.3f}, and {shop.best_recall_unordered(10):.3f}" in text
    assert shop.best_recall(10) > shop.best_recall_unordered(10)


def test_a_shop_with_too_many_plans_for_its_ceiling_prints_none() -> None:
    big = run("simulated-smoke")
    big.experiment = with_overrides(
        big.experiment,
        ["data.simulated.brands=16", "data.simulated.plan_length=6", "data.simulated.min_length=8"],
    )
    with pytest.raises(ConfigError, match="plans"):
        simulate(big.experiment.data.simulated, 0).best_recall(10)
    assert lesson(big) == []


def test_the_quickstart_stands_beside_the_whole_benchmark() -> None:
    text = "\n".join(lesson(run("quickstart")))
    whole = json.loads(WHOLE.read_text())
    assert list(whole) == list(experiment("quickstart").methods)
    for name, found in whole.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert line.split()[1:] == [f"{value:.4f}" for value in found.values()]


def test_a_run_on_a_whole_benchmark_needs_no_lesson() -> None:
    assert lesson(run("beauty-scoter")) == []
