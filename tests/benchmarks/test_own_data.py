"""The page on one's own data holds: its class and its commands run on a small foreign dataset, and the numbers are right."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmarks.own_method
import benchmarks.run
import scoter.stages.summary
import scoter.store
from benchmarks.cell import run_cell
from benchmarks.collect import load_rows
from benchmarks.own_method import load_own
from benchmarks.plan import plan
from benchmarks.recipes import own_config
from benchmarks.suite import requested
from scoter.data.prepared import load_prepared
from scoter.data.split import leave_one_out
from scoter.errors import ConfigError

ROOT = Path(__file__).parents[2]
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
    pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_parquet(folder / "interactions.parquet")
    columns = {"item": range(items)} | ({"title": [f"thing number {item}" for item in range(items)]} if titled else {})
    pd.DataFrame(columns).to_parquet(folder / "items.parquet")
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the page's class and a shop, on the path as it is for `python -m`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_methods.py").write_text(re.findall(r"<!-- the tested class -->\n```python\n(.*?)```", PAGE, re.DOTALL)[0])
    write_shop(tmp_path / "my-shop")
    yield tmp_path
    sys.modules.pop("my_methods", None)


def test_a_class_of_ones_own_stands_in_the_results_with_the_right_numbers(workplace, monkeypatch):
    for module in (scoter.store, scoter.stages.summary, benchmarks.own_method, benchmarks.run):
        monkeypatch.setattr(module, "git_commit", lambda: "a" * 40)
    store, lines, data = scoter.store.Store(workplace / "store"), [], workplace / "my-shop"
    cells = [cell for cell in requested(data, (), "my_methods:ItemKNN") if cell.own and cell.seed == 0]

    def runner(cell, seconds):
        return run_cell(cell, data, store, lines.append)

    failed = benchmarks.run.run_suite(
        cells, workplace / "results", runner=runner, store=workplace / "store", data=data, say=lines.append
    )
    assert failed == [], lines
    rows = load_rows(workplace / "results")
    assert {(row["dataset"], row["method"]) for row in rows} == {("my-shop", "itemknn")}

    log, catalog = load_prepared(data)
    split, model = leave_one_out(log), load_own("my_methods:ItemKNN")
    model.fit(split, catalog, seed=0)
    for part in ("valid", "test"):
        ranked = model.recommend(split.histories(part), 10).items.tolist()
        hits = [target in row for row, target in zip(ranked, split.targets(part).items.tolist(), strict=True)]
        [value] = [row["value"] for row in rows if (row["method"], row["split"], row["metric"]) == ("itemknn", part, "recall@10")]
        assert value == pytest.approx(np.mean(hits), abs=1e-12)
        assert 0.2 < value < 1

    assert plan(cells, workplace / "results")[0].done
    (workplace / "my_methods.py").write_text((workplace / "my_methods.py").read_text() + "\n# another file\n")
    assert plan(cells, workplace / "results")[0].state == "older recipe"


def test_fit_never_sees_a_test_target(workplace, monkeypatch):
    (workplace / "spy.py").write_text(
        "from scoter.types import Rankings\nimport numpy as np\nSEEN = []\n"
        "class Spy:\n"
        "    def fit(self, split, catalog, *, seed):\n        SEEN.append((len(split.valid), len(split.test), seed))\n"
        "    def recommend(self, histories, k):\n"
        "        n = len(histories)\n        return Rankings(histories.users, np.full((n, k), -1), np.full((n, k), -np.inf))\n"
    )
    data = workplace / "my-shop"
    cell = next(cell for cell in requested(data, ["popularity"], "spy:Spy") if cell.own and cell.seed == 2)
    with pytest.raises(ConfigError, match="spy:Spy chooses its device by itself"):
        run_cell(cell, data, scoter.store.Store(workplace / "store"), print, "cuda")
    run_cell(cell, data, scoter.store.Store(workplace / "store"), lambda line: None)
    import spy  # pyright: ignore[reportMissingImports]

    assert spy.SEEN == [(120, 0, 2)]
    sys.modules.pop("spy")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("my_methods", "write it as package.module:ClassName"),
        ("no_such.module:Thing", "no module 'no_such.module'"),
        ("my_methods:Missing", "no class 'Missing'"),
        ("pathlib:Path", r"needs fit\(split, catalog, \*, seed\) and recommend\(histories, k\)"),
    ],
)
def test_what_is_no_method_is_refused(workplace, own, message):
    with pytest.raises(ConfigError, match=message):
        load_own(own)


def test_the_configuration_is_the_file_that_defines_the_class(workplace):
    told = own_config("my_methods:ItemKNN")["model"]
    assert told["source"] == scoter.store.hash_file(workplace / "my_methods.py")


def command(workplace: Path, *words: str, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SCOTER_STORE": str(workplace / "store")}
    return subprocess.Popen(
        [sys.executable, *words], cwd=workplace, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
def test_the_pages_commands_run_from_a_clean_folder_are_stopped_and_go_on(workplace):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True, cwd=workplace
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
    assert made == {(name, seed) for name in ("popularity", "tiger", "scoter", "itemknn") for seed in (0, 1, 2)}
    assert {row["epochs"] for row in rows if row["method"] in ("tiger", "scoter")} == {3}
