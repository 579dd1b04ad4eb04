"""Estimators do what the pipeline does, answer for anybody, survive a fresh process, and see no
target."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import scoter
import scoter.stages.reasoning
from scoter import pipeline
from scoter.config import DiscoverConfig, FusionConfig
from scoter.data import prepared
from scoter.errors import ConfigError, DataError, StoreError
from scoter.experiments import simulated_smoke
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.prompts import HISTORY_CLOSES
from scoter.recommenders import patterns
from scoter.storage.store import Store

SMALL = {"dim": 16, "layers": 1, "heads": 2, "head_dim": 8, "feed_forward": 16, "max_items": 12}
BUDGET = {"epochs": 1, "evaluate_every": 1, "batch_targets": 256, "precision": "fp32"}
PATTERN = scoter.ReasoningPattern(
    tuple(scoter.Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (2, 1))
)


@pytest.fixture(scope="module", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOTER_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="module")
def shop() -> scoter.Dataset:
    return scoter.load_dataset("simulated", users=80)


@pytest.fixture(scope="module")
def chains(shop: scoter.Dataset) -> scoter.Chains:
    return scoter.write_chains(shop, PATTERN)


@pytest.fixture(scope="module")
def fitted(shop: scoter.Dataset, chains: scoter.Chains) -> scoter.SCoTER:
    return scoter.SCoTER(**SMALL, **BUDGET).fit(shop, chains, progress=False)


def test_an_estimator_is_the_pipeline_without_files(
    shop: scoter.Dataset, chains: scoter.Chains, tmp_path: Path
) -> None:
    chosen = simulated_smoke()
    arms = {
        name: replace(
            chosen.methods[name],
            model=replace(chosen.methods[name].model, **SMALL),
            training=replace(chosen.methods[name].training, **BUDGET),
        )
        for name in ("tiger", "scoter")
    }
    sized = replace(chosen.data, simulated=replace(chosen.data.simulated, users=80, order=1.0))
    run = pipeline.run(replace(chosen, data=sized, methods=arms), store=Store(tmp_path), seed=0)
    outcome = json.loads(run.file("run.json").read_text())
    for name, made in (("tiger", scoter.TIGER), ("scoter", scoter.SCoTER)):
        model = made(semantic_ids=chosen.semantic_ids, text=chosen.text)
        model.config = arms[name]
        model.fit(shop, chains if name == "scoter" else None, seed=0, progress=False)
        found = scoter.evaluate(model, shop).metrics["mean"]
        for metric, value in found.items():
            assert value == pytest.approx(outcome["methods"][name]["metrics"]["test"][metric])


def test_a_saved_model_recommends_the_same_in_a_fresh_process(
    fitted: scoter.SCoTER, shop: scoter.Dataset, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    code = (
        "import sys, scoter; m = scoter.load(sys.argv[1]);"
        "m.recommend(sys.argv[3:], k=5).to_parquet(sys.argv[2])"
    )
    users = shop.users[:4]
    told = [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "a.parquet")]
    subprocess.run([*told, *users], check=True)
    again = pd.read_parquet(tmp_path / "a.parquet")
    ours = fitted.recommend(users, k=5)
    assert ours.drop(columns="score").equals(again.drop(columns="score"))
    np.testing.assert_allclose(ours["score"], again["score"], atol=1e-4)
    with pytest.raises(StoreError, match="exists; name a new folder"):
        fitted.save(tmp_path / "model")
    with pytest.raises(StoreError, match="holds no saved recommender"):
        scoter.load(tmp_path)


def test_anybody_is_answered(fitted: scoter.SCoTER, shop: scoter.Dataset) -> None:
    table = shop.interactions
    whole = {user: rows["item"].tolist() for user, rows in table.groupby("user", sort=False)}
    user = shop.users[3]
    same = fitted.recommend(histories=[whole[user]], k=4)
    assert same["item"].tolist() == fitted.recommend([user], k=4)["item"].tolist()
    assert same["user"].tolist() == ["0"] * 4
    fresh = fitted.recommend([user], k=4, filter_seen=True)
    assert not set(fresh["item"]) & set(whole[user])
    assert fresh["rank"].tolist() == [1, 2, 3, 4]
    assert fitted.recommend(k=1)["user"].tolist() == shop.users


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"users": ["nobody"]}, "no user 'nobody'; its keys look like shopper-0"),
        ({"histories": [["nothing"]]}, "no item 'nothing'"),
        ({"histories": [[]]}, "history 0 is empty"),
        ({"users": ["shopper-0"], "histories": []}, "1 users and 0 histories"),
    ],
)
def test_what_cannot_be_asked_is_named(
    fitted: scoter.SCoTER, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted.recommend(**asked)


def test_what_cannot_be_fitted_is_named(shop: scoter.Dataset, chains: scoter.Chains) -> None:
    with pytest.raises(ConfigError, match="SCoTER reads chains, and chains is None"):
        scoter.SCoTER().fit(shop)
    with pytest.raises(ConfigError, match="TIGER reads no chains"):
        scoter.TIGER().fit(shop, chains)
    with pytest.raises(ConfigError, match="this TIGER was not fitted"):
        scoter.TIGER().recommend(["shopper-0"])
    with pytest.raises(ConfigError, match=r"option 'epoch' is unknown; choose from: .*epochs"):
        scoter.SASRec(epoch=3)
    with pytest.raises(ConfigError, match="backbone = 'bert' has no preset"):
        scoter.SCoTER("bert")
    with pytest.raises(ConfigError, match="source = 'item-text' is for measuring only"):
        scoter.SCoTER(fusion={"source": "item-text"})
    other = scoter.load_dataset("simulated", users=40)
    with pytest.raises(DataError, match="write chains of this dataset"):
        scoter.SCoTER(**SMALL, **BUDGET).fit(other, chains)


def test_other_chains_can_be_read_after_the_fit(
    fitted: scoter.SCoTER, shop: scoter.Dataset, chains: scoter.Chains
) -> None:
    usual = scoter.evaluate(fitted, shop).ranks.ranks
    np.testing.assert_array_equal(scoter.evaluate(fitted, shop, chains).ranks.ranks, usual)
    blank = replace(chains, vectors=np.zeros_like(chains.vectors))
    users = shop.users[:6]
    cut = [rows["item"].tolist()[:2] for _, rows in shop.interactions.groupby("user", sort=False)]
    asked = {"users": users, "histories": cut[:6]}
    before = fitted.recommend(**asked)["score"]
    other = fitted.with_chains(blank)
    assert np.abs(other.recommend(**asked)["score"] - before).max() > 1e-5
    np.testing.assert_array_equal(fitted.recommend(**asked)["score"], before)
    swapped = scoter.evaluate(fitted, shop, blank).ranks.ranks
    np.testing.assert_array_equal(swapped, scoter.evaluate(other, shop).ranks.ranks)


def test_chains_that_cannot_be_read_are_refused(
    fitted: scoter.SCoTER, shop: scoter.Dataset, chains: scoter.Chains
) -> None:
    shorter = scoter.write_chains(shop, scoter.ReasoningPattern(PATTERN.steps[:1]))
    with pytest.raises(ConfigError, match="another pattern than those it was fitted on"):
        scoter.evaluate(fitted, shop, shorter)
    with pytest.raises(ConfigError, match="Peeking reads no chains; leave `chains` out"):
        scoter.evaluate(Peeking(), shop, chains)
    with pytest.raises(ConfigError, match="Popularity reads no chains"):
        scoter.evaluate(scoter.Popularity().fit(shop), shop, chains)


class Peeking:
    """A recommender that looks for each user's last item wherever it can."""

    def fit(self, dataset: scoter.Dataset, *, seed: int = 0) -> "Peeking":
        last = dataset.interactions.groupby("user", sort=False)["item"].last()
        self.last, self.test = last.to_dict(), len(dataset.split.test)
        return self

    def recommend(self, users: Any = None, k: int = 10, *, histories: Any = None) -> pd.DataFrame:
        assert all(self.last[user] == seen[-1] for user, seen in zip(users, histories, strict=True))
        items = [self.last[user] for user in users]
        return pd.DataFrame({"user": users, "item": items, "score": 0.0, "rank": 1})


def test_no_recommender_can_see_a_target(shop: scoter.Dataset) -> None:
    model = Peeking()
    found = scoter.compare({"peeking": model, "popularity": scoter.Popularity()}, shop)
    assert model.test == 0
    repeats = (found["peeking"].ranks.ranks == 1).mean()
    targets, histories = shop.split.targets("test"), shop.split.histories("test")
    last = histories.items[histories.offsets[1:] - 1]
    assert repeats == (last == targets.items).mean() < 0.2
    gain = found["peeking"].minus(found["popularity"])
    assert gain.loc["recall@10", "low"] <= gain.loc["recall@10", "mean"]
    assert len(found["popularity"].per_user) == 80


def test_discovery_takes_the_users_there_are(
    shop: scoter.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    few = DiscoverConfig(patterns=4, users=40, fresh_users=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "DiscoverConfig", lambda: replace(few, users=60, fresh_users=60))
        found = scoter.discover(shop, seed=0)
    assert scoter.discover(shop, config=few, seed=0).pattern == found.pattern
    line = "discover: 40 users to choose on and 40 fresh ones, of 80"
    assert capsys.readouterr().err.splitlines()[0] == line


class Successor:
    """A language model that names the last item of the history it is shown."""

    concurrency = 1

    def __init__(self) -> None:
        self.asked = 0

    def complete(self, request: CompletionRequest) -> Completion:
        self.asked += 1
        prompt = request.messages[-1].content
        title = json.loads(prompt.split(f"\n{HISTORY_CLOSES}")[0].splitlines()[-1])
        steps = [{"role": step.label(), "text": f"It was {title}."} for step in PATTERN.steps]
        text = json.dumps({"steps": steps, "recommendations": [title]})
        return Completion(text, "stop", 10, 10, text)


def test_a_language_model_of_ones_own_writes_the_chains(tmp_path: Path) -> None:
    shop = scoter.load_dataset("simulated", users=12)
    model = Successor()
    chains = scoter.write_chains(shop, PATTERN, language_model=model, folder=tmp_path / "chains")
    names = dict(zip(shop.items["item"], item_names(shop.catalog), strict=True))
    table = shop.interactions.groupby("user", sort=False)["item"].apply(list)
    assert chains.model == "Successor"
    for user in shop.users[:4]:
        last = names[table[user][2]]
        assert chains.chain(user, 3).steps[0] == (f"It was {last}.",)
    asked = model.asked
    scoter.write_chains(shop, PATTERN, language_model=model, folder=tmp_path / "chains")
    assert model.asked == asked
    with pytest.raises(ConfigError, match="needs the address of its server"):
        scoter.write_chains(shop, PATTERN, language_model="some-model")


def test_a_method_of_a_run_is_an_estimator(tmp_path: Path) -> None:
    chosen = simulated_smoke()
    listed = replace(chosen.methods["scoter"], fusion=FusionConfig(source="other-user"))
    arms = {name: chosen.methods[name] for name in ("popularity", "tiger", "scoter")}
    tiny = ("data.simulated.users=60", "methods.*.training.epochs=1")
    run = scoter.run(
        replace(chosen, methods={**arms, "control-other-user": listed}),
        overrides=(*tiny, "methods.*.training.evaluate_every=1"),
        store=tmp_path / "store",
    )
    for name in arms:
        model = run.model(name)
        assert type(model).__name__.lower() == name
        reached = scoter.evaluate(model, model.dataset).metrics["mean"]
        np.testing.assert_allclose(reached, run.metrics.loc[name]["mean"], atol=0.02)
        model.save(tmp_path / name)
        again = scoter.load(tmp_path / name).recommend(["shopper-3"], k=4)
        assert again["item"].tolist() == model.recommend(["shopper-3"], k=4)["item"].tolist()
    with pytest.raises(ConfigError, match="is for measuring only"):
        run.model("control-other-user")


def test_a_run_reads_its_data_and_its_chains_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counted(module: ModuleType, name: str) -> None:
        read = getattr(module, name)

        def noted(folder: Path) -> object:
            reads.append(name)
            return read(folder)

        monkeypatch.setattr(module, name, noted)

    counted(prepared, "load_prepared")
    counted(scoter.stages.reasoning, "load_chains")
    quick = ("data.simulated.users=40", "methods.*.training.epochs=1")
    scoter.run("simulated-smoke", overrides=quick, store=tmp_path)
    assert sorted(reads) == ["load_chains", "load_prepared"]


def test_threads_that_ask_at_once_get_what_each_gets_alone(fitted: scoter.SCoTER) -> None:
    users = fitted.dataset.users
    parts = [users[start : start + 20] for start in range(0, 80, 20)] * 4
    alone = [fitted.recommend(part, k=5) for part in parts[:4]] * 4
    assert not fitted.network.training
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(fitted.recommend, parts, [5] * 16), alone, strict=True):
            pd.testing.assert_frame_equal(found, wanted)


def test_a_model_fitted_without_the_test_items_is_loaded_as_it_was(
    shop: scoter.Dataset, tmp_path: Path
) -> None:
    withheld = shop.without_test()
    for number, data in enumerate((shop, withheld)):
        model = scoter.Popularity().fit(data)
        model.save(tmp_path / str(number))
        loaded = scoter.load(tmp_path / str(number))
        pd.testing.assert_frame_equal(loaded.recommend(), model.recommend())
        for name in ("items", "offsets"):
            ours, kept = (getattr(each.dataset.split.train, name) for each in (loaded, model))
            np.testing.assert_array_equal(ours, kept)
        for part in ("valid", "test"):
            ours, kept = (each.dataset.split.targets(part) for each in (loaded, model))
            np.testing.assert_array_equal(ours.users, kept.users)
            np.testing.assert_array_equal(ours.items, kept.items)


def test_a_subclass_is_loaded_as_what_it_extends(shop: scoter.Dataset, tmp_path: Path) -> None:
    class Mine(scoter.Popularity):
        pass

    Mine().fit(shop).save(tmp_path / "mine")
    assert type(scoter.load(tmp_path / "mine")) is scoter.Popularity


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_model_is_named(fitted: scoter.SCoTER, damage: str, tmp_path: Path) -> None:
    fitted.save(tmp_path / "whole")
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) >= 6
    for number, path in enumerate(files):
        copied = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", copied)
        hurt = copied / path.relative_to(tmp_path / "whole")
        hurt.write_bytes(path.read_bytes()[:-9]) if damage == "cut" else hurt.unlink()
        with pytest.raises(StoreError, match=f"{path.name}|holds no saved recommender"):
            scoter.load(copied)


def test_epochs_of_one_fit_are_not_those_of_the_next(shop: scoter.Dataset) -> None:
    model = scoter.SASRec(dim=16, layers=1, heads=2, **{**BUDGET, "epochs": 1})
    counts = [model.fit(shop, progress=False, **more).log.epochs for more in ({"epochs": 2}, {})]
    assert counts == [2, 1]
