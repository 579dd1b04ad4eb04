"""A backbone and a fusion of a user's own run through the whole pipeline, chains and all."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import scoter
from scoter import pipeline
from scoter.config import (
    FusionConfig,
    MethodConfig,
    SimulatedConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from scoter.errors import ConfigError
from scoter.experiments import simulated_smoke
from scoter.models.backbones.item_scorer import ItemScorer
from scoter.plugins import BACKBONES, FUSIONS
from scoter.stages.finished import find_run
from scoter.storage.store import Store
from scoter.transfer.fusion import StructuredFusion

NAMES = ("mean", "mean@some-model-1.5b", "mean+backwards")


@dataclass(frozen=True)
class MeanConfig:
    kind: str = "mean"
    dim: int = 16
    max_items: int = 12


class Mean(ItemScorer):
    Config = MeanConfig

    def states(self, items: torch.Tensor) -> torch.Tensor:
        return self.vectors(items).cumsum(1) / torch.arange(1, items.shape[1] + 1)[:, None]


class Backwards(StructuredFusion):
    def encode(self, steps, mask, named=None):
        return super().encode(steps.flip(1), mask.flip(1), named)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKBONES, "registered", {})
    monkeypatch.setattr(FUSIONS, "registered", {})
    scoter.register_backbone("mean")(Mean)
    scoter.register_fusion("backwards")(Backwards)


@pytest.mark.usefixtures("registered")
def test_they_train_rank_and_are_found_under_names_with_dots(tmp_path: Path) -> None:
    shop, short = simulated_smoke(), TrainingConfig(epochs=1, evaluate_every=1)
    plain = MethodConfig(MeanConfig(), short)
    reads = [None, FusionConfig(), FusionConfig("backwards")]
    arms = {name: replace(plain, fusion=fusion) for name, fusion in zip(NAMES, reads, strict=True)}
    data = replace(shop.data, simulated=SimulatedConfig(users=60))
    store = Store(tmp_path)
    artefact = pipeline.run(replace(shop, data=data, methods=arms), store=store)
    run = json.loads((artefact.path / "run.json").read_text())
    assert list(run["methods"]) == list(NAMES)
    for name in NAMES:
        assert (artefact.path / "ranks" / f"{name}-test.parquet").exists()
        assert (artefact.path / "attention" / f"{name}.json").exists() is (name != "mean")
    recipe = store.find("train", run["artefacts"]["train"][NAMES[2]]).manifest()["config"]
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert recipe["plugins"] == {"mean": digest, "backwards": digest}
    opened = find_run(store, artefact.key)
    assert opened.experiment.methods == arms
    model, reader, table = opened.method(NAMES[1]).trained()
    assert reader is not None
    assert table is not None
    assert sum(parameter.numel() for parameter in model.parameters()) > 0


@pytest.mark.usefixtures("registered")
def test_the_configs_own_fields_are_checked_by_its_own_class() -> None:
    chosen = MethodConfig(MeanConfig(dim=8), fusion=FusionConfig("backwards"))
    assert from_json(to_json(chosen), MethodConfig) == chosen
    for wrong in ('"dim": "wide"', '"width": 3'):
        with pytest.raises(ConfigError, match=r"model\.(dim|width) = .* was refused"):
            from_json(f'{{"model": {{"kind": "mean", {wrong}}}}}', MethodConfig)
    with pytest.raises(ConfigError, match="'mea' is not a backbone"):
        from_json('{"model": {"kind": "mea"}}', MethodConfig)


@pytest.mark.usefixtures("registered")
def test_the_fused_reading_of_a_subclass_is_its_own() -> None:
    torch.manual_seed(0)
    fusion = Backwards(steps=3, step_dim=4, dim=8, layers=1, heads=2).eval()
    plain = StructuredFusion(steps=3, step_dim=4, dim=8, layers=1, heads=2).eval()
    plain.load_state_dict(fusion.state_dict())
    hidden, steps, mask = torch.randn(2, 8), torch.randn(2, 3, 4), torch.ones(2, 3).bool()
    mask[0, 0] = False
    wanted = plain.fuse(hidden, steps.flip(1), mask.flip(1))
    assert torch.equal(fusion.fuse(hidden, steps, mask), wanted)
