"""The page on one's own data holds: its class and its commands run on a small foreign dataset, and
the numbers are right."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import benchmarks.suite.loop
import scoter.stages.summary
import scoter.storage.store
from benchmarks.suite.cell import run_cell
from benchmarks.suite.cells import requested
from benchmarks.suite.collect import load_rows
from benchmarks.suite.own_method import load_own
from benchmarks.suite.plan import plan
from benchmarks.suite.recipes import own_config
from scoter import pipeline
from scoter.config import with_overrides
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError, DataError
from scoter.experiments import benchmark
from scoter.models.backbones.sasrec import SASRec
from scoter.serving.bundle import export_run
from scoter.serving.explorer import explore
from scoter.serving.service import answers, open_method
from scoter.stages.context import Context
from scoter.stages.data import prepare
from scoter.stages.finished import FinishedRun, find_methods
from scoter.stages.models import train
from scoter.stages.networks import Inputs

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "your-own-data.md").read_text()


def write_shop(folder: Path, users: int = 120, items: int = 40, titled: bool = False) -> Path:
    """Shoppers who go round one of two circles of items, as plain parquet files."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        item = int(rng.integers(items))
        for time_ in range(int(rng.integers(4, 9))):
            rows.append((user, item, 86_400 * time_))
            item = (item + 2) % items if rng.random() < 0.8 else int(rng.integers(items))
    folder.mkdir()
    pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_parquet(
        folder / "interactions.parquet"
    )
    columns = {"item": range(items)} | (
        {"title": [f"thing number {item}" for item in range(items)]} if titled else {}
    )
    pd.DataFrame(columns).to_parquet(folder / "items.parquet")
    return folder


def write_events(
    folder: Path, histories: Sequence[Sequence[int]], items: int, **columns: Sequence[Any]
) -> Path:
    """A prepared folder of just these histories, without times."""
    folder.mkdir()
    rows = [(user, item) for user, history in enumerate(histories) for item in history]
    pd.DataFrame(rows, columns=["user", "item"]).to_parquet(folder / "interactions.parquet")
    pd.DataFrame({"item": range(items), **columns}).to_parquet(folder / "items.parquet")
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the page's class and a shop, on the path as it is for `python -m`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_methods.py").write_text(
        re.findall(r"<!-- the tested class -->\n```python\n(.*?)```", PAGE, re.DOTALL)[0]
    )
    write_shop(tmp_path / "my-shop")
    yield tmp_path
    sys.modules.pop("my_methods", None)


def test_a_class_of_ones_own_stands_in_the_results_with_the_right_numbers(workplace, monkeypatch):
    for module in (scoter.storage.store, scoter.stages.summary, benchmarks.suite.loop):
        monkeypatch.setattr(module, "git_commit", lambda: "a" * 40)
    store, lines, data = scoter.storage.store.Store(workplace / "store"), [], workplace / "my-shop"
    cells = [
        cell for cell in requested(data, (), "my_methods:ItemKNN") if cell.own and cell.seed == 0
    ]

    def runner(cell, seconds):
        return run_cell(cell, data, store, lines.append)

    failed = benchmarks.suite.loop.run_suite(
        cells,
        workplace / "results",
        runner=runner,
        store=workplace / "store",
        data=data,
        say=lines.append,
    )
    assert failed == [], lines
    rows = load_rows(workplace / "results")
    assert {(row["dataset"], row["method"]) for row in rows} == {("my-shop", "itemknn")}

    dataset, model = Dataset.from_folder(data), load_own("my_methods:ItemKNN")
    model.fit(dataset.without_test(), seed=0)
    split, keys = dataset.split, dataset.catalog.keys
    for part in ("valid", "test"):
        histories = split.histories(part)
        users = [dataset.users[user] for user in histories.users]
        cut = [[keys[item] for item in histories.sequence(row)] for row in range(len(users))]
        ranked = model.recommend(users, 10, histories=cut).groupby("user")["item"].apply(list)
        targets = split.targets(part).items.tolist()
        hits = [keys[item] in ranked[user] for user, item in zip(users, targets, strict=True)]
        [value] = [
            row["value"]
            for row in rows
            if (row["method"], row["split"], row["metric"]) == ("itemknn", part, "recall@10")
        ]
        assert value == pytest.approx(np.mean(hits), abs=1e-12)
        assert 0.2 < value < 1

    assert plan(cells, workplace / "results")[0].done
    (workplace / "my_methods.py").write_text(
        (workplace / "my_methods.py").read_text() + "\n# another file\n"
    )
    assert plan(cells, workplace / "results")[0].state == "older recipe"


def test_fit_never_sees_a_test_target(workplace, monkeypatch):
    (workplace / "spy.py").write_text(
        "import pandas as pd\nSEEN = []\n"
        "class Spy:\n"
        "    def fit(self, dataset, *, seed=0):\n        SEEN.append((len(dataset.split.valid), "
        "len(dataset.split.test), seed))\n"
        "    def recommend(self, users, k, *, histories):\n"
        "        return pd.DataFrame({'user': users, 'item': '0', 'score': 0.0, 'rank': 1})\n"
    )
    data = workplace / "my-shop"
    cell = next(
        cell for cell in requested(data, ["popularity"], "spy:Spy") if cell.own and cell.seed == 2
    )
    with pytest.raises(ConfigError, match="spy:Spy chooses its device by itself"):
        run_cell(cell, data, scoter.storage.store.Store(workplace / "store"), print, "cuda")
    store = scoter.storage.store.Store(workplace / "store")
    run_cell(cell, data, store, lambda line: None)
    in_b = run_cell(replace(cell, protocol="B"), data, store, lambda line: None)
    import spy  # pyright: ignore[reportMissingImports]

    assert spy.SEEN == [(120, 0, 2), (120, 0, 2)]
    assert set(json.loads((in_b / "run.json").read_text())["methods"]["spy"]["metrics"]) == {"test"}
    sys.modules.pop("spy")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("my_methods", "write it as package.module:ClassName"),
        ("no_such.module:Thing", "no module 'no_such.module'"),
        ("my_methods:Missing", "no class 'Missing'"),
        ("pathlib:Path", r"is no recommender; give an object with fit and recommend"),
    ],
)
def test_what_is_no_method_is_refused(workplace, own, message):
    with pytest.raises(ConfigError, match=message):
        load_own(own)


def test_the_configuration_is_the_file_that_defines_the_class(workplace):
    told = own_config("my_methods:ItemKNN")["model"]
    assert told["source"] == scoter.storage.store.hash_file(workplace / "my_methods.py")


def command(workplace: Path, *words: str, **options) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SCOTER_STORE": str(workplace / "store"),
    }
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=workplace,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


METHODS = (
    "popularity",
    "sasrec-ce",
    "gru4rec",
    "tiger",
    "control-mixed-scores",
    "tiger-meanpool",
    "scoter",
)


def run_all(
    folder: Path, methods: Sequence[str] = METHODS, say: Callable[[str], None] = lambda line: None
) -> dict[str, dict]:
    """`run.json` of one epoch of each method on a prepared folder."""
    store, found = scoter.storage.store.Store(folder.parent / "store"), {}
    for cell in requested(folder, methods, share=0.01):
        if cell.seed == 0:
            found[cell.method] = json.loads(
                (run_cell(cell, folder, store, say) / "run.json").read_text()
            )
    return found


def test_ids_that_codes_cannot_tell_apart_get_a_level_and_methods_without_ids_make_none(tmp_path):
    """Ten items of forty were bought, and none has text."""
    lines = []
    shop = write_events(
        tmp_path / "cold",
        np.random.default_rng(0).integers(0, 10, (20, 6)).tolist(),
        40,
        price=range(40),
    )
    without = run_all(shop, ("popularity", "sasrec-ce", "gru4rec"), lines.append)
    assert not any(line.startswith(("items", "semantic-ids")) for line in lines)
    for outcome in without.values():
        assert outcome["semantic_ids"] is None
        assert "semantic-ids" not in outcome["artefacts"]
    made = run_all(shop, ("tiger", "scoter"), lines.append)
    [told] = {line for line in lines if "one more level" in line}
    assert re.match(
        r"semantic-ids: up to \d+ items share all their codes .* one more level tells them apart",
        told,
    )
    for outcome in made.values():
        assert outcome["config"]["semantic_ids"]["collisions"] == "reassign"
        assert outcome["semantic_ids"]["collisions"] == "level"
        assert (
            outcome["semantic_ids"]["codebook_sizes"][-1]
            == outcome["semantic_ids"]["largest_group"]
            > 1
        )


def test_nothing_to_train_on_is_one_error_before_training(tmp_path):
    shop = write_events(
        tmp_path / "short", [[user % 9, (user + 1) % 9, (user + 4) % 9] for user in range(20)], 9
    )
    lines = []
    assert (
        run_all(shop, ("popularity",))["popularity"]["methods"]["popularity"]["metrics"]["test"][
            "recall@10"
        ]
        == 1
    )
    for method in (*METHODS[1:], "sasrec-bce", "sasrec-ce-scoter"):
        with pytest.raises(
            DataError,
            match=r"nothing to train on: .* none of the 20 users two events; .* or run popularity",
        ):
            run_all(shop, (method,), lines.append)
    assert {line.split(":")[0] for line in lines} == {"data", "prepare"}
    context = Context(
        benchmark("short", "sasrec-ce"), scoter.storage.store.Store(tmp_path / "store"), 0, print
    )
    with pytest.raises(DataError, match="nothing to train on"):
        train(
            context,
            "sasrec-ce",
            context.experiment.methods["sasrec-ce"],
            Inputs(prepare(context, shop)),
        )


@pytest.mark.parametrize(("items", "titled"), [(1, True), (1, False), (3, False)])
def test_fewer_items_than_are_asked_for_are_recommended_whole(tmp_path, items, titled):
    histories = np.random.default_rng(0).integers(0, items, (6, 5)).tolist()
    columns = {"title": [f"thing number {item}" for item in range(items)]} if titled else {}
    for method, outcome in run_all(
        write_events(tmp_path / "few", histories, items, **columns)
    ).items():
        assert outcome["methods"][method]["metrics"]["test"]["recall@10"] == 1
        assert (outcome["semantic_ids"] is None) == (method in METHODS[:3])


@pytest.mark.parametrize(
    "histories",
    [
        [[0, 1, 2, 3, 4, 5]],
        [[0, 1, 2, 3, 4]] * 8,
        [range(5 * user, 5 * user + 5) for user in range(6)],
        [[0] * 5, [1] * 5, [2] * 4],
    ],
    ids=["one user", "one history", "each item once", "nothing beside anything"],
)
def test_odd_logs_without_text_run_to_the_end(tmp_path, histories):
    for method, outcome in run_all(
        write_events(tmp_path / "odd", histories, 30), ("popularity", "sasrec-ce", "scoter")
    ).items():
        curve = outcome["methods"][method]["curve"]
        assert all(np.isfinite(entry["loss"]) and entry["loss"] > 0 for entry in curve)
        assert bool(curve) == (method != "popularity")


@pytest.mark.parametrize("users", [1, 40])
def test_samples_without_text_work(tmp_path, users):
    """Most items of a sample stand in one history only, or are held out: little is known of
    them."""
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 300, rng.integers(4, 7)).tolist() for _ in range(60)]
    shop = write_events(tmp_path / "large", histories, 300)
    for method in ("popularity", "sasrec-ce", "tiger", "scoter"):
        experiment = with_overrides(benchmark("large", method), [f"data.max_users={users}"])
        one = replace(
            experiment.methods[method],
            training=replace(experiment.methods[method].training, epochs=1),
        )
        experiment = replace(experiment, methods={method: one})
        found = pipeline.run(
            experiment, store=scoter.storage.store.Store(tmp_path / "store"), data_dir=shop
        )
        outcome = json.loads(found.file("run.json").read_text())
        assert (outcome["users"], outcome["full_data"]) == (users, False)
        assert 0 <= outcome["methods"][method]["metrics"]["test"]["recall@10"] <= 1


def test_a_run_without_semantic_ids_is_asked_exported_and_shown(tmp_path):
    shop = write_events(tmp_path / "shop", [[0, 1, 2, 3, 0], [1, 2, 3, 0, 1], [2, 3, 0, 1, 2]], 4)
    run_all(shop, ("sasrec-ce", "popularity"))
    store = scoter.storage.store.Store(tmp_path / "store")
    for run in store.artefacts("run"):
        asked = answers(open_method(FinishedRun(store, run), None), ("0",), (), 10)
        assert len(asked[0]["items"]) == 4
        assert len(json.loads(explore(store, run).file("explorer.json").read_text())) == 3
        if asked[0]["method"] == "sasrec-ce":
            assert "semantic_ids.safetensors" not in export_run(
                store, run, None, tmp_path / "bundle"
            )
            assert isinstance(
                find_methods([run.path], ("sasrec-ce",))["sasrec-ce"].trained()[0], SASRec
            )


@pytest.mark.slow
def test_the_pages_commands_run_from_a_clean_folder_are_stopped_and_go_on(workplace):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
            cwd=workplace,
        )

    git("init")
    git("add", "my_methods.py", "my-shop")
    git("commit", "-m", "all")
    blocks = re.findall(r"<!-- the tested commands -->\n```\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.split()[1:] for block in blocks for line in block.splitlines()]
    assert len(lines) == 5

    first = command(workplace, *lines[1], "--threads", "1")
    time.sleep(20)
    first.send_signal(signal.SIGTERM)
    assert "stopped; run again to go on from there" in first.communicate(timeout=120)[0]
    assert first.returncode == 130

    shown = ""
    for words in lines:
        done = command(workplace, *words)
        shown = done.communicate(timeout=1500)[0]
        assert done.returncode == 0, shown
    assert "itemknn" in shown
    assert "every method has 0.1 of the suite's usual epochs" in shown
    rows = load_rows(workplace / "my-results")
    made = {(row["method"], row["seed"]) for row in rows}
    assert made == {
        (name, seed) for name in ("popularity", "tiger", "scoter", "itemknn") for seed in (0, 1, 2)
    }
    assert {row["epochs"] for row in rows if row["method"] in ("tiger", "scoter")} == {3}
