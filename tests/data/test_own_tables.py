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
ITEMS = (
    "item,title,brand,categories,price,colour\nx,Ex,,a|b,1.5,red\ny,,Acme,,,\n"
    "z,007,Acme,c,3,blue\nw,Never bought,,,2,\n"
)


def _file(folder, text, name="log.csv"):
    path = folder / name
    path.write_bytes(text.encode()) if isinstance(text, str) else path.write_bytes(text)
    return path


def _keys(log, catalog):
    return {
        key: [catalog.keys[item] for item in log.sequence(user)]
        for user, key in enumerate(log.user_keys)
    }


def _row(catalog, key):
    return {name: cells[catalog.keys.index(key)] for name, cells in catalog.columns.items()}


def test_unsorted_rows_are_sorted_per_user_and_ties_keep_file_order(tmp_path):
    log, catalog = load_table(_file(tmp_path, ROWS), _file(tmp_path, ITEMS, "items.csv"))
    assert _keys(log, catalog) == {"ann": ["y", "z", "x"], "bob": ["z", "y", "x"]}
    assert log.times.tolist() == [10, 20, 30, 4, 5, 5]
    assert _row(catalog, "x") == {
        "title": "Ex",
        "brand": "",
        "categories": ("a", "b"),
        "price": 1.5,
        "colour": "red",
    }
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
        path.write_bytes(
            gzip.compress(ROWS.encode())
            if name.endswith(".gz")
            else ROWS.replace(",", "\t").encode()
        )
    log, other = load_table(path)
    assert (log.items.tolist(), log.user_keys, other.keys) == (
        expected.items.tolist(),
        expected.user_keys,
        catalog.keys,
    )


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
        (
            ["2019-01-01", "2019-01-01T00:00:01", "2019-01-01T02:00:02+02:00"],
            [1546300800, 1546300801, 1546300802],
        ),
        (["1546300800", "1546300800.9", "1546300802"], [1546300800, 1546300800, 1546300802]),
    ],
)
def test_times_are_seconds_or_dates(tmp_path, stamps, expected):
    rows = "user,item,timestamp\n" + "".join(f"a,{n},{stamp}\n" for n, stamp in enumerate(stamps))
    assert load_table(_file(tmp_path, rows))[0].times.tolist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_parquet_dates_are_read_in_any_unit(tmp_path, unit):
    stamps = pd.Series(
        np.array([1546300800, 1546300801, 1546300802], "datetime64[s]").astype(
            f"datetime64[{unit}]"
        )
    )
    for times in (stamps, stamps.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")):
        pd.DataFrame({"user": 1, "item": [1, 2, 3], "timestamp": times}).to_parquet(
            tmp_path / "log.parquet"
        )
        assert load_table(tmp_path / "log.parquet")[0].times.tolist() == [
            1546300800,
            1546300801,
            1546300802,
        ]


REPEATED = "user,item,timestamp\na,x,1\na,y,2\na,x,1\na,x,3\n"


def test_duplicate_rows_follow_the_policy_and_repeats_stay(tmp_path):
    path = _file(tmp_path, REPEATED)
    with pytest.raises(
        DataError,
        match=r"row 3 of .* user, item and timestamp of an earlier row \(1 such rows\); say "
        r"duplicates=",
    ):
        load_table(path)
    assert _keys(*load_table(path, duplicates="first")) == {"a": ["x", "y", "x"]}
    assert _keys(*load_table(path, duplicates="keep")) == {"a": ["x", "x", "y", "x"]}


def test_short_users_follow_the_policy(tmp_path):
    path = _file(tmp_path, ROWS + "cyd,x,1\n")
    with pytest.raises(
        DataError,
        match=r"1 users of .* fewer than 3 events \(first: 'cyd' has 1\); say short_users=",
    ):
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
        (
            "user,item,timestamp\na,,1\n",
            r"column 'item' of .* is empty or NaN in 1 rows \(first: row 1\)",
        ),
        ("user,item,timestamp\na,x,1\nNaN,x,1\n", r"column 'user' of .* \(first: row 2\)"),
        ("user,item,timestamp\na,x,NaN\n", r"column 'timestamp' of .* is empty or NaN in 1 rows"),
        ("user,item,timestamp\na,x,soon\n", "row 1 of .* neither seconds nor an ISO 8601 date"),
        (
            "user,item,timestamp\na,x,1546300800000\n",
            "timestamp 1546300800000, .* divide milliseconds by 1000",
        ),
        ("user,item,timestamp\na,x,-4\n", "timestamp -4, which is no time"),
        (
            "user,item,timestamp\na,q,1\n",
            "row 1 of .* names item 'q', which .*items.csv does not have",
        ),
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
    (tmp_path / "log.csv").write_text(
        f"user,item,timestamp\nu,i,154{'9' * 5000}\nu,j,{'9' * 400}\nu,k,3\n"
    )
    with pytest.raises(DataError, match=r"row 1 of .*log\.csv has"):
        load_table(tmp_path / "log.csv")


def test_bytes_in_parquet_are_text_or_refused(tmp_path):
    rows = {"user": [b"u"] * 3, "item": [b"i", "\u00e9".encode(), b"k"], "timestamp": [1, 2, 3]}
    pq.write_table(pa.table(rows), tmp_path / "log.parquet")
    log, catalog = load_table(tmp_path / "log.parquet")
    assert log.user_keys == ("u",)
    assert sorted(catalog.keys) == ["i", "k", "\u00e9"]
    items = pa.table(
        {"item": [b"i", "\u00e9".encode(), b"k"], "categories": [[b"soap"], [], [b"oil"]]}
    )
    pq.write_table(items, tmp_path / "items.parquet")
    told = load_table(tmp_path / "log.parquet", tmp_path / "items.parquet")[1]
    assert dict(zip(told.keys, told.columns["categories"], strict=True)) == {
        "i": ("soap",),
        "\u00e9": (),
        "k": ("oil",),
    }
    pq.write_table(pa.table({**rows, "user": [b"\xff"] * 3}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"cannot be read .*UTF8"):
        load_table(tmp_path / "log.parquet")


def test_parquet_lists_become_categories_and_odd_lists_are_refused(tmp_path):
    items = pd.DataFrame(
        {
            "item": ["x", "y", "z"],
            "categories": [["a", "b"], None, []],
            "tags": [["t"], [], ["u", "v"]],
        }
    )
    items.to_parquet(tmp_path / "items.parquet")
    _, catalog = load_table(_file(tmp_path, ROWS), tmp_path / "items.parquet")
    assert _row(catalog, "x") == {"categories": ("a", "b"), "tags": ("t",)}
    assert _row(catalog, "y") == {"categories": (), "tags": ()}
    items.assign(categories=[1, 2, 3]).to_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"column 'categories' of .* holds 1, which is no list"):
        load_table(tmp_path / "log.csv", tmp_path / "items.parquet")


HEADER = "user,item,timestamp\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a,x,1546300800,1\na,y,1546300801,2\n",
            r"line 2 of .*log.csv has 4 fields, but the header has 3; put a cell",
        ),
        (
            "a,x,1546300800,\na,y,1546300801,\n",
            r"line 2 of .* has 4 fields, but the header has 3; remove the ',' at its end",
        ),
        (
            "a,x,1546300800\n\na,y\n",
            r"line 4 of .* has 2 fields, but the header has 3; write every field",
        ),
        ("a,x,1546300800\na,y,1546300801,5\n", r"line 3 of .* has 4 fields, but the header has 3"),
        (
            'a,"x,1546300800\na,y",1546300801\n',
            r"lines 2 to 3 of .* are one quoted cell, though each of them looks like a row",
        ),
        (
            'a,x,1\na,"y,2\na,z,3\n',
            r"cannot be read \(line 3: a quote is opened and never closed\)",
        ),
        ('a,"x" y,1\n', r"cannot be read \(line 2: ',' expected after '\"'\); close every quote"),
        ("a,x,1\na,\0,2\n", r"NUL byte"),
    ],
)
def test_a_line_that_is_no_row_is_refused_with_its_number(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        load_table(_file(tmp_path, HEADER + rows), order="file")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + ROWS, "\ufeff" + ROWS.replace("user", '"user"', 1), ROWS.replace("\n", "\r"),
        ROWS.replace("\n", "\r\n"),
        "\n" + ROWS.replace("bob,y,5\n", "\n  \nbob,y,5\n"),
        ROWS.replace("ann,x,30", '"ann","x","30"'),
        "".join(f"{line},\n" for line in ROWS.splitlines()),
    ],
)  # fmt: skip
def test_text_of_other_programs_is_read_as_it_is_meant(tmp_path, text):
    expected = _keys(*load_table(_file(tmp_path, ROWS)))
    assert _keys(*load_table(_file(tmp_path, text, "other.csv"))) == expected


def test_a_cell_of_csv_may_hold_line_breaks_and_quotes(tmp_path):
    items = 'item,title,brand\nx,"first\nsecond",A\ny,"say ""hi"", you",B\nz,5" wide,C\n'
    _, catalog = load_table(_file(tmp_path, ROWS), _file(tmp_path, items, "items.csv"))
    titles = [_row(catalog, key)["title"] for key in "xyz"]
    assert titles == ["first\nsecond", 'say "hi", you', '5" wide']


def test_a_quote_in_tsv_is_a_letter(tmp_path):
    log = _file(tmp_path, ROWS)
    items = 'item\ttitle\nx\t"Weird Al\ny\tComb\nz\tz" w\nw\t"Heroes"\n'
    _, catalog = load_table(log, _file(tmp_path, items, "items.tsv"))
    assert [_row(catalog, key)["title"] for key in "xyzw"] == [
        '"Weird Al',
        "Comb",
        'z" w',
        '"Heroes"',
    ]
    for bad, message in (
        (
            'item\ttitle\nx\t"one\ntwo"\n',
            "line 3 of .*items.tsv has 1 fields, but the header has 2",
        ),
        (
            '"item"\t"title"\n"x"\t"one"\n',
            "header of .*items.tsv has quotes, which TSV does not have",
        ),
    ):
        with pytest.raises(DataError, match=message):
            load_table(log, _file(tmp_path, bad, "items.tsv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ROWS.replace("x", "\u00e9").encode("latin-1"),
            r"line 2 of .* is not UTF-8 \(byte 5 of it is 0xe9\).* Latin-1.*iconv",
        ),
        (ROWS.encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        (ROWS.encode("utf-16-le"), "may be UTF-16.* save it as UTF-8"),
        (
            b"PK\x03\x04" + b"\x14\0\0\0",
            "is a zip archive .*xlsx.*unpack it, or save the sheet as CSV",
        ),
        (b"PAR1\x15\x04", "is a parquet file; let its name end in .parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (ROWS.replace(",", ";").encode(), r"columns of .* are separated by ';', not by ','"),
        (ROWS.replace(",", "\t").encode(), r"columns of .* are separated by '\\t', not by ','"),
        (b"user,item,user\na,x,b\n", "has two columns 'user'; rename or remove one"),
        (b"user,User,item,timestamp\na,b,x,1\n", "has a column 'user' and a column 'User'"),
        (b"User, item,timestamp\na,x,1\n", r"no column 'user' .*; write 'User' as 'user'"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load_table(_file(tmp_path, content))


@pytest.mark.parametrize(
    "stamps",
    [
        ["2014-04-07T10:51:09.900Z", "2014-04-07T10:51:09.100Z", "2014-04-07T10:51:09.5+00:00"],
        [
            "2014-04-07T10:51:09.000000003",
            "2014-04-07T10:51:09.000000001",
            "2014-04-07T10:51:09.000000002",
        ],
        ["1396867869.9", "1396867869", "1396867869.5"],
        ["1396867869.0000003", "1396867869.0000001", "1396867869.0000002"],
    ],
)
def test_events_within_a_second_are_sorted_and_compared_exactly(tmp_path, stamps):
    rows = HEADER + "".join(
        f"u,{item},{stamp}\n" for item, stamp in zip("cab", stamps, strict=True)
    )
    log, catalog = load_table(_file(tmp_path, rows))
    assert _keys(log, catalog) == {"u": ["a", "b", "c"]}
    assert log.times.tolist() == [1396867869] * 3
    again = load_table(_file(tmp_path, rows + f"u,c,{stamps[1]}\n"))
    assert _keys(*again) == {"u": ["a", "c", "b", "c"]}
    with pytest.raises(
        DataError, match=r"row 4 of .* has the user, item and timestamp of an earlier row"
    ):
        load_table(_file(tmp_path, rows + f"u,c,{stamps[0]}\n"))


def test_parquet_keeps_nanoseconds_and_fractions_apart(tmp_path):
    base = np.datetime64("2014-04-07T10:51:09", "ns")
    for times in (base + np.array([3, 1, 2]), [1396867869.75, 1396867869.25, 1396867869.5]):
        pd.DataFrame({"user": "u", "item": list("cab"), "timestamp": times}).to_parquet(
            tmp_path / "log.parquet"
        )
        log, catalog = load_table(tmp_path / "log.parquet")
        assert _keys(log, catalog) == {"u": ["a", "b", "c"]}
        assert set(log.times.tolist()) == {1396867869}


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (["2019-01-01", "1969-12-31"], "row 2 of .* has timestamp 1969-12-31, .* before 1970"),
        (
            ["5", "-1"],
            "row 2 of .* has timestamp -1, which is no time in seconds since 1970 .* before 1970",
        ),
        (["1546300800000"], r"divide milliseconds by 1000 \(it would mean 2019-01-01\)"),
        (["1546300800000000"], r"timestamp 1546300800000000, .*divide microseconds by 1000000 "),
        (["1546300800000000000"], "divide nanoseconds by 1000000000 "),
        (
            ["20190101", "20190102", "20190103"],
            r"row 1 .*\(3 such rows\); it looks like a date .*: write 2019-01-01 instead",
        ),
        (["20190101123000"], "write 2019-01-01T12:30:00 instead"),
        (["5000000000"], "after 2099"),
        (["9999-12-31", "2019-01-01"], "row 1 of .* (after 2099|neither seconds nor)"),
        (
            ["1546300800", "soon", "1546300802"],
            "row 2 of .* has timestamp 'soon', which is neither seconds",
        ),
        (["2019-01-01", "2019-01-02", "01/02/2019"], "row 3 of .* '01/02/2019', which is neither"),
        (
            ["1546300800", "2019-01-01"],
            "row 2 of .* '2019-01-01', a date, but row 1 has '1546300800', a number",
        ),
        (["True", "False"], "row 1 of .* neither seconds"),
    ],
)
def test_an_implausible_time_is_refused_with_its_row_and_remedy(tmp_path, stamps, message):
    rows = "".join(f"u,i{n},{stamp}\n" for n, stamp in enumerate(stamps))
    with pytest.raises(DataError, match=message):
        load_table(_file(tmp_path, HEADER + rows))
    if all(stamp.lstrip("-").isdigit() for stamp in stamps):
        table = {
            "user": "u",
            "item": range(len(stamps)),
            "timestamp": [int(stamp) for stamp in stamps],
        }
        pd.DataFrame(table).to_parquet(tmp_path / "log.parquet")
        with pytest.raises(DataError, match=message.replace("log.csv", "log.parquet")):
            load_table(tmp_path / "log.parquet")


def test_small_numbers_and_a_single_date_like_second_are_times(tmp_path):
    rows = "".join(f"u,i{stamp},{stamp}\n" for stamp in (0, 3, 20190101, 31000000))
    assert load_table(_file(tmp_path, HEADER + rows))[0].times.tolist() == [
        0,
        3,
        20190101,
        31000000,
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A1 ,x,1\nA1,y,2\n", "row 2 of .* has user 'A1', but row 1 has 'A1 ': .*blanks"),
        ("a,1,1\na,1.0,2\n", "row 2 of .* has item '1.0', but row 1 has '1'"),
        ("e\u0301,x,1\n\u00e9,y,2\n", "Unicode form; write each key in one way"),
        ("a,x,1\n  ,y,2\n", r"column 'user' of .* is blank in 1 rows \(first: row 2\)"),
    ],
)
def test_one_key_in_two_spellings_is_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        load_table(_file(tmp_path, HEADER + rows))


def test_long_numbers_are_keys_and_floats_are_whole_or_refused(tmp_path):
    long = ("12345678901234567890", "12345678901234567891")
    log, catalog = load_table(
        _file(tmp_path, HEADER + f"{long[0]},x,1\n{long[1]},x,2\n{long[0]},y,3\n"),
        short_users="keep",
    )
    assert log.user_keys == long
    table = {"user": [1.0, 2.0, 1.0], "item": [7, 7, 8], "timestamp": [1, 2, 3]}
    pd.DataFrame(table).to_parquet(tmp_path / "log.parquet")
    log, catalog = load_table(
        tmp_path / "log.parquet", _file(tmp_path, "item\n7\n8\n", "items.csv"), short_users="keep"
    )
    assert (log.user_keys, set(catalog.keys)) == (("1", "2"), {"7", "8"})
    for wrong in (1.5, 1e19):
        pd.DataFrame({**table, "user": [1.0, wrong, 2.0]}).to_parquet(tmp_path / "log.parquet")
        with pytest.raises(DataError, match=r"row 2 of .* has user .* no exact whole number"):
            load_table(tmp_path / "log.parquet")
    with pytest.raises(
        DataError,
        match=r"names item '1.0', which .* does not have .*; it has '1'; write each key in one way",
    ):
        load_table(_file(tmp_path, HEADER + "a,1.0,1\n"), _file(tmp_path, "item\n1\n", "items.csv"))


def test_a_list_written_into_a_cell_is_a_list(tmp_path):
    cells = {
        "x": "\"['A','B']\"", "y": '"[""a"", null]"', "z": "\"[['A', 'B'], ['C']]\"", "w": "[]",
        "v": "[Vinyl]", "u": "p | q",
        "t": "\"[__import__('os').getcwd()]\"",
    }  # fmt: skip
    items = "item,categories\n" + "".join(f"{key},{cell}\n" for key, cell in cells.items())
    _, catalog = load_table(_file(tmp_path, ROWS), _file(tmp_path, items, "items.csv"))
    found = {key: _row(catalog, key)["categories"] for key in cells}
    assert (found["x"], found["y"], found["z"], found["w"]) == (("A", "B"), ("a",), ("A", "B"), ())
    assert (found["v"], found["u"], found["t"]) == (
        ("[Vinyl]",),
        ("p", "q"),
        ("[__import__('os').getcwd()]",),
    )
    with pytest.raises(DataError, match=r"holds \"\['A' 'B'\]\", a list without commas"):
        load_table(
            _file(tmp_path, ROWS), _file(tmp_path, "item,categories\nx,['A' 'B']\n", "items.csv")
        )
