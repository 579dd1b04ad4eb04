"""Prepared folders: what is written is read back, file order is the sequence, and bad files are
named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoter.config import DataConfig, SimulatedConfig
from scoter.data.datasets import open_dataset
from scoter.data.prepared import fingerprint, load_prepared, save_prepared
from scoter.data.simulated import simulate
from scoter.data.sources import REGISTRY, check_counts, locate, source_named
from scoter.data.split import UNKNOWN_TIME
from scoter.errors import ConfigError, DataError
from scoter.types import Catalog, InteractionLog

GOOD = {"user": [3, 1, 3, 1, 3], "item": [0, 2, 2, 1, 0], "timestamp": [9, 4, None, 4, 7]}
ITEMS = {
    "item": [2, 0, 1],
    "key": ["c", "a", "b"],
    "title": ["C", None, "B"],
    "categories": [["x", "y"], [], None],
    "price": [1, 2, None],
}


def _write(folder, interactions=None, items=None):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(interactions or GOOD), folder / "interactions.parquet")
    pq.write_table(pa.table(items or ITEMS), folder / "items.parquet")
    return folder


def test_scattered_users_keep_their_file_order(tmp_path):
    log, catalog = load_prepared(_write(tmp_path))
    assert log.user_keys == ("1", "3")
    assert [log.sequence(user).tolist() for user in (0, 1)] == [[2, 1], [0, 2, 0]]
    assert log.times.tolist() == [4, 4, 9, UNKNOWN_TIME, 7]
    assert catalog.keys == ("a", "b", "c")
    assert catalog.columns["title"] == ("", "B", "C")
    assert catalog.columns["categories"] == ((), (), ("x", "y"))
    assert catalog.columns["price"][:1] + catalog.columns["price"][2:] == (2.0, 1.0)
    assert np.isnan(catalog.columns["price"][1])


def test_what_is_saved_is_read_back(tmp_path):
    shop = simulate(SimulatedConfig(users=30, brands=3), 0)
    times = shop.log.times.copy()
    times[4] = UNKNOWN_TIME
    log = InteractionLog(shop.log.items, shop.log.offsets, shop.log.user_keys, times)
    save_prepared(log, shop.catalog, tmp_path)
    again, catalog = load_prepared(tmp_path)
    for name in ("items", "offsets", "times"):
        assert np.array_equal(getattr(again, name), getattr(log, name))
    assert again.user_keys == log.user_keys
    assert (catalog.keys, catalog.columns) == (shop.catalog.keys, shop.catalog.columns)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "interactions.parquet",
        "items.parquet",
    ]


def test_no_times_and_no_keys_are_said_so(tmp_path):
    _write(
        tmp_path,
        {**GOOD, "timestamp": pa.array([None] * 5, pa.int64())},
        {"item": [0, 1, 2], "key": pa.nulls(3)},
    )
    log, catalog = load_prepared(tmp_path)
    assert log.times is None
    assert (catalog.keys, dict(catalog.columns)) == (("0", "1", "2"), {})
    save_prepared(log, catalog, tmp_path / "again")
    assert load_prepared(tmp_path / "again")[0].times is None


@pytest.mark.parametrize(
    ("interactions", "items", "message"),
    [
        (
            {"user": [1], "timestamp": [1]},
            None,
            "interactions.parquet has no column 'item'; it has user, timestamp",
        ),
        (
            {"user": [1, None], "item": [0, 1]},
            None,
            r"column 'user' of .* is empty in 1 rows \(first: row 1\)",
        ),
        ({"user": [1.0], "item": [0]}, None, "column 'user' of .* holds double, not whole numbers"),
        (
            {"user": ["ann"], "item": [0]},
            None,
            "holds string, not whole numbers; use `scoter data prepare`",
        ),
        (
            {"user": [1, 1], "item": [0, 7]},
            None,
            r"row 1 of .* names item 7, which items.parquet does not have \(it has 0..2\)",
        ),
        ({"user": [1], "item": [-1]}, None, "names item -1"),
        (
            {"user": [1], "item": [0], "timestamp": [1.5]},
            None,
            "column 'timestamp' of .* holds double",
        ),
        (
            {"user": pa.array([], pa.int32()), "item": pa.array([], pa.int32())},
            None,
            "interactions.parquet has no rows",
        ),
        (
            {"user": [1, 1], "item": [0, 1], "timestamp": [None, -4]},
            None,
            "row 1 of .* has timestamp -4, .* before 1970",
        ),
        (
            {"user": [1], "item": [0], "timestamp": [1546300800000]},
            None,
            "row 0 of .* divide milliseconds by 1000",
        ),
        (
            {"user": [1, 1], "item": [0, 1], "timestamp": [20190101, 20190102]},
            None,
            "write 2019-01-01 instead",
        ),
        (
            {"user": [1, 2], "item": [0, 1], "user_key": ["a", None]},
            None,
            "column 'user_key' of .* is empty in 1 rows; fill all",
        ),
        (
            {"user": [1, 2], "item": [0, 1], "user_key": ["a", "a"]},
            None,
            "'user_key' of .* has 'a' for user 1 and user 2; give",
        ),
        (
            {"user": [7, 7], "item": [0, 1], "user_key": ["a", "b"]},
            None,
            "row 1 of .* another user_key than user 7 has",
        ),
        (
            {"user": [7, 7], "item": [0, 1], "user_key": ["a", None]},
            None,
            "row 1 of .* another user_key than user 7 has",
        ),
        (
            {"user": [1], "item": [0], "user_key": [["a"]]},
            None,
            "'user_key' of .* holds list.*, not text or whole numbers",
        ),
        (
            None,
            {"item": [0, 1, 2], "key": ["a", "b", "a"]},
            "'key' of .* has 'a' for item 0 and item 2; give each a key",
        ),
        (None, {"item": [0, 1, 2], "key": ["a", " ", "b"]}, "'key' of .* is blank for item 1"),
        (None, {"item": [0, 0, 2]}, "must hold each of 0..2 once"),
        (
            None,
            {"item": [0, 1, 2], "key": ["a", None, "c"]},
            "column 'key' of .* is empty in 1 rows; fill all of them or none",
        ),
        (None, {"item": [0, 1, 2], "new": [True, False, True]}, "column 'new' of .* holds bool"),
    ],
)
def test_bad_prepared_files_are_named(tmp_path, interactions, items, message):
    with pytest.raises(DataError, match=message):
        load_prepared(_write(tmp_path, interactions, items))


def test_missing_empty_and_truncated_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"interactions.parquet does not exist"):
        load_prepared(tmp_path)
    with pytest.raises(DataError, match=r"not a prepared dataset: interactions.parquet is missing"):
        fingerprint(tmp_path)
    path = _write(tmp_path) / "interactions.parquet"
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"interactions.parquet is not a readable parquet file"):
            load_prepared(tmp_path)
    with pytest.raises(DataError, match="column 'key' has a reserved name"):
        save_prepared(
            InteractionLog(np.array([0]), np.array([0, 1]), ("a",)),
            Catalog(("x",), {"key": ("k",)}),
            tmp_path,
        )


def test_fingerprint_follows_the_bytes_of_both_files_only(tmp_path):
    first = fingerprint(_write(tmp_path / "a"))
    assert first == fingerprint(_write(tmp_path / "b"))
    assert first != fingerprint(_write(tmp_path / "c", {**GOOD, "item": [0, 2, 2, 1, 1]}))
    assert first != fingerprint(_write(tmp_path / "d", None, {**ITEMS, "title": ["C", "", "B"]}))


def test_datasets_are_found_by_argument_then_environment_then_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCOTER_DATA", raising=False)
    assert locate("toys") is None
    _write(tmp_path / "data-cache" / "toys")
    assert str(locate("toys")) == "data-cache/toys"
    monkeypatch.setenv("SCOTER_DATA", str(tmp_path / "env"))
    assert str(locate("toys")) == "data-cache/toys"
    _write(tmp_path / "env" / "toys")
    assert locate("toys") == tmp_path / "env" / "toys"
    many, own = _write(tmp_path / "many" / "toys"), _write(tmp_path / "own")
    assert (locate("toys", tmp_path / "many"), locate("toys", own)) == (many, own)
    with pytest.raises(DataError, match=r"--data .*many holds no prepared dataset 'yelp'"):
        locate("yelp", tmp_path / "many")


def test_wrong_counts_are_refused_with_both_numbers(tmp_path):
    log, catalog = load_prepared(_write(tmp_path))
    with pytest.raises(
        DataError,
        match=r"22,363 users, 12,101 items, 198,502 .* have 2 users, 3 items, 5 interactions",
    ):
        check_counts("beauty", log, catalog)
    with pytest.raises(DataError, match=r"'toys' should have 19,412 users"):
        open_dataset(DataConfig(name="toys"), tmp_path)
    assert open_dataset(DataConfig(name="mine"), tmp_path).log.user_count == 2


def test_one_door_opens_folders_samples_and_the_simulated_shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCOTER_DATA", raising=False)
    _write(tmp_path / "mine")
    whole, one = (
        open_dataset(DataConfig(name="mine", max_users=count), tmp_path / "mine")
        for count in (0, 1)
    )
    assert (whole.log.user_count, one.log.user_count) == (2, 1)
    assert whole.identity != one.identity
    small = DataConfig(name="simulated", simulated=SimulatedConfig(users=9))
    shops = [open_dataset(small, seed=seed) for seed in (0, 0, 1)]
    assert shops[0].identity == shops[1].identity != shops[2].identity
    assert shops[0].log.user_count == 9
    with pytest.raises(
        DataError,
        match=r"'beauty' is neither in \$SCOTER_DATA nor in data-cache/; run `scoter data prepare "
        r"beauty`",
    ):
        open_dataset(DataConfig(name="beauty"))
    with pytest.raises(DataError, match=r"'mine' is neither .*; Point --data"):
        open_dataset(DataConfig(name="mine"))
    with pytest.raises(ConfigError, match=r"data.simulated is set but data.name is 'mine'"):
        open_dataset(DataConfig(name="mine", simulated=SimulatedConfig()))
    with pytest.raises(ConfigError, match=r"data.max_users is -1"):
        open_dataset(DataConfig(name="mine", max_users=-1))


def test_the_registry_is_whole():
    assert list(REGISTRY) == ["beauty", "sports", "toys", "yelp", "instruments"]
    for name, source in REGISTRY.items():
        assert source.name == name
        assert min(len(source.citation), len(source.terms)) > 20
        assert source.page.startswith("https://")
        assert len(source.addresses) in (0, 2)
        assert all(
            address.endswith(file)
            for address, file in zip(source.addresses, source.files, strict=False)
        )
    with pytest.raises(
        DataError, match="'books' is not in the registry; choose from beauty, sports"
    ):
        source_named("books")
