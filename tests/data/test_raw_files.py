"""Raw parsers and preparation on small files in the official formats; the five-core against a plain
loop."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.data.official.prepare import k_core, prepare
from scoter.data.official.raw import read_metadata, read_reviews
from scoter.data.sources import REGISTRY
from scoter.errors import DataError

AMAZON = [("u1", "A", 30), ("u2", "B", 10), ("u1", "B", 30), ("u1", "C", 10)]


def _pack(path, lines):
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return path


def _amazon_lines(rows):
    return [
        json.dumps({"reviewerID": user, "asin": item, "unixReviewTime": time, "reviewText": "x"})
        for user, item, time in rows
    ]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=60), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_k_core_equals_removing_one_event_at_a_time(events, k):
    left = list(enumerate(events))
    while True:
        users, items = [user for _, (user, _) in left], [item for _, (_, item) in left]
        bad = next(
            (row for row in left if users.count(row[1][0]) < k or items.count(row[1][1]) < k), None
        )
        if bad is None:
            break
        left.remove(bad)
    columns = np.asarray(events, dtype=np.int64).reshape(-1, 2)
    assert np.flatnonzero(k_core(columns[:, 0], columns[:, 1], k)).tolist() == [
        number for number, _ in left
    ]


def test_amazon_reviews_packed_and_plain(tmp_path):
    packed = _pack(tmp_path / "r.json.gz", [*_amazon_lines(AMAZON), ""])
    (tmp_path / "r.json").write_bytes(gzip.decompress(packed.read_bytes()))
    for path in (packed, tmp_path / "r.json"):
        reviews = read_reviews(path, "amazon-2014")
        named = [
            (reviews.user_keys[u], reviews.item_keys[i], t)
            for u, i, t in zip(reviews.users, reviews.items, reviews.times, strict=True)
        ]
        assert named == AMAZON


def test_yelp_reviews_of_the_window_only(tmp_path):
    dates = [
        "2018-12-31 23:59:59",
        "2019-01-01 00:00:00",
        "2019-12-31 23:59:59",
        "2020-01-01 00:00:00",
    ]
    lines = [
        json.dumps({"user_id": f"u{n}", "business_id": "b", "text": "in 2019", "date": date})
        for n, date in enumerate(dates)
    ]
    reviews = read_reviews(_pack(tmp_path / "r.json.gz", lines), "yelp")
    assert reviews.user_keys == ("u1", "u2")
    assert reviews.times.tolist() == [1546300800, 1577836799]
    with pytest.raises(DataError, match="holds no review of the wanted time window"):
        read_reviews(_pack(tmp_path / "r.json.gz", lines[:1]), "yelp")


def test_amazon_2014_metadata_is_python_not_json(tmp_path):
    lines = [
        "{'asin': 'A', 'title': \"L'Or&amp;eal\\n Cream\", 'price': 3.5, 'brand': 'Acme', "
        "'categories': [['Beauty', 'Face'], ['Other']]}",
        "{'asin': 'unwanted', this is never parsed}",
        "{'title': 'Late key', 'asin': 'B', 'categories': [['Beauty']]}",
        "{'asin': 'A', 'title': 'again'}",
    ]
    found = read_metadata(_pack(tmp_path / "m.json.gz", lines), "amazon-2014", {"A", "B", "C"})
    assert found["A"] == {
        "title": "L'Or&eal Cream",
        "brand": "Acme",
        "categories": ("Beauty", "Face"),
        "price": 3.5,
    }
    assert found["B"]["title"] == "Late key"
    assert found["B"]["brand"] == ""
    assert np.isnan(found["B"]["price"])
    assert set(found) == {"A", "B"}


def test_amazon_2018_metadata_without_its_page_source(tmp_path):
    records = [
        {
            "asin": "A",
            "title": "A <b>big</b> drum",
            "brand": "by\n    Acme",
            "category": ["Music", "Drums", "</span></span>x"],
            "price": "$1,012.50",
        },
        {
            "asin": "B",
            "title": "var aPageStart = (new Date()).getTime();",
            "category": [],
            "price": ".a-box{}",
        },
    ]
    found = read_metadata(
        _pack(tmp_path / "m.json.gz", map(json.dumps, records)), "amazon-2018", {"A", "B"}
    )
    assert found["A"] == {
        "title": "A big drum",
        "brand": "Acme",
        "categories": ("Music", "Drums"),
        "price": 1012.5,
    }
    assert (found["B"]["title"], found["B"]["categories"]) == ("", ())
    assert np.isnan(found["B"]["price"])


def test_yelp_metadata_splits_its_categories(tmp_path):
    records = [
        {"business_id": "b", "name": "Bar 1", "categories": "Bars, Food , Beer"},
        {"business_id": "c", "name": "No", "categories": None},
    ]
    found = read_metadata(
        _pack(tmp_path / "m.json.gz", map(json.dumps, records)), "yelp", {"b", "c"}
    )
    assert found == {
        "b": {"title": "Bar 1", "categories": ("Bars", "Food", "Beer")},
        "c": {"title": "No", "categories": ()},
    }


def test_broken_raw_files_are_named_with_the_line(tmp_path):
    path = _pack(tmp_path / "r.json.gz", _amazon_lines(AMAZON * 500))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        DataError, match=r"r.json.gz is truncated or damaged after line \d+ .* download it again"
    ):
        read_reviews(path, "amazon-2014")
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match="is truncated or damaged after line 0"):
        read_reviews(path, "amazon-2014")
    with pytest.raises(DataError, match=r"r.json.gz is empty"):
        read_reviews(_pack(path, []), "amazon-2014")
    with pytest.raises(DataError, match=r"line 2 of .* cannot be read .*'\{\"reviewerID\": tru"):
        read_reviews(_pack(path, [*_amazon_lines(AMAZON[:1]), '{"reviewerID": tru']), "amazon-2014")
    with pytest.raises(DataError, match=r"line 1 of .* has no field 'unixReviewTime'"):
        read_reviews(_pack(path, ['{"reviewerID": "u", "asin": "A"}']), "amazon-2014")
    with pytest.raises(DataError, match=r"line 1 of .* cannot be read"):
        read_metadata(
            _pack(path, ["{'title': __import__('os').getcwd(), 'asin': 'A'}"]), "amazon-2014", {"A"}
        )
    with pytest.raises(DataError, match="does not exist; download it with `scoter data prepare`"):
        read_reviews(tmp_path / "none.json.gz", "amazon-2014")


def _square(size, repeat=()):
    """Every user reviews every item, at times that fall with the file: a five-core from size 5
    on."""
    rows = [(f"u{user}", f"i{item}", 1000 - item) for user in range(size) for item in range(size)]
    return [*rows, ("stray", "i0", 5), *repeat]


def _prepare(tmp_path, name, rows, items):
    source = REGISTRY[name]
    _pack(tmp_path / source.files[0], _amazon_lines(rows))
    lines = [
        {
            "asin": f"i{n}",
            "title": f"Item {n}",
            "category": ["Root", f"c{n}"],
            "categories": [["Root", f"c{n}"]],
        }
        for n in items
    ]
    _pack(
        tmp_path / source.files[1],
        (repr(line) if name == "beauty" else json.dumps(line) for line in lines),
    )
    return prepare(source, tmp_path)


def test_prepare_sorts_trims_and_describes(tmp_path):
    log, catalog = _prepare(tmp_path, "beauty", _square(6), range(5))
    assert (log.user_count, catalog.item_count, len(log.items)) == (6, 6, 36)
    assert "stray" not in log.user_keys
    assert [catalog.keys[item] for item in log.sequence(0)] == ["i5", "i4", "i3", "i2", "i1", "i0"]
    assert log.times[:6].tolist() == [995, 996, 997, 998, 999, 1000]
    described = dict(
        zip(
            catalog.keys,
            zip(catalog.columns["title"], catalog.columns["categories"], strict=True),
            strict=True,
        )
    )
    assert described["i3"] == ("Item 3", ("c3",))
    assert described["i5"] == ("", ())


def test_ties_keep_file_order_and_item_numbers_do_not(tmp_path):
    rows = [(f"u{user}", f"i{item}", 7) for user in range(40) for item in range(40)]
    log, catalog = _prepare(tmp_path, "beauty", rows, range(40))
    assert [catalog.keys[item] for item in log.sequence(3)] == [f"i{n}" for n in range(40)]
    assert abs(np.corrcoef(log.sequence(0), np.arange(40))[0, 1]) < 0.5
    again, _ = _prepare(tmp_path, "beauty", rows, range(40))
    assert np.array_equal(log.items, again.items)


def test_instruments_count_a_review_once_and_need_metadata(tmp_path):
    rows = _square(7, repeat=[("u0", "i0", 1000), ("u0", "i0", 2000)])
    log, catalog = _prepare(tmp_path, "instruments", rows, range(6))
    assert sorted(catalog.keys) == [f"i{n}" for n in range(6)]
    assert [catalog.keys[item] for item in log.sequence(0)] == [
        "i5",
        "i4",
        "i3",
        "i2",
        "i1",
        "i0",
        "i0",
    ]
    with pytest.raises(DataError, match=r"nothing of .* survives the 5-core"):
        _prepare(tmp_path, "instruments", _square(4), range(4))


def test_yelp_keeps_repeats(tmp_path):
    source = replace(REGISTRY["yelp"], files=("review.json.gz", "business.json.gz"))
    reviews = [
        {"user_id": f"u{n}", "business_id": "b", "date": f"2019-03-0{m + 1} 10:00:00"}
        for n in range(2)
        for m in range(5)
    ]
    _pack(tmp_path / "review.json.gz", map(json.dumps, reviews))
    _pack(
        tmp_path / "business.json.gz",
        [json.dumps({"business_id": "b", "name": "Bar", "categories": "Bars"})],
    )
    log, catalog = prepare(source, tmp_path)
    assert log.lengths.tolist() == [5, 5]
    assert catalog.columns["title"] == ("Bar",)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([["Beauty", "Bath"], ["Other"]], ("Beauty", "Bath")),
        (["Beauty", "Bath"], ("Beauty", "Bath")),
        ("Beauty", ("Beauty",)),
        ([None, ["Beauty", None, "Bath"]], ("Beauty", "Bath")),
        (["Beauty", None], ("Beauty",)),
        ([[]], ()),
        ([], ()),
        (None, ()),
    ],
)
@pytest.mark.parametrize(
    ("release", "name", "write"),
    [
        ("amazon-2014", "categories", repr),
        ("amazon-2014", "categories", json.dumps),
        ("amazon-2018", "category", json.dumps),
        ("yelp", "categories", json.dumps),
    ],
)
def test_categories_are_read_in_every_shape(tmp_path, release, name, write, written, expected):
    record = {
        "business_id" if release == "yelp" else "asin": "A",
        "title": "T",
        "price": None,
        name: written,
    }
    found = read_metadata(_pack(tmp_path / "m.json.gz", [write(record)]), release, {"A"})
    assert found["A"]["categories"] == expected


def test_a_price_is_a_number_or_dollars(tmp_path):
    prices = [3.5, "4.5", "$1,012.50", "$5 - $7", ",", None]
    lines = [repr({"asin": f"A{n}", "price": price}) for n, price in enumerate(prices)]
    found = read_metadata(
        _pack(tmp_path / "m.json.gz", lines), "amazon-2014", {f"A{n}" for n in range(6)}
    )
    assert [found[f"A{n}"]["price"] for n in range(3)] == [3.5, 4.5, 1012.5]
    assert np.isnan([found[f"A{n}"]["price"] for n in range(3, 6)]).all()


def test_a_raw_file_may_start_with_the_mark_of_utf_8(tmp_path):
    (tmp_path / "r.json").write_text("\n".join(_amazon_lines(AMAZON)), encoding="utf-8-sig")
    assert len(read_reviews(tmp_path / "r.json", "amazon-2014").items) == len(AMAZON)
    (tmp_path / "m.json").write_text("{'asin': 'A', 'title': 'T'}\n", encoding="utf-8-sig")
    assert read_metadata(tmp_path / "m.json", "amazon-2014", {"A"})["A"]["title"] == "T"


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([5, -4], "line 2 of .* has timestamp -4, .* before 1970"),
        ([1400000000, 1400000000000], "line 2 of .* divide milliseconds by 1000"),
        ([20140513, 20140514], r"line 1 of .* \(2 such rows\); .* write 2014-05-13 instead"),
        ([10**30], "line 1 of .* after 2099"),
    ],
)
def test_times_of_raw_files_are_checked_as_those_of_tables(tmp_path, times, message):
    rows = [("u", f"i{n}", time) for n, time in enumerate(times)]
    with pytest.raises(DataError, match=message):
        read_reviews(_pack(tmp_path / "r.json.gz", _amazon_lines(rows)), "amazon-2014")


def test_raw_files_of_another_kind_are_named(tmp_path):
    text = "\n".join(_amazon_lines([("u\u00e9", "i", 5)])).replace("\\u00e9", "\u00e9")
    for content, message in (
        (text.encode("latin-1"), "line 1 of .* is not UTF-8 .*Latin-1"),
        (text.encode("utf-16"), "is text in UTF-16"),
        (b"PK\x03\x04\x14\0", "is a zip archive"),
    ):
        (tmp_path / "r.json").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_reviews(tmp_path / "r.json", "amazon-2014")
