"""Datasets from DataFrames and from plug-ins: what is given is what is read, by the same checks."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import scoter
from scoter.cli.main import main
from scoter.config import DataConfig
from scoter.data.datasets import DATASETS, Dataset, load_dataset, open_dataset
from scoter.data.tables import load_table
from scoter.errors import ConfigError, DataError
from scoter.reasoning.catalogue.facets import read_facets
from scoter.semantic_ids.vectors import text_fields

ROWS = pd.DataFrame(
    {"user": list("aaabbb"), "item": list("xyzxyx"), "timestamp": [3, 1, 2, 7, 8, 9]}
)
ITEMS = pd.DataFrame(
    {"item": list("zyx"), "title": ["Zed", None, "Ex"], "categories": [["c"], [], ["a", "b"]]}
)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCOTER_DATA", raising=False)
    monkeypatch.setattr(DATASETS, "registered", {})
    return tmp_path


def test_frames_are_read_as_the_files_that_they_would_be(tmp_path: Path) -> None:
    for name, frame in (("log", ROWS), ("items", ITEMS)):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    log, catalog = load_table(tmp_path / "log.parquet", tmp_path / "items.parquet", seed=3)
    made = Dataset.from_pandas(ROWS.set_index(np.arange(6) * 2), ITEMS, seed=3)
    assert (made.log.items.tolist(), made.log.user_keys) == (log.items.tolist(), log.user_keys)
    assert made.log.times is not None
    assert log.times is not None
    assert made.log.times.tolist() == log.times.tolist() == [1, 2, 3, 7, 8, 9]
    assert (made.catalog.keys, made.catalog.columns) == (catalog.keys, catalog.columns)
    assert made.interactions["item"].tolist() == list("yzxxyx")


def test_a_dataset_survives_its_own_frames() -> None:
    shop = load_dataset("simulated", users=30)
    again = Dataset.from_pandas(shop.interactions, shop.items)
    pd.testing.assert_frame_equal(
        again.interactions.sort_values(["user", "timestamp"], ignore_index=True),
        shop.interactions.sort_values(["user", "timestamp"], ignore_index=True),
    )
    order = ["item", *shop.catalog.columns]
    pd.testing.assert_frame_equal(
        again.items[order].sort_values("item", ignore_index=True),
        shop.items.sort_values("item", ignore_index=True),
    )


def test_a_frame_is_copied_and_its_content_is_the_identity() -> None:
    frame = ROWS.copy()
    first, same = Dataset.from_pandas(frame), Dataset.from_pandas(frame, name="other")
    frame.loc[0, "timestamp"] = 0
    assert first.interactions["timestamp"].tolist() == [1, 2, 3, 7, 8, 9]
    assert first.identity == same.identity != Dataset.from_pandas(frame).identity
    assert first.identity != Dataset.from_pandas(ROWS, ITEMS).identity


@pytest.mark.parametrize(
    ("rows", "items", "message"),
    [
        (ROWS.drop(columns="item"), None, "the table of interactions has no column 'item'"),
        (ROWS.drop(columns="timestamp"), None, "no column 'timestamp' .* say order='file'"),
        (
            ROWS.assign(user=None),
            None,
            "column 'user' of the table of interactions is empty or NaN in 6",
        ),
        (
            ROWS.assign(item=["x", 1, *"zxyx"]),
            None,
            "the table of interactions cannot be read .* one type",
        ),
        (ROWS.head(0), None, "the table of interactions has no rows"),
        (ROWS.head(5), None, "1 users of the table of interactions have fewer than 3 events"),
        (
            pd.concat([ROWS, ROWS.head(1)]),
            None,
            "row 7 of the table of interactions has the user, item and",
        ),
        (
            ROWS,
            ITEMS.head(2),
            "row 1 of the table of interactions names item .x., which the table of items",
        ),
        (ROWS, ITEMS.assign(key="k"), "column 'key' of the table of items has a reserved name"),
        (ROWS, ITEMS.assign(categories=[1, 2, 3]), "'categories' of the table of items holds 1"),
        (ROWS.set_axis(["user", "item", "item"], axis=1), None, "two columns 'item'"),
    ],
)
def test_bad_frames_are_named(rows: pd.DataFrame, items: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.from_pandas(rows, items)


def test_policies_of_tables_hold_for_frames() -> None:
    doubled = pd.concat([ROWS, ROWS.head(1)])
    assert len(Dataset.from_pandas(doubled, duplicates="first").log.items) == 6
    assert len(Dataset.from_pandas(doubled, duplicates="keep").log.items) == 7
    assert Dataset.from_pandas(ROWS.head(5), short_users="drop").users == ["a"]
    timeless = Dataset.from_pandas(ROWS.drop(columns="timestamp"), order="file", duplicates="keep")
    assert timeless.log.times is None
    with pytest.raises(TypeError, match="shortusers"):
        Dataset.from_pandas(ROWS, shortusers="drop")  # pyright: ignore[reportCallIssue]


def _run(name: str, *values: str) -> dict:
    options = [part for value in values for part in ("--set", value)]
    done = CliRunner().invoke(main, ["run", name, "--store", "store", "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_registered_dataset_is_found_by_its_name_and_keyed_by_its_content(empty: Path) -> None:
    rows = [ROWS]
    scoter.register_dataset("mine")(lambda: (rows[0], ITEMS))
    first = load_dataset("mine")
    assert (first.name, first.origin, first.users) == ("mine", "plug-in mine", ["a", "b"])
    made = _run("mine-popularity")
    assert made["dataset"] == "mine"
    assert made["methods"]["popularity"]["recall@5"] == 1.0
    assert made["run"] == _run("mine-popularity")["run"]
    rows[0] = ROWS.assign(timestamp=range(6))
    assert open_dataset(DataConfig("mine")).identity != first.identity
    assert _run("mine-popularity")["run"] != made["run"]
    assert _run("beauty-popularity", "data.name=mine")["dataset"] == "mine"
    scoter.register_dataset("whole")(lambda: Dataset.from_pandas(ROWS))
    assert load_dataset("whole", users=1).log.user_count == 1
    scoter.register_dataset("beauty")(lambda: (ROWS, None))
    with pytest.raises(DataError, match="'beauty' should have 22,363 users"):
        load_dataset("beauty")
    with pytest.raises(DataError, match="dataset 'main' is neither"):
        load_dataset("main")


@pytest.mark.parametrize("made", [5, ROWS, (ROWS, ITEMS, ITEMS), (ITEMS.to_dict(), None)])
def test_a_registered_function_that_gives_something_else_is_named(
    made: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DATASETS, "registered", {})
    scoter.register_dataset("odd")(lambda: made)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"'odd' of a plug-in gave \w+, not a Dataset; return one"):
        load_dataset("odd")


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text()
    code = page.partition("```python\nimport pandas")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec("import pandas" + code, names)
    assert isinstance(shop := names["shop"], Dataset)
    assert (shop.users, shop.log.lengths.tolist()) == (["ann"], [4])
    assert "towel" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize("key", [["x"], {"a": 1}, ("x", "y")])
def test_a_key_is_one_value(column: str, key: object) -> None:
    rows = ROWS.assign(**{column: [key] * len(ROWS)})
    with pytest.raises(DataError, match=rf"row 1 of .* has {column} .*write each key as text"):
        Dataset.from_pandas(rows)


def test_a_plugin_that_fails_is_named(empty: Path) -> None:
    DATASETS.register("mine")(lambda: {}["no such key"])
    with pytest.raises(DataError, match=r"'mine' of a plug-in failed \(KeyError: 'no such key'\)"):
        load_dataset("mine")


def test_an_unknown_text_field_is_named() -> None:
    catalog = Dataset.from_pandas(ROWS, ITEMS).catalog
    assert text_fields(catalog, ("title", "brand", "categories", "phrase")) == [
        "title",
        "categories",
    ]
    with pytest.raises(ConfigError, match=r"names 'titel'.*Did you mean 'title'"):
        text_fields(catalog, ("titel",))


@pytest.mark.parametrize(
    ("prices", "read"), [([Decimal("1.5")] * 3, [1.5] * 3), (["2.50", None, "3"], [3, None, 2.5])]
)
def test_prices_are_numbers_however_they_are_kept(prices: list, read: list) -> None:
    items = Dataset.from_pandas(ROWS, ITEMS.assign(price=prices)).items
    known = dict(zip(items["item"], items["price"], strict=True))
    for item, price in zip("zyx", reversed(read), strict=True):
        assert known[item] == price or (price is None and np.isnan(known[item]))


def test_a_price_in_words_is_refused_and_an_endless_one_says_nothing() -> None:
    with pytest.raises(DataError, match=r"'price' of .* holds '\$1', which is no number"):
        Dataset.from_pandas(ROWS, ITEMS.assign(price=["$1", "2", "3"]))
    endless = Dataset.from_pandas(ROWS, ITEMS.assign(price=[np.inf] * 3))
    assert "price" not in read_facets(endless.catalog)


def test_of_several_paths_of_categories_the_first_is_kept() -> None:
    paths = [[["Beauty", "Hair"]], [["Beauty"], ["Gift"]], [["Toys"]]]
    items = Dataset.from_pandas(ROWS, ITEMS.assign(categories=paths)).items
    kept = dict(zip(items["item"], items["categories"], strict=True))
    assert kept == {"z": ("Beauty", "Hair"), "y": ("Beauty",), "x": ("Toys",)}


def test_a_plugin_may_not_lose_its_split(empty: Path) -> None:
    DATASETS.register("mine")(lambda: Dataset.from_pandas(ROWS).without_test())
    with pytest.raises(DataError, match="split of its own"):
        load_dataset("mine")
