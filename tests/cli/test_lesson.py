"""A demonstration ends with what it can be read against."""

import json
from types import SimpleNamespace
from typing import Any, cast

from scoter.cli.lesson import WHOLE, lesson
from scoter.data.simulated import simulate
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


def test_the_quickstart_stands_beside_the_whole_benchmark() -> None:
    text = "\n".join(lesson(run("quickstart")))
    whole = json.loads(WHOLE.read_text())
    assert list(whole) == list(experiment("quickstart").methods)
    for name, found in whole.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert line.split()[1:] == [f"{value:.4f}" for value in found.values()]


def test_a_run_on_a_whole_benchmark_needs_no_lesson() -> None:
    assert lesson(run("beauty-scoter")) == []
