"""Hostile input is refused by name, in bounded time and memory; what fuzzing found stays found."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoter.config import with_overrides
from scoter.data.official.raw import read_metadata, read_reviews
from scoter.data.prepared import load_prepared, save_prepared
from scoter.data.tables import load_table
from scoter.errors import ConfigError, DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.experiments import experiment
from scoter.storage import untrusted
from scoter.types import Catalog, InteractionLog

REVIEW = {"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1300000000}
TOWER = "[" * 100_000


class Everything:
    def __contains__(self, key: object) -> bool:
        return True


@pytest.mark.parametrize(
    "changed",
    [
        {"reviewerID": None}, {"reviewerID": ["A"]}, {"reviewerID": "\ud83d"}, {"asin": 7},
        {"unixReviewTime": 10**30},
        {"unixReviewTime": float("inf")}, {"unixReviewTime": -1}, {"unixReviewTime": []},
        {"unixReviewTime": "9" * 5000},
    ],
)  # fmt: skip
def test_a_review_with_an_impossible_value_is_named_by_its_line(
    changed: dict, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.json"
    path.write_text(json.dumps(REVIEW) + "\n" + json.dumps({**REVIEW, **changed}) + "\n")
    with pytest.raises(DataError, match="line 2 of"):
        read_reviews(path, "amazon-2014")


@pytest.mark.parametrize(
    "line",
    [TOWER, json.dumps({"a": 1}) + "x", "(" * 5000, "{'asin': b'\\xff'}", "{'asin': '\\ud83d'}"],
)
def test_a_tower_of_brackets_is_no_crash(line: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="line 1 of"):
        read_reviews(path, "amazon-2014")
    for release in ("amazon-2014", "amazon-2018", "yelp"):
        with pytest.raises(DataError, match="line 1 of"):
            read_metadata(path, release, Everything())


def test_an_item_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_bytes(b"{'asin': '\xff\xfe', 'title': 'x'}\n")
    assert read_metadata(tmp_path / "meta.json", "amazon-2014", {"other"}) == {}
    with pytest.raises(DataError, match="line 1 of"):
        read_metadata(tmp_path / "meta.json", "amazon-2014", Everything())


def test_titles_can_be_written_down_again_and_take_linear_time(tmp_path: Path) -> None:
    described = {
        "asin": "B1",
        "title": "half \ud83d" + "<a" * 100_000,
        "price": "1e999",
        "brand": "<b>X</b> & <i",
    }
    (tmp_path / "meta.json").write_text(repr(described) + "\n")
    cells = read_metadata(tmp_path / "meta.json", "amazon-2014", Everything())["B1"]
    assert str(cells["title"]).startswith("half ?<a<a")
    assert cells["brand"] == "X & <i"
    assert np.isnan(cells["price"])
    log = InteractionLog(np.array([0]), np.array([0, 1]), ("ann",))
    save_prepared(
        log, Catalog(("B1",), {name: (cell,) for name, cell in cells.items()}), tmp_path / "saved"
    )
    assert load_prepared(tmp_path / "saved")[1].columns["title"] == (cells["title"],)


def test_long_lines_and_blank_ones_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "lines.json.gz"
    path.write_bytes(gzip.compress(b"{}\n" + b"x" * 100 + b"\n"))
    assert len(list(untrusted.lines(path, most=101))) == 2
    with pytest.raises(DataError, match=r"line 2 of .* is longer than 100 bytes"):
        list(untrusted.lines(path, most=100))
    path.write_bytes(gzip.compress(b"\n" * 200_000))
    with pytest.raises(DataError, match="blank lines in a row"):
        list(untrusted.lines(path))


def test_a_packed_file_may_not_explode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "SMALL", 100_000)
    bomb = gzip.compress(b"user,item,timestamp\n" + b"a,b,1\n" * 500_000, 9)
    for name, read in (
        ("bomb.csv.gz", load_table),
        ("bomb.json.gz", lambda path: read_reviews(path, "amazon-2014")),
    ):
        (tmp_path / name).write_bytes(
            bomb if "csv" in name else gzip.compress(b'{"a": "' + b"x" * 3_000_000 + b'"}\n', 9)
        )
        with pytest.raises(
            DataError, match=r"unpacks to more than [\d,]+ bytes, 200 times its size"
        ):
            read(tmp_path / name)
    (tmp_path / "honest.csv.gz").write_bytes(
        gzip.compress(b"user,item,timestamp\na,b,1\na,c,2\na,d,3\n")
    )
    assert load_table(tmp_path / "honest.csv.gz")[0].user_count == 1


def test_a_parquet_table_may_not_explode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(
        pa.table({"user": np.zeros(200_000, np.int8), "item": np.zeros(200_000, np.int8)}),
        tmp_path / "x.parquet",
    )
    assert untrusted.read_parquet(tmp_path / "x.parquet").num_rows == 200_000
    monkeypatch.setattr(untrusted, "SMALL", 1000)
    with pytest.raises(ValueError, match="more than a table of that size can be"):
        untrusted.read_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="more than a table of that size can be"):
        load_table(tmp_path / "x.parquet", order="file")


@pytest.mark.parametrize("value", [TOWER, "9" * 5000, "NaN" * 3, '{"a":' * 50_000, "\udc80"])
def test_a_setting_that_is_no_value_is_refused_in_a_short_line(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_overrides(experiment("simulated-smoke"), [f"data.max_users={value}"])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "setting",
    [
        "methods.*.training.epochs=0", "methods.*.training.epochs=-1",
        "methods.*.training.learning_rate=NaN",
        "methods.*.training.learning_rate=0", "methods.*.training.warmup_share=Infinity",
        "methods.*.training.batch_targets=0",
        "methods.tiger.model.dim=99999999999", "methods.tiger.model.dropout=1",
        "semantic_ids.levels=0",
        "data.simulated.users=0", "data.simulated.order=2",
    ],
)  # fmt: skip
def test_a_setting_outside_its_range_is_refused_by_name(setting: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{setting.split('=')[0].rpartition('.')[2]} = .* was refused"
    ):
        with_overrides(experiment("simulated-smoke"), [setting])


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table(
        [pa.array(["a"]), pa.array(["b"]), pa.array([1]), pa.array(["c"])],
        names=["user", "item", "timestamp", "user"],
    )
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="user"):
        load_table(tmp_path / "twice.parquet")


def test_text_that_is_no_utf8_and_two_columns_of_one_name_are_no_prepared_dataset(
    tmp_path: Path,
) -> None:
    log = InteractionLog(np.array([0]), np.array([0, 1]), ("ann",))
    save_prepared(log, Catalog(("a",), {"title": ("Soap",)}), tmp_path)
    path = tmp_path / "items.parquet"
    latin = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"], pa.binary()).buffers())
    pq.write_table(pa.table({"item": [0], "key": ["a"], "title": latin}), path)
    with pytest.raises(DataError, match=r"items\.parquet is not a readable parquet file"):
        load_prepared(tmp_path)
    pq.write_table(pa.table([pa.array([0]), pa.array([0])], names=["item", "item"]), path)
    with pytest.raises(DataError, match="two columns 'item'"):
        load_prepared(tmp_path)


def test_ranks_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for ranks in (["first"], [None], [0.5], [[1]]):
        table = pa.table({"user": [0], "rank": ranks}).replace_schema_metadata({"depth": "10"})
        pq.write_table(table, tmp_path / "ranks.parquet")
        with pytest.raises(DataError, match="is not a file of ranks"):
            load_user_metrics(tmp_path / "ranks.parquet")
