"""Protocol B: the longer log, A's best epoch, nothing that was seen, and no look at test items."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import scoter
from scoter import pipeline
from scoter.config import (
    DataConfig,
    Experiment,
    FusionConfig,
    ItemKnnConfig,
    MethodConfig,
    PopularityConfig,
    SasrecConfig,
    SemanticIdConfig,
    SimulatedConfig,
    TextConfig,
    TigerConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from scoter.data.prepared import load_prepared, save_prepared
from scoter.data.simulated import simulate
from scoter.errors import ConfigError
from scoter.experiments import control
from scoter.models.training import loop
from scoter.recommenders.fitting import Training, fit_network
from scoter.stages import networks
from scoter.stages.finished import FinishedRun
from scoter.storage.store import Store
from scoter.types import InteractionLog, Step

DEPTH = 20
TRAINING = TrainingConfig(epochs=4, evaluate_every=1, patience=2, learning_rate=2e-2)
TINY = TigerConfig(dim=16, layers=1, heads=2, head_dim=8, feed_forward=16, max_items=12)
METHODS = {
    "tiger": MethodConfig(TINY, TRAINING),
    "scoter": MethodConfig(TINY, TRAINING, FusionConfig(heads=2)),
    "sasrec-ce": MethodConfig(SasrecConfig(dim=16), TRAINING),
    "item-knn": MethodConfig(ItemKnnConfig(repeats=True)),
    "popularity": MethodConfig(PopularityConfig()),
}
SHOP = Experiment(
    "shop",
    DataConfig("shop", protocol="B"),
    METHODS,
    TextConfig(fields=("title",)),
    SemanticIdConfig(source="cooccurrence", codebook_size=16, levels=1),
    pattern=(
        Step("recent_item", {"lag": 1, "field": "item"}),
        Step("likely_next", {"count": 3, "what": "item", "window": 3}),
    ),
    depth=DEPTH,
)


def run(folder: Path, store: Path, experiment: Experiment = SHOP) -> FinishedRun:
    made = pipeline.run(experiment, store=Store(store), data_dir=folder)
    return FinishedRun(Store(store), made)


def in_a(experiment: Experiment) -> Experiment:
    return replace(experiment, data=replace(experiment.data, protocol="A"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of sixty users."""
    made = simulate(SimulatedConfig(users=60, items_per_cell=2), 0)
    folder = tmp_path_factory.mktemp("data") / "shop"
    save_prepared(made.log, made.catalog, folder)
    return folder


@pytest.fixture(scope="module")
def finished(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run(shop, tmp_path_factory.mktemp("store"))


def test_only_test_users_are_measured(finished: FinishedRun) -> None:
    assert finished.outcome["dataset"] == "shop-b"
    for name, outcome in finished.outcome["methods"].items():
        assert set(outcome["metrics"]) == {"test"}
        assert all(set(entry) == {"epoch", "loss"} for entry in outcome["curve"])
        assert (finished.folder / "ranks" / f"{name}-test.parquet").exists()
        assert not (finished.folder / "ranks" / f"{name}-valid.parquet").exists()


def test_weights_are_those_of_the_longer_log_after_the_epochs_that_a_chose(
    finished: FinishedRun, shop: Path, tmp_path: Path
) -> None:
    before = run(shop, finished.store.root, in_a(SHOP))
    log = load_prepared(shop)[0]
    split = finished.split
    assert [split.train.sequence(user).tolist() for user in range(log.user_count)] == [
        log.sequence(user)[:-1].tolist() for user in range(log.user_count)
    ]
    for name in ("tiger", "scoter", "sasrec-ce"):
        best = before.outcome["methods"][name]["best_epoch"]
        trained = finished.method(name).weights
        assert before.method(name).weights.key in trained.manifest()["inputs"]
        assert finished.outcome["methods"][name]["epochs"] == best
        method = finished.method(name).config
        assert method.training.epochs == TRAINING.epochs
        model, reader, _ = networks.open_network(finished.context, method, finished.inputs)
        scratch = tmp_path / name
        scratch.mkdir()
        planned = replace(method.training, epochs=best)
        fit_network(model, split, reader, planned, Training(0, DEPTH, name, scratch))
        assert_equal(model.state_dict(), load_file(trained.file("weights.safetensors")))


def assert_equal(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def rankings(finished: FinishedRun, name: str) -> np.ndarray:
    place = list(finished.methods).index(name)
    keys = finished.artefact.manifest()["inputs"]
    ranked = [key for key in keys if (finished.store.root / "rank" / key[:16]).exists()][place]
    return networks.open_rankings(finished.store.find("rank", ranked), "test").items


@pytest.mark.parametrize("name", METHODS)
def test_rankings_are_the_whole_order_without_the_history(finished: FinishedRun, name: str) -> None:
    histories, count = finished.split.histories("test"), finished.data[1].item_count
    model, reader, _ = finished.method(name).trained()
    everything = model.recommend(histories, count, reader).items
    for row, found in enumerate(rankings(finished, name)):
        seen = histories.sequence(row).tolist()
        wanted = [item for item in everything[row].tolist() if item >= 0 and item not in seen]
        wanted = wanted[:DEPTH]
        assert found.tolist() == wanted + [-1] * (DEPTH - len(wanted))
        assert name == "popularity" or len(wanted) == DEPTH


def test_a_training_that_is_stopped_goes_on(
    finished: FinishedRun, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(SHOP, methods={"sasrec-ce": METHODS["sasrec-ce"]})
    run(shop, tmp_path, in_a(alone))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0)
        patched.setattr(loop.Descent, "set_rates", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(shop, tmp_path, alone)
    made: list[str] = []
    again = pipeline.run(alone, store=Store(tmp_path), data_dir=shop, say=made.append)
    assert [line.split()[1] for line in made if line.startswith("train")] == ["reused", "made"]
    weights = "weights.safetensors"
    trained = FinishedRun(Store(tmp_path), again).method("sasrec-ce").weights
    assert trained.key == finished.method("sasrec-ce").weights.key
    ours, theirs = (one.file(weights) for one in (trained, finished.method("sasrec-ce").weights))
    assert_equal(load_file(ours), load_file(theirs))


def stop_at_the_second(descent: loop.Descent, number: int) -> None:
    if number == 1:
        raise KeyboardInterrupt


def test_other_test_items_change_nothing_but_what_is_measured(
    finished: FinishedRun, shop: Path, tmp_path: Path
) -> None:
    log, catalog = load_prepared(shop)
    items = log.items.copy()
    ends = log.offsets[1:] - 1
    items[ends] = (items[ends] + 7) % catalog.item_count
    changed = InteractionLog(items, log.offsets, log.user_keys, log.times)
    save_prepared(changed, catalog, tmp_path / "shop")
    other = run(tmp_path / "shop", tmp_path / "store")
    assert other.made_from("prepare").key != finished.made_from("prepare").key
    for stage in ("semantic-ids", "chains"):
        ours, theirs = (one.made_from(stage).manifest()["files"] for one in (finished, other))
        assert ours == theirs
    for name in METHODS:
        assert np.array_equal(rankings(finished, name), rankings(other, name))
    for name in ("tiger", "scoter", "sasrec-ce"):
        made = (one.method(name).weights.manifest()["files"] for one in (finished, other))
        ours, theirs = (files["weights.safetensors"] for files in made)
        assert ours == theirs
    metrics = [one.outcome["methods"]["tiger"]["metrics"] for one in (finished, other)]
    assert metrics[0] != metrics[1]


def test_what_is_saved_keeps_its_training_part(finished: FinishedRun, tmp_path: Path) -> None:
    finished.model("popularity").save(tmp_path / "model")
    again = scoter.load(tmp_path / "model")
    ours, theirs = again.dataset.split.train, finished.split.train
    assert np.array_equal(ours.items, theirs.items)
    assert np.array_equal(ours.offsets, theirs.offsets)


def test_a_share_that_validation_chooses_is_refused(shop: Path, tmp_path: Path) -> None:
    mixed = {"mixed": control("control-mixed-scores", METHODS["tiger"])}
    with pytest.raises(ConfigError, match=r"mixed chooses the share.*set data\.protocol=A"):
        run(shop, tmp_path, replace(SHOP, methods=mixed))


def test_the_configuration_is_written_only_where_it_is_b(finished: FinishedRun) -> None:
    kept = json.dumps(finished.outcome["config"])
    assert '"protocol": "B"' in kept
    assert from_json(kept, Experiment) == SHOP
    assert "protocol" not in to_json(in_a(SHOP))
    assert from_json(to_json(in_a(SHOP)), Experiment) == in_a(SHOP)
