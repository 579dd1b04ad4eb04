"""A user's own tables: every kind of bad input has a message or a named policy."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoter.data.tables import load_table
from scoter.errors import DataError

ROWS = "user,item,timestamp\nann,x,30\nbob,y,5\nann,y,10\nann,z,20\nbob,x,5\nbob,z,4\n"
ITEMS = "item,title,brand,categories,price,colour\nx,Ex,,a|b,1.5,red\ny,,Acme,,,\nz,007,Acme,c,3,blue\nw,Never bought,,,2,\n"


def _file(folder, text, name="log.csv"):
    path = folder / name
    path.write_bytes(text.encode()) if isinstance(text, str) else path.write_bytes(text)
    return path


def _keys(log, catalog):
    return {key: [catalog.keys[item] for item in log.sequence(user)] for user, key in enumerate(log.user_keys)}


def _row(catalog, key):
    return {name: cells[catalog.keys.index(key)] for name, cells in catalog.columns.items()}


def test_unsorted_rows_are_sorted_per_user_and_ties_keep_file_order(tmp_path):
    log, catalog = load_table(_file(tmp_path, ROWS), _file(tmp_path, ITEMS, "items.csv"))
    assert _keys(log, catalog) == {"ann": ["y", "z", "x"], "bob": ["z", "y", "x"]}
    assert log.times.tolist() == [10, 20, 30, 4, 5, 5]
    assert _row(catalog, "x") == {"title": "Ex", "brand": "", "categories": ("a", "b"), "price": 1.5, "colour": "red"}
    assert _row(catalog, "z")["title"] == "007"
    empty = _row(catalog, "y")
    assert (empty["title"], empty["categories"], empty["colour"]) == ("", (), "")
    assert np.isnan(empty["price"])
    assert catalog.item_count == 4


@pytest.mark.parametrize("name", ["log.csv.gz", "log.tsv", "log.parquet"])
def test_formats_agree(tmp_path, name):
    expected, catalog = load_table(_file(tmp_path, ROWS))
    path = tmp_path / name
    if name.endswith(".parquet"):
        pd.read_csv(tmp_path / "log.csv").to_parquet(path)
    else:
        path.write_bytes(gzip.compress(ROWS.encode()) if name.endswith(".gz") else ROWS.replace(",", "\t").encode())
    log, other = load_table(path)
    assert (log.items.tolist(), log.user_keys, other.keys) == (expected.items.tolist(), expected.user_keys, catalog.keys)


def test_file_order_needs_no_times(tmp_path):
    rows = "".join(line.rpartition(",")[0] + "\n" for line in ROWS.splitlines())
    log, catalog = load_table(_file(tmp_path, rows), order="file")
    assert _keys(log, catalog) == {"ann": ["x", "y", "z"], "bob": ["y", "x", "z"]}
    assert log.times is None
    timed, catalog = load_table(_file(tmp_path, ROWS), order="file")
    assert _keys(timed, catalog)["ann"] == ["x", "y", "z"]
    assert timed.times.tolist() == [30, 10, 20, 5, 5, 4]


def test_items_are_numbered_at_random_by_seed(tmp_path):
    rows = "user,item,timestamp\n" + "".join(f"u{n // 10},i{n},{n}\n" for n in range(200))
    path = _file(tmp_path, rows)
    logs = [load_table(path, seed=seed)[0].items for seed in (0, 0, 1)]
    assert np.array_equal(logs[0], logs[1])
    assert not np.array_equal(logs[0], logs[2])
    assert abs(np.corrcoef(logs[0], np.arange(200))[0, 1]) < 0.25


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["2019-01-01", "2019-01-01T00:00:01", "2019-01-01T02:00:02+02:00"], [1546300800, 1546300801, 1546300802]),
        (["1546300800", "1546300800.9", "1546300802"], [1546300800, 1546300800, 1546300802]),
    ],
)
def test_times_are_seconds_or_dates(tmp_path, stamps, expected):
    rows = "user,item,timestamp\n" + "".join(f"a,{n},{stamp}\n" for n, stamp in enumerate(stamps))
    assert load_table(_file(tmp_path, rows))[0].times.tolist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_parquet_dates_are_read_in_any_unit(tmp_path, unit):
    stamps = pd.Series(np.array([1546300800, 1546300801, 1546300802], "datetime64[s]").astype(f"datetime64[{unit}]"))
    for times in (stamps, stamps.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")):
        pd.DataFrame({"user": 1, "item": [1, 2, 3], "timestamp": times}).to_parquet(tmp_path / "log.parquet")
        assert load_table(tmp_path / "log.parquet")[0].times.tolist() == [1546300800, 1546300801, 1546300802]


REPEATED = "user,item,timestamp\na,x,1\na,y,2\na,x,1\na,x,3\n"


def test_duplicate_rows_follow_the_policy_and_repeats_stay(tmp_path):
    path = _file(tmp_path, REPEATED)
    with pytest.raises(
        DataError, match=r"row 3 of .* user, item and timestamp of an earlier row \(1 such rows\); say duplicates="
    ):
        load_table(path)
    assert _keys(*load_table(path, duplicates="first")) == {"a": ["x", "y", "x"]}
    assert _keys(*load_table(path, duplicates="keep")) == {"a": ["x", "x", "y", "x"]}


def test_short_users_follow_the_policy(tmp_path):
    path = _file(tmp_path, ROWS + "cyd,x,1\n")
    with pytest.raises(DataError, match=r"1 users of .* fewer than 3 events \(first: 'cyd' has 1\); say short_users="):
        load_table(path)
    assert load_table(path, short_users="drop")[0].user_keys == ("ann", "bob")
    assert load_table(path, short_users="keep")[0].user_keys == ("ann", "bob", "cyd")
    with pytest.raises(DataError, match=r"no user of .* has 9 events"):
        load_table(path, short_users="drop", min_events=9)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("user,time\na,1\n", r"no column 'item' \(it has user, time\); rename or add it"),
        ("user,item\na,x\n", r"no column 'timestamp' .* say order='file'"),
        ("user,item,timestamp\na,,1\n", r"column 'item' of .* is empty or NaN in 1 rows \(first: row 1\)"),
        ("user,item,timestamp\na,x,1\nNaN,x,1\n", r"column 'user' of .* \(first: row 2\)"),
        ("user,item,timestamp\na,x,NaN\n", r"column 'timestamp' of .* is empty or NaN in 1 rows"),
        ("user,item,timestamp\na,x,soon\n", "row 1 of .* neither seconds nor an ISO 8601 date"),
        ("user,item,timestamp\na,x,1546300800000\n", "timestamp 1546300800000, .* divide milliseconds by 1000"),
        ("user,item,timestamp\na,x,-4\n", "timestamp -4, which is no time"),
        ("user,item,timestamp\na,q,1\n", "row 1 of .* names item 'q', which .*items.csv does not have"),
        ("user,item,timestamp\n", "has no rows"),
        ("", "cannot be read .* check that it is a whole .csv file"),
        ('user,item,timestamp\na,"x,1\n', "cannot be read"),
    ],
)
def test_bad_interactions_are_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        load_table(_file(tmp_path, rows), _file(tmp_path, ITEMS, "items.csv"))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("title\nEx\n", "items.csv has no column 'item'"),
        ("item,title\nx,1\nx,2\n", "row 2 of .* describes item 'x' again"),
        ("item,key\nx,1\n", "column 'key' of .* has a reserved name"),
        ("item,title\nx,1\n,2\n", "column 'item' of .* is empty or NaN"),
    ],
)
def test_bad_items_are_named(tmp_path, items, message):
    with pytest.raises(DataError, match=message):
        load_table(_file(tmp_path, ROWS), _file(tmp_path, items, "items.csv"))


def test_broken_and_unknown_files_are_named(tmp_path):
    packed = gzip.compress(ROWS.encode() * 50)
    with pytest.raises(DataError, match=r"log.csv.gz is truncated or damaged"):
        load_table(_file(tmp_path, packed[: len(packed) // 2], "log.csv.gz"))
    with pytest.raises(DataError, match=r"log.csv.gz is truncated or damaged"):
        load_table(_file(tmp_path, ROWS, "log.csv.gz"))
    with pytest.raises(DataError, match="cannot be read"):
        load_table(_file(tmp_path, b"PAR1 nothing", "log.parquet"))
    with pytest.raises(DataError, match=r"neither .csv, .tsv"):
        load_table(_file(tmp_path, ROWS, "log.xlsx"))
    with pytest.raises(DataError, match="does not exist; check the path"):
        load_table(tmp_path / "nowhere.csv")


def test_digits_by_the_thousand_are_no_time(tmp_path):
    (tmp_path / "log.csv").write_text(f"user,item,timestamp\nu,i,154{'9' * 5000}\nu,j,{'9' * 400}\nu,k,3\n")
    with pytest.raises(DataError, match=r"row 1 of .*log\.csv has"):
        load_table(tmp_path / "log.csv")


def test_bytes_in_parquet_are_text_or_refused(tmp_path):
    rows = {"user": [b"u"] * 3, "item": [b"i", "\u00e9".encode(), b"k"], "timestamp": [1, 2, 3]}
    pq.write_table(pa.table(rows), tmp_path / "log.parquet")
    log, catalog = load_table(tmp_path / "log.parquet")
    assert log.user_keys == ("u",)
    assert sorted(catalog.keys) == ["i", "k", "\u00e9"]
    items = pa.table({"item": [b"i", "\u00e9".encode(), b"k"], "categories": [[b"soap"], [], [b"oil"]]})
    pq.write_table(items, tmp_path / "items.parquet")
    told = load_table(tmp_path / "log.parquet", tmp_path / "items.parquet")[1]
    assert dict(zip(told.keys, told.columns["categories"], strict=True)) == {"i": ("soap",), "\u00e9": (), "k": ("oil",)}
    pq.write_table(pa.table({**rows, "user": [b"\xff"] * 3}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"cannot be read .*UTF8"):
        load_table(tmp_path / "log.parquet")


def test_parquet_lists_become_categories_and_odd_lists_are_refused(tmp_path):
    items = pd.DataFrame({"item": ["x", "y", "z"], "categories": [["a", "b"], None, []], "tags": [["t"], [], ["u", "v"]]})
    items.to_parquet(tmp_path / "items.parquet")
    _, catalog = load_table(_file(tmp_path, ROWS), tmp_path / "items.parquet")
    assert _row(catalog, "x") == {"categories": ("a", "b"), "tags": ("t",)}
    assert _row(catalog, "y") == {"categories": (), "tags": ()}
    items.assign(categories=[1, 2, 3]).to_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"column 'categories' of .* holds 1, which is no list"):
        load_table(tmp_path / "log.csv", tmp_path / "items.parquet")
