"""`scoter data` from the outside, and what `describe` counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from scoter.cli.data import data
from scoter.config import DataConfig
from scoter.data.datasets import open_dataset
from scoter.data.describe import describe
from scoter.data.prepared import load_prepared
from scoter.data.sources import DATASETS
from scoter.data.split import leave_one_out
from scoter.errors import DataError
from scoter.types import Catalog, InteractionLog

REAL = os.environ.get("SCOTER_DATA", "")
needs_data = pytest.mark.skipif(
    not REAL, reason="SCOTER_DATA is not set; it holds the real datasets"
)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCOTER_DATA", raising=False)
    return tmp_path


def _run(*arguments):
    result = CliRunner().invoke(data, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _own_table(folder):
    path = folder / "log.csv"
    path.write_text(
        "user,item,timestamp\n"
        + "".join(f"u{n // 4},i{n % 3},{n * 43_200}\n" for n in range(12))
        + "late,i0,1\n"
    )
    return path


def test_own_tables_are_prepared_and_shown(empty):
    path = _own_table(empty)
    with pytest.raises(DataError, match="short_users="):
        _run("prepare", "--interactions", str(path), "--out", "mine")
    result = _run("prepare", "--interactions", str(path), "--out", "mine", "--short-users", "drop")
    assert "mine: 3 users, 3 items, 12 interactions" in result.output
    assert load_prepared(Path("mine"))[0].user_keys == ("u0", "u1", "u2")
    facts = json.loads(_run("show", "anything", "--data", "mine", "--json").stdout)
    assert (facts["users"], facts["items"], facts["interactions"], facts["origin"]) == (
        3,
        3,
        12,
        "mine",
    )
    assert facts["last_two_same_day"] == 1.0
    assert facts["last_two_same_second"] == 0.0
    assert [sample["user"] for sample in facts["samples"]] == ["u0", "u1", "u2"]
    shown = _run("show", "anything", "--data", "mine").output
    assert "last two events on the same day: 100.0%" in shown
    assert "columns filled: no columns" in shown
    assert "    4. i0" in shown


def test_ls_lists_every_dataset_and_where_it_is(empty):
    rows = json.loads(_run("ls", "--json").stdout)
    assert rows["beauty"]["interactions"] == 198_502
    assert {row["found"] for row in rows.values()} == {None}
    assert "scoter data prepare yelp" in _run("ls").output
    _run(
        "prepare",
        "--interactions",
        str(_own_table(empty)),
        "--out",
        "data-cache/yelp",
        "--short-users",
        "drop",
    )
    assert json.loads(_run("ls", "--json").stdout)["yelp"]["found"] == "data-cache/yelp"
    assert json.loads(_run("ls", "--data", "elsewhere", "--json").stdout)["yelp"]["found"] is None


def test_ls_lists_the_datasets_of_plug_ins(empty, monkeypatch):
    monkeypatch.setattr(DATASETS, "registered", {})
    DATASETS.register("corner-shop")(list)
    assert json.loads(_run("ls", "--json").stdout)["corner-shop"] == {"found": "a plug-in"}
    assert "corner-shop                                a plug-in" in _run("ls").output


def test_show_simulated_needs_no_files(empty):
    facts = json.loads(_run("show", "simulated", "--json").stdout)
    assert (facts["users"], facts["items"]) == (3000, 150)
    assert facts["coverage"] == {"title": 1.0, "brand": 1.0, "categories": 1.0, "price": 1.0}


def test_another_release_needs_a_folder_of_its_own(empty):
    raw = empty / "raw"
    raw.mkdir()
    reviews = [
        {"user_id": f"u{n}", "business_id": f"b{m}", "date": f"2019-03-0{m + 1} 10:00:00"}
        for n in range(5)
        for m in range(5)
    ]
    (raw / "yelp_academic_dataset_review.json").write_text("\n".join(map(json.dumps, reviews)))
    shops = [{"business_id": f"b{m}", "name": f"Bar {m}", "categories": "Bars"} for m in range(5)]
    (raw / "yelp_academic_dataset_business.json").write_text("\n".join(map(json.dumps, shops)))
    with pytest.raises(
        DataError,
        match=r"30,431 users.* these files have 5 users, 5 items, 25 interactions.*--other-release",
    ):
        _run("prepare", "yelp", "--raw", "raw")
    assert not (empty / "data-cache").exists()
    assert (
        "say where to write with --out"
        in _run("prepare", "yelp", "--raw", "raw", "--other-release").output
    )
    assert (
        "5 users"
        in _run("prepare", "yelp", "--raw", "raw", "--other-release", "--out", "yelp-new").output
    )
    assert (raw / "yelp_academic_dataset_review.json.sha256.json").is_file()


def test_prepare_wants_a_name_or_a_table(empty):
    result = _run("prepare")
    assert result.exit_code == 2
    assert "give either the NAME" in result.output
    with pytest.raises(DataError, match="'books' is not in the registry"):
        _run("prepare", "books")


def test_describe_counts_what_it_says():
    log = InteractionLog(
        np.array([0, 1, 0, 1, 2, 2, 0]),
        np.array([0, 3, 6, 7]),
        ("a", "b", "c"),
        np.array([0, 86_400, 90_000, 1, 2, 86_402, 5]),
    )
    catalog = Catalog(
        ("x", "y", "z", "w"), {"title": ("X", "", "", "W"), "phrase": ("", "why", "", "")}
    )
    facts = describe(log, catalog, leave_one_out(log))
    assert facts["last_two_same_day"] == 0.5
    assert facts["last_two_same_second"] == 0.0
    assert facts["test_repeats"] == 1.0
    assert (facts["users_without_targets"], facts["items_never_bought"]) == (1, 1)
    assert facts["coverage"] == {"title": 0.5, "phrase": 0.25}
    assert facts["history_length"]["mean"] == pytest.approx(7 / 3)
    assert facts["samples"][0] == {"user": "a", "items": ["X", "why", "X"]}
    assert facts["samples"][1]["items"] == ["why", "z", "z"]
    unknown = InteractionLog(log.items, log.offsets, log.user_keys, np.full(7, -1))
    assert describe(unknown, catalog, leave_one_out(unknown))["last_two_same_day"] is None


def test_data_never_loads_torch():
    code = "import sys, pkgutil, importlib, scoter.data as d; import scoter.cli.data\n"
    code += (
        "for m in pkgutil.iter_modules(d.__path__): "
        "importlib.import_module(f'scoter.data.{m.name}')\n"
    )
    code += (
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', "
        "'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_data
@pytest.mark.parametrize(
    ("name", "same_day", "repeats", "titles"),
    [
        ("beauty", 0.435, 0, 0.999),
        ("sports", 0.451, 0, 0),
        ("toys", None, 0, 0),
        ("yelp", 0.272, 0.067, 1),
    ],
)
def test_real_datasets_have_their_published_counts_and_known_ties(name, same_day, repeats, titles):
    dataset = open_dataset(DataConfig(name=name), Path(REAL))
    facts = describe(dataset.log, dataset.catalog, leave_one_out(dataset.log))
    assert facts["last_two_same_day"] == (
        None if same_day is None else pytest.approx(same_day, abs=0.001)
    )
    assert facts["test_repeats"] == pytest.approx(repeats, abs=0.001)
    assert facts["coverage"]["title"] == pytest.approx(titles, abs=0.001)
    assert len(facts["samples"]) == 3
