"""Users end to end: what they type, what they get, and what must not change when they change
something else."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from scoter import pipeline
from scoter.cli.main import main
from scoter.config import SimulatedConfig, with_overrides
from scoter.data.prepared import load_prepared, save_prepared
from scoter.data.simulated import simulate
from scoter.errors import DataError
from scoter.experiments import RANKED_PATTERN, experiment
from scoter.stages.context import Context
from scoter.stages.data import prepare
from scoter.stages.reasoning import given_pattern, open_pattern
from scoter.storage.store import Artefact, Store
from scoter.types import Catalog, InteractionLog

TINY = (
    "data.simulated.users=150",
    "methods.*.training.epochs=2",
    "methods.*.training.evaluate_every=1",
    "discover.patterns=12",
    "discover.users=60",
    "discover.fresh_users=60",
    "discover.max_clusters=3",
)


def scoter(*arguments: str, store: Path | None = None) -> Result:
    where = ("--store", str(store)) if store is not None else ()
    return CliRunner().invoke(main, [*arguments, *where], catch_exceptions=False)


def tiny_flags() -> list[str]:
    return [part for override in TINY for part in ("--set", override)]


def difference(
    run: Artefact, better: str, worse: str, metric: str = "recall@10"
) -> dict[str, float]:
    rows = json.loads(run.file("run.json").read_text())["differences"]
    (row,) = [
        row
        for row in rows
        if (row["better"], row["worse"], row["metric"]) == (better, worse, metric)
    ]
    return row


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    store = tmp_path_factory.mktemp("store")
    done = scoter("run", "simulated-smoke", "--json", *tiny_flags(), store=store)
    assert done.exit_code == 0, done.output
    return store, json.loads(done.stdout)


def test_json_is_one_object_and_holds_what_it_promises(tiny: tuple[Path, dict]) -> None:
    outcome = tiny[1]
    assert {"experiment", "run", "dataset", "seed", "methods", "differences"} <= set(outcome)
    assert list(outcome["methods"]) == ["popularity", "tiger", "tiger-meanpool", "scoter"]
    assert all(
        0 <= values["recall@5"] <= values["recall@10"] <= 1
        for values in outcome["methods"].values()
    )
    for row in outcome["differences"]:
        means = [outcome["methods"][row[side]][row["metric"]] for side in ("better", "worse")]
        assert row["mean"] == pytest.approx(means[0] - means[1], abs=1e-9)
        assert row["low"] <= row["mean"] <= row["high"]


def test_a_second_run_reuses_everything_and_says_so(tiny: tuple[Path, dict]) -> None:
    again = scoter("run", "simulated-smoke", *tiny_flags(), store=tiny[0])
    assert again.stderr.count("reused") == 14
    assert "made" not in again.stderr
    assert f"{tiny[1]['methods']['scoter']['recall@10']:.4f}" in again.stdout


def test_show_table_report_and_verify_a_run(tiny: tuple[Path, dict], tmp_path: Path) -> None:
    store, outcome = tiny
    for name in ("latest", outcome["run"], outcome["run"].rsplit("-", 1)[1], "simulated-smoke"):
        assert (
            json.loads(scoter("show", name, "--json", store=store).stdout)["run"] == outcome["run"]
        )
    assert (
        scoter("table", "simulated", store=store).stdout.count("(seed 0, sample or simulated)") == 4
    )
    assert (
        scoter("show", "latest", "--report", str(tmp_path / "r.html"), store=store).exit_code == 0
    )
    assert "tiger-meanpool" in (tmp_path / "r.html").read_text()
    assert "0 problems" in scoter("verify", store=store).stdout
    assert "there is no run 'nothing'" in scoter("show", "nothing", store=store).stderr


def test_an_altered_artefact_is_named(tiny: tuple[Path, dict]) -> None:
    file = next(Store(tiny[0]).artefacts("run")).file("examples.json")
    text = file.read_text()
    file.write_text(text + " ")
    found = scoter("verify", store=tiny[0])
    file.write_text(text)
    assert found.exit_code == 1
    assert "examples.json: altered since it was written" in found.stdout


def test_recommendations_for_a_user_and_for_a_history_by_hand(tiny: tuple[Path, dict]) -> None:
    store = tiny[0]
    data = next(Store(store).artefacts("prepare"))
    log, catalog = load_prepared(data.path)
    rows = json.loads(
        scoter(
            "recommend", "latest", "--user", log.user_keys[3], "-k", "5", "--json", store=store
        ).stdout
    )
    assert len(rows) == 1
    assert len(rows[0]["history"]) == log.lengths[3]
    assert len({item["key"] for item in rows[0]["items"]}) == 5
    for method in ("popularity", "tiger", "tiger-meanpool"):
        flags = [part for item in log.sequence(3) for part in ("--item", catalog.keys[item])]
        by_hand = json.loads(
            scoter("recommend", "latest", "--method", method, *flags, "--json", store=store).stdout
        )
        by_user = json.loads(
            scoter(
                "recommend",
                "latest",
                "--method",
                method,
                "--user",
                log.user_keys[3],
                "--json",
                store=store,
            ).stdout
        )
        if (
            method != "tiger-meanpool"
        ):  # a stranger's chain is written with another group's statistics
            assert by_hand[0]["items"] == by_user[0]["items"]
    assert (
        "has no item 'soap'" in scoter("recommend", "latest", "--item", "soap", store=store).stderr
    )
    assert (
        "has no user 'nobody'"
        in scoter("recommend", "latest", "--user", "nobody", store=store).stderr
    )


def test_steps_may_be_grounded_and_read_sentence_by_sentence(tiny: tuple[Path, dict]) -> None:
    flags = [
        "--set",
        "methods.scoter.fusion.grounded=true",
        "--set",
        "methods.scoter.fusion.slots=sentence",
    ]
    done = scoter("run", "simulated-smoke", "--json", *tiny_flags(), *flags, store=tiny[0])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert outcome["methods"]["tiger"] == tiny[1]["methods"]["tiger"]
    (run,) = [
        one
        for one in Store(tiny[0]).artefacts()
        if one.stage == "run" and one.key.startswith(outcome["run"][-8:])
    ]
    read = json.loads(run.file("attention/scoter.json").read_text())
    assert len(read["roles"]) == len(read["attention_mean"])
    assert done.stderr.count("train: made") == 1


def test_given_steps_that_the_items_cannot_fill_are_left_out_aloud(tmp_path: Path) -> None:
    shop, said = simulate(SimulatedConfig(users=150), seed=0), []
    save_prepared(
        shop.log,
        Catalog(shop.catalog.keys, {"title": shop.catalog.columns["title"]}),
        tmp_path / "plain",
    )
    chosen = with_overrides(experiment("toys-scoter"), ("data.name=plain",))
    context = Context(chosen, Store(tmp_path / "store"), 0, said.append)
    given = given_pattern(context, prepare(context, tmp_path / "plain"), RANKED_PATTERN)
    assert [step.role for step in open_pattern(given).steps] == ["recent_item"] * 2 + [
        "recommendation"
    ] * 10
    assert (
        "pattern: long_term_preference(count=2, level=category) is left out, since the items "
        "have no 'categories'" in said
    )


def test_quickstart_says_plainly_when_it_falls_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(name: str) -> None:
        raise DataError("no network")

    monkeypatch.delenv("SCOTER_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scoter.data.official.prepare.obtain", no_network)
    done = scoter("run", "quickstart", "--json", *tiny_flags(), store=tmp_path / "store")
    assert "THE SIMULATED SHOP IS USED INSTEAD" in done.stderr
    assert json.loads(done.stdout)["dataset"] == "simulated"


# --- what must not leak
# ----------------------------------------------------------------------------------------


def run_on(log: InteractionLog, folder: Path, catalog_of: int = 0) -> tuple[Store, Artefact]:
    """A tiny run of TIGER and SCoTER on a prepared folder that holds this log."""
    shop = simulate(SimulatedConfig(users=150), seed=catalog_of)
    save_prepared(log, shop.catalog, folder / "data")
    flags = [*TINY[1:], "data.simulated=null", "data.name=mine"]
    chosen = with_overrides(experiment("simulated-smoke"), flags)
    store = Store(folder / "store")
    return store, pipeline.run(chosen, store=store, data_dir=folder / "data")


def change_last_items(log: InteractionLog, place: int) -> InteractionLog:
    """Another item at the given place from the end (1: test target, 2: validation target) of every
    user."""
    items = log.items.copy()
    chosen = log.offsets[1:] - place
    items[chosen] = (items[chosen] + 7) % (items.max() + 1)
    return InteractionLog(items, log.offsets, log.user_keys, log.times)


def files(store: Store, stage: str) -> dict[str, np.ndarray | str]:
    (artefact,) = list(store.artefacts(stage))
    found: dict[str, np.ndarray | str] = {}
    for path in sorted(artefact.path.glob("*")):
        if path.suffix == ".safetensors":
            found |= {f"{path.name}:{name}": array for name, array in load_file(path).items()}
        elif path.suffix == ".json" and path.name != "manifest.json":
            found[path.name] = path.read_text()
    return found


def weights(store: Store) -> list[dict[str, np.ndarray]]:
    """Trained weights of every method, in the order in which they were trained."""
    return [
        load_file(artefact.path / "weights.safetensors")
        for artefact in store.artefacts("train")
        if (artefact.path / "weights.safetensors").exists()
    ]


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key]) for key in first
    )


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Store, Artefact]]:
    log = simulate(SimulatedConfig(users=150), seed=0).log
    logs = {
        "as it is": log,
        "other test targets": change_last_items(log, 1),
        "other validation targets": change_last_items(log, 2),
    }
    return {name: run_on(changed, tmp_path_factory.mktemp("run")) for name, changed in logs.items()}


def test_test_targets_change_nothing_before_evaluation(
    three_runs: dict[str, tuple[Store, Artefact]],
) -> None:
    (store, run), (other_store, other_run) = (
        three_runs["as it is"],
        three_runs["other test targets"],
    )
    for stage in ("items", "semantic-ids", "discover", "chains"):
        assert same(files(store, stage), files(other_store, stage)), stage
    assert all(same(a, b) for a, b in zip(weights(store), weights(other_store), strict=True))
    assert len(weights(store)) == 3
    metrics = [
        json.loads(found.file("run.json").read_text())["methods"]["scoter"]["metrics"]
        for found in (run, other_run)
    ]
    assert metrics[0]["valid"] == metrics[1]["valid"]
    assert metrics[0]["test"] != metrics[1]["test"]


def test_validation_targets_change_selection_and_test_histories_only(
    three_runs: dict[str, tuple[Store, Artefact]],
) -> None:
    (store, _), (other_store, _) = three_runs["as it is"], three_runs["other validation targets"]
    for stage in ("items", "semantic-ids", "discover"):
        assert same(files(store, stage), files(other_store, stage)), stage
    curves = []
    for found in (store, other_store):
        trainings = [
            json.loads((artefact.path / "training.json").read_text())
            for artefact in found.artefacts("train")
        ]
        curves.append([[entry["loss"] for entry in training["curve"]] for training in trainings])
    assert curves[0] == curves[1]


# --- the shop with a known truth
# -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_lambda_one_order_wins(tmp_path: Path, seed: int) -> None:
    run = pipeline.run(experiment("simulated-smoke"), seed=seed, store=Store(tmp_path))
    assert difference(run, "scoter", "tiger-meanpool")["low"] > 0
    assert difference(run, "scoter", "tiger")["low"] > 0
    assert difference(run, "tiger-meanpool", "tiger")["low"] > 0
    best = simulate(SimulatedConfig(order=1.0), seed=seed).best_recall(10)
    recall = json.loads(run.file("run.json").read_text())["methods"]["scoter"]["metrics"]["test"][
        "recall@10"
    ]
    assert recall < best + 3 * np.sqrt(best * (1 - best) / 3000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_lambda_zero_order_is_worth_nothing(tmp_path: Path, seed: int) -> None:
    run = pipeline.run(experiment("simulated-unordered"), seed=seed, store=Store(tmp_path))
    found = difference(run, "scoter", "tiger-meanpool")
    assert found["low"] <= 0 <= found["high"]


@pytest.mark.slow
def test_another_users_chains_do_not_help(tmp_path: Path) -> None:
    run = pipeline.run(experiment("simulated-controls"), store=Store(tmp_path))
    assert difference(run, "control-other-user", "tiger")["low"] <= 0
    assert difference(run, "scoter", "control-other-user")["low"] > 0
