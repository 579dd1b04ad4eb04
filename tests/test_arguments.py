"""What a public function is given by mistake: one error that names the argument, the value and the
remedy, before any work is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import scoter
from scoter.cli.options import use_threads
from scoter.config import Experiment, check_heads
from scoter.errors import ConfigError, DataError, ScoterError
from scoter.reasoning.chains.requests import asked_steps

ROWS = pd.DataFrame({"user": "ann", "item": list("xyz"), "timestamp": [3, 1, 2]})
SMALL = {"dim": 16, "layers": 1, "heads": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def shop() -> scoter.Dataset:
    return scoter.load_dataset("simulated", users=60)


@pytest.fixture(scope="module")
def fitted(shop: scoter.Dataset) -> scoter.SASRec:
    return scoter.SASRec(**SMALL).fit(shop, epochs=1, progress=False)


REFUSED: dict[str, Callable[[Any, scoter.Dataset], object]] = {
    "part = 'validation'": lambda model, shop: scoter.evaluate(model, shop, part="validation"),
    "part = 'TEST'": lambda model, shop: scoter.evaluate(model, shop, part="TEST"),
    "seed = -1": lambda model, shop: scoter.evaluate(model, shop, seed=-1),
    "k = -1": lambda model, _: model.recommend(k=-1),
    "k = 2.5": lambda model, _: model.recommend(k=2.5),
    "k = nan": lambda model, _: model.recommend(k=float("nan")),
    "threads = -2": lambda _, shop: scoter.SASRec(**SMALL).fit(shop, threads=-2),
    "epochs = 0": lambda _, shop: scoter.SASRec(**SMALL).fit(shop, epochs=0),
    "seed = 1.5": lambda _, shop: scoter.SASRec(**SMALL).fit(shop, seed=1.5),
    "dataset = 'beauty'": lambda *_: scoter.SASRec(**SMALL).fit("beauty"),
    "pattern = ['likes']": lambda _, shop: scoter.write_chains(shop, ["likes"]),
    "limit = -1": lambda _, shop: scoter.write_chains(shop, scoter.ReasoningPattern(()), limit=-1),
    "items = 0": lambda _, shop: scoter.load_chains("nowhere", shop, items=0),
    "interactions = [1]": lambda *_: scoter.Dataset.from_pandas([1]),
    "items = {}": lambda *_: scoter.Dataset.from_pandas(ROWS, {}),
    "order = 'time'": lambda *_: scoter.Dataset.from_pandas(ROWS, order="time"),
    "duplicates = 'drop'": lambda *_: scoter.Dataset.from_pandas(ROWS, duplicates="drop"),
    "short_users = 'remove'": lambda *_: scoter.Dataset.from_pandas(ROWS, short_users="remove"),
    "min_events = 0": lambda *_: scoter.Dataset.from_pandas(ROWS, min_events=0),
    "users = -5": lambda *_: scoter.load_dataset("simulated", users=-5),
    "heads = 3": lambda *_: scoter.SASRec(dim=16, heads=3),
    "heads = 4": lambda *_: scoter.SCoTER(dim=18),
    "heads = 5": lambda *_: scoter.StructuredFusion(3, step_dim=4, dim=8, layers=1, heads=5),
    "users = 'shopper-0'": lambda model, _: model.recommend("shopper-0"),
    "history = 'item'": lambda model, _: model.recommend(histories=["item"]),
    "history = {'item'}": lambda model, _: model.recommend(histories=[{"item"}]),
    "models is a list": lambda model, shop: scoter.compare([model], shop),
    "'s' reads chains": lambda model, shop: scoter.compare(
        {"p": model, "s": scoter.SCoTER()}, shop
    ),
    "roles has 2 entries": lambda *_: scoter.StructuredFusion(3, 4, 8, 1, 2, roles=[0, 1]),
    "methods = {}": lambda *_: scoter.run("simulated-smoke", overrides=["methods={}"]),
    "depth = 5": lambda *_: scoter.run("simulated-smoke", overrides=["depth=5"]),
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_mistake_is_named(named: str, fitted: scoter.SASRec, shop: scoter.Dataset) -> None:
    with pytest.raises(ConfigError) as caught:
        REFUSED[named](fitted, shop)
    assert named in str(caught.value)


def test_numbers_of_numpy_are_numbers(fitted: scoter.SASRec, shop: scoter.Dataset) -> None:
    user = shop.users[:1]
    same = fitted.recommend(user, np.int64(3)), fitted.recommend(user, 3)
    pd.testing.assert_frame_equal(*same)
    pd.testing.assert_frame_equal(fitted.recommend((each for each in user), 3), same[0])


def test_validation_and_test_are_told_apart(fitted: scoter.SASRec, shop: scoter.Dataset) -> None:
    valid, test = (scoter.evaluate(fitted, shop, part=part) for part in ("valid", "test"))
    with pytest.raises(DataError, match="other users or parts"):
        valid.minus(test)
    with pytest.raises(DataError, match="no held-out item for part = 'test'"):
        scoter.evaluate(fitted, shop.without_test())


def test_checkpoints_are_of_one_training(shop: scoter.Dataset, tmp_path: Path) -> None:
    def trained(seed: int = 0, users: int = 60, **options: float) -> torch.Tensor:
        model = scoter.SASRec(**SMALL, **options)
        data = shop if users == 60 else scoter.load_dataset("simulated", users=users)
        model.fit(data, seed=seed, epochs=1, progress=False, checkpoints=tmp_path)
        return model.network.state_dict()["items.weight"]

    first = trained()
    others = (trained(seed=1), trained(users=59), trained(learning_rate=0.01))
    assert not any(other.shape == first.shape and torch.equal(first, other) for other in others)
    assert torch.equal(first, trained())
    assert len(list(tmp_path.iterdir())) == 4


def test_a_loss_that_is_no_number_ends_the_training(shop: scoter.Dataset) -> None:
    with pytest.raises(ConfigError, match=r"the loss of epoch . is nan.*learning_rate"):
        scoter.SASRec(**SMALL, learning_rate=1e30).fit(shop, epochs=3, progress=False)


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ([f"role {number}" for number in range(13)], "at most 12 items"),
        (["x" * 81], "at most 80 characters"),
        ([" "], "blank"),
        (["two\nlines"], "write them as"),
        ([], "give it at least one"),
    ],
)
def test_roles_that_no_reply_can_have(roles: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        asked_steps(scoter.ReasoningPattern(tuple(map(scoter.Step, roles))))


def test_a_model_is_asked_for_each_step_once() -> None:
    twice = (scoter.Step("likes"), scoter.Step("uses"), scoter.Step("likes"))
    with pytest.raises(DataError, match="2 steps 'likes'"):
        asked_steps(scoter.ReasoningPattern(twice))


@pytest.mark.parametrize("given", ["4,2", "3", "auto", "", "-1"])
def test_threads_of_the_environment(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    before = torch.get_num_threads()
    try:
        use_threads(None)
        if given[:1] in ("3", "4"):
            assert torch.get_num_threads() == int(given[0])
        assert torch.get_num_threads() >= 1
    finally:
        torch.set_num_threads(before)


def test_heads_that_share_the_width_are_taken() -> None:
    for heads in (1, 2, 4, 8):
        check_heads(heads, 8)
    assert isinstance(scoter.experiment("beauty-scoter"), Experiment)
    assert issubclass(ConfigError, ScoterError)
