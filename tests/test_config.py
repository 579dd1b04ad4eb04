"""Configs survive JSON, refuse what they do not know, and every named experiment is whole."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scoter import pipeline
from scoter.config import (
    Experiment,
    FusionConfig,
    Gru4RecConfig,
    MethodConfig,
    SemanticIdConfig,
    from_json,
    to_json,
    with_overrides,
)
from scoter.data.prepared import save_prepared
from scoter.errors import ConfigError
from scoter.experiments import EXPERIMENTS, experiment
from scoter.storage.store import Store
from scoter.types import Catalog, InteractionLog

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
OF_METHODS = ("model", "training", "fusion")


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_survives_json(name: str) -> None:
    chosen = experiment(name)
    assert from_json(to_json(chosen), Experiment) == chosen
    assert chosen.name == name


def test_the_tiger_arms_differ_in_fusion_alone() -> None:
    arms = [experiment(f"beauty-{name}") for name in ("tiger", "collapsed", "scoter")]
    tiger, collapsed, scoter = (next(iter(arm.methods.values())) for arm in arms)
    assert tiger.model == collapsed.model == scoter.model
    assert tiger.training == collapsed.training == scoter.training
    assert len({arm.semantic_ids for arm in arms}) == 1
    assert collapsed.fusion is not None
    assert scoter.fusion is not None
    assert {collapsed.fusion.module, scoter.fusion.module} == {"meanpool", "structured"}


def old_methods() -> list[str]:
    """Every distinct method config in the committed results, as JSON of the form it was kept in."""
    rows = pd.read_parquet(RESULTS / "main.parquet")["config"].unique()
    parts = [{name: json.loads(row).get(name) for name in OF_METHODS} for row in rows]
    return sorted({json.dumps(part, sort_keys=True) for part in parts})


def test_every_committed_config_is_read_under_its_old_names() -> None:
    old = old_methods()
    assert len(old) > 60
    for text in old:
        tree = json.loads(text)
        if tree["model"]["kind"] == "own":
            continue
        method, fusion = from_json(text, MethodConfig), tree["fusion"]
        mixed = fusion is not None and fusion.get("kind") == "scores"
        assert method.mixed_scores is mixed
        assert (method.fusion is None) is (fusion is None or mixed)
        if method.fusion is not None:
            names = {"kind": "module", "chains": "source", "reads": "placement"}
            kept = asdict(method.fusion)
            assert all(kept[names.get(name, name)] == value for name, value in fusion.items())
        assert from_json(to_json(method), MethodConfig) == method


def test_an_experiment_is_read_under_the_old_names_of_a_fusion() -> None:
    chosen = experiment("simulated-controls-all")
    tree = json.loads(to_json(chosen))
    for method in tree["methods"].values():
        if method.pop("mixed_scores"):
            method["fusion"] = {"kind": "scores"}
        elif fusion := method["fusion"]:
            for old, name in (("kind", "module"), ("chains", "source"), ("reads", "placement")):
                fusion[old] = fusion.pop(name)
    assert from_json(json.dumps(tree), Experiment) == chosen


def test_overrides_take_the_old_names_of_a_fusion() -> None:
    old = ["methods.scoter.fusion.kind=bag", "methods.scoter.fusion.chains=features"]
    new = ["methods.scoter.fusion.module=bag", "methods.scoter.fusion.source=features"]
    shop = experiment("simulated-smoke")
    assert with_overrides(shop, old) == with_overrides(shop, new)
    mixed = with_overrides(shop, ["methods.scoter.fusion.kind=scores"]).methods["scoter"]
    assert mixed.mixed_scores
    assert mixed.fusion is None


def test_a_method_is_added_whole_and_its_name_may_hold_dots() -> None:
    name = "scoter@some-model-1.5b+x"
    given = [
        f'methods.{name}={{"model": {{"kind": "gru4rec"}}, "fusion": {{}}}}',
        f"methods.{name}.model.dim=8",
        f"methods.{name}.fusion.module=bag",
    ]
    made = with_overrides(experiment("simulated-smoke"), given)
    assert list(made.methods)[-1] == name
    wanted = MethodConfig(Gru4RecConfig(dim=8), fusion=FusionConfig("bag"))
    assert made.methods[name] == wanted


@pytest.mark.parametrize("name", ["a/b", "", "../a", "a b", ".hidden", "*"])
def test_a_name_that_cannot_name_a_file_is_refused(name: str) -> None:
    tree = json.loads(to_json(experiment("simulated-smoke")))
    tree["methods"][name] = tree["methods"]["tiger"]
    with pytest.raises(ConfigError, match=r"method name .* cannot name a file"):
        from_json(json.dumps(tree), Experiment)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("methods.tiger.model.kind=tigre", r"'tigre' is not a backbone .* Did you mean 'tiger'"),
        ("methods.tiger.model=3", "model = 3 has no kind; choose from: popularity, sasrec"),
        ("methods.scoter.fusion.module=bags", r"'bags' is not a fusion .* Did you mean 'bag'"),
    ],
)
def test_a_name_that_nobody_registered_is_answered_with_the_nearest(
    setting: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides(experiment("simulated-smoke"), [setting])


def test_overrides_reach_nested_values_and_every_method() -> None:
    chosen = with_overrides(
        experiment("quickstart"), ["methods.*.training.epochs=2", "data.max_users=50", "note=short"]
    )
    assert {method.training.epochs for method in chosen.methods.values()} == {2}
    assert (chosen.data.max_users, chosen.note) == (50, "short")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.max_user=5",
            "there is no 'max_user' there; choose from: max_users, name, protocol, simulated",
        ),
        ("data.max_users=many", "data.max_users = 'many' was refused"),
        ("depth", "has no '='"),
        ("depth.x=1", "nothing below it"),
    ],
)
def test_a_bad_override_says_what_would_be_good(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides(experiment("quickstart"), [override])


def test_unknown_keys_are_refused() -> None:
    tree = json.loads(to_json(experiment("quickstart")))
    with pytest.raises(ConfigError, match="surprise"):
        from_json(json.dumps({**tree, "surprise": 1}), Experiment)


@pytest.mark.parametrize(
    "setting",
    [
        "semantic_ids.codebook_size=true", "semantic_ids.cooccurrence_weight=false", "depth=true",
        "discover.users=true",
        "methods.*.training.learning_rate=true", "data.simulated.users=true",
        "methods.tiger.model.repeat_bias=1",
        'pattern=[{"role": "recent_item", "parameters": {"lag": true}}]',
    ],
)  # fmt: skip
def test_true_is_no_number_and_a_number_is_not_true(setting: str) -> None:
    path, _, value = setting.partition("=")
    with pytest.raises(
        ConfigError,
        match=rf"{path.rpartition('.')[2]}.* = (True|False|1) was refused: Input should be a valid",
    ):
        with_overrides(experiment("simulated-smoke"), [setting])
    tree = json.loads(to_json(experiment("simulated-smoke")))
    if path in tree:
        with pytest.raises(ConfigError, match=path):
            from_json(json.dumps({**tree, path: json.loads(value)}), Experiment)


def test_a_config_made_in_python_is_held_against_the_same_rules(tmp_path: Path) -> None:
    chosen = experiment("simulated-smoke")
    for wrong in (SemanticIdConfig(codebook_size=True), SemanticIdConfig(codebook_size=0)):
        with pytest.raises(ConfigError, match=r"semantic_ids.codebook_size = (True|0) was refused"):
            pipeline.run(replace(chosen, semantic_ids=wrong), store=Store(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_bad_override_names_the_nearest_field() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'learning_rate'\?"):
        with_overrides(experiment("quickstart"), ["methods.tiger.training.learnrate=1"])


def prepared(folder: Path) -> Path:
    log = InteractionLog(np.array([0, 1, 0]), np.array([0, 3]), ("ann",))
    save_prepared(log, Catalog(("a", "b"), {}), folder)
    return folder


def test_a_dataset_is_named_as_its_folder_wherever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepared(tmp_path / "my-shop")
    monkeypatch.setenv("SCOTER_DATA", str(tmp_path))
    monkeypatch.chdir(folder)
    for data_dir in (folder, tmp_path, Path("."), Path("../my-shop/"), None):
        chosen = experiment("my-shop", data_dir)
        assert (chosen.name, chosen.data.name, list(chosen.methods)) == (
            "my-shop-scoter",
            "my-shop",
            ["scoter"],
        )
        assert list(experiment("my-shop-collapsed", data_dir).methods) == ["tiger-meanpool"]
    assert experiment("simulated") == experiment("simulated-smoke")
    assert experiment("beauty", folder) == experiment("beauty-scoter")


def test_a_dataset_that_is_not_there_is_no_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCOTER_DATA", raising=False)
    folder = prepared(tmp_path / "my-shop")
    with pytest.raises(ConfigError, match=r"no experiment or dataset 'my-shop'.* have none"):
        experiment("my-shop")
    with pytest.raises(ConfigError) as caught:  # a prepared folder is no other dataset's
        experiment("myshop", folder)
    assert f"(--data {folder} has my-shop). Did you mean 'my-shop'" in str(caught.value)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("beuty-tiger", "beauty-tiger"), ("quikstart", "quickstart"), ("toy", "toys")],
)
def test_a_mistyped_experiment_is_answered_with_the_nearest_names(typo: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(typo)
    assert f"Did you mean '{meant}'" in str(caught.value)
    assert len(str(caught.value)) < 500
