"""A stage's key names what made its output: device, precision, columns and the method's name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scoter.config import Experiment, MethodConfig, SasrecConfig, TextConfig, with_overrides
from scoter.errors import ConfigError
from scoter.experiments import experiment
from scoter.stages import data, models
from scoter.stages.context import Context
from scoter.stages.discovery import discover_pattern
from scoter.stages.networks import Inputs
from scoter.storage.store import Artefact, Store

SHOP = with_overrides(
    experiment("simulated-controls-all"),
    ("data.simulated.users=60", "semantic_ids.source=cooccurrence", "methods.*.training.epochs=1"),
)


class Unbuilt(Store):
    """A store that computes keys and builds nothing."""

    def stage(self, stage: str, version: int, config: Any, inputs: Any, build: Any) -> Artefact:
        from scoter.storage.store import _identity

        return Artefact(self.root / stage, stage, _identity(stage, version, config, inputs)[1])


@pytest.fixture
def auto(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have `auto` come to a precision, as it does on a processor with or without bf16 products."""

    def come_to(precision: str) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: precision == "bf16")
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)

    return come_to


def context_of(store: Store, config: Experiment = SHOP, device: str = "cpu") -> Context:
    return Context(config, store, 0, lambda line: None, device=device)


def in_precision(precision: str, method: MethodConfig) -> MethodConfig:
    return with_overrides(method, [f"training.precision={precision}"])


def keys_of(name: str, method: MethodConfig, context: Context) -> tuple[str, ...]:
    """The keys of a method's weights and of its rankings."""
    made = [Artefact(Path(stage), stage, stage) for stage in ("prepare", "semantic-ids", "chains")]
    inputs = Inputs(*made)
    trained = models.train(context, name, method, inputs)
    ranked = models.rank(context, method, trained, inputs)
    return (trained.key, ranked.key)


@pytest.mark.parametrize("name", ["tiger", "scoter", "control-mixed-scores", "control-item-text"])
def test_auto_is_keyed_as_what_it_comes_to(name: str, auto: Any, tmp_path: Path) -> None:
    context, method = context_of(Unbuilt(tmp_path)), SHOP.methods[name]
    assert method.training.precision == "auto"
    explicit = {}
    for precision in ("fp32", "bf16"):
        explicit[precision] = keys_of(name, in_precision(precision, method), context)
    assert not set(explicit["fp32"]) & set(explicit["bf16"])
    for precision, keys in explicit.items():
        auto(precision)
        assert keys_of(name, method, context) == keys


def test_a_mined_pattern_is_keyed_by_the_columns_of_the_items_texts(tmp_path: Path) -> None:
    shop = Artefact(tmp_path, "prepare", "prepare")
    keys = {
        discover_pattern(context_of(Unbuilt(tmp_path), replace(SHOP, text=text)), shop).key
        for text in (SHOP.text, TextConfig(fields=("title",)))
    }
    assert len(keys) == 2


def test_a_gpu_has_keys_of_its_own_and_its_processes_share_them(
    auto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, method = Unbuilt(tmp_path), SHOP.methods["scoter"]
    auto("fp32")  # the same precision, so that the device alone tells the keys apart
    here = keys_of("scoter", method, context_of(store))
    with pytest.raises(ConfigError, match="device = 'tpu'; choose cpu or cuda"):
        keys_of("scoter", method, context_of(store, device="tpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    there = [keys_of("scoter", method, context_of(store, device="cuda"))]
    auto("bf16")  # of the processor, which a GPU's `auto` does not ask
    monkeypatch.setenv("LOCAL_RANK", "1")
    there.append(keys_of("scoter", method, context_of(store, device="cuda")))
    assert there[0] == there[1]
    assert not set(here) & set(there[0])
    popular = experiment("simulated-smoke").methods["popularity"]
    cpu, gpu = (context_of(store, device=device) for device in ("cpu", "cuda"))
    assert keys_of("popularity", popular, cpu) == keys_of("popularity", popular, gpu)


def test_a_name_is_keyed_since_dropout_is_seeded_by_it(tmp_path: Path) -> None:
    context = context_of(Unbuilt(tmp_path))
    one, other = (keys_of(name, SHOP.methods["scoter"], context) for name in ("scoter", "copy"))
    assert one != other
    mixed = keys_of("control-mixed-scores", SHOP.methods["control-mixed-scores"], context)
    tiger = keys_of("tiger", SHOP.methods["tiger"], context)
    assert mixed[0] == tiger[0]  # which mixes the scores of that very recommender
    assert mixed[1] != tiger[1]


def test_weights_in_fp32_are_not_reused_where_auto_means_bf16(auto: Any, tmp_path: Path) -> None:
    context = context_of(Store(tmp_path))
    shop = data.prepare(context, None)
    ids = data.make_semantic_ids(context, data.embed_items(context, shop))
    small = SasrecConfig(dim=8, layers=1, heads=1, max_items=8)
    method = MethodConfig(small, SHOP.methods["tiger"].training)

    def trained(method: MethodConfig) -> tuple[bool, str]:
        made = models.train(context, "sasrec", method, Inputs(shop, ids))
        return made.reused, json.loads(made.file("training.json").read_text())["precision"]

    auto("fp32")
    assert trained(method) == (False, "fp32")
    auto("bf16")
    assert trained(method) == (False, "bf16")
    assert trained(in_precision("bf16", method)) == (True, "bf16")
    assert trained(in_precision("fp32", method)) == (True, "fp32")
    auto("fp32")
    assert trained(method) == (True, "fp32")
