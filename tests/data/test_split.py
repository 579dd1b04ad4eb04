"""The split, samples and ties against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.data.split import leave_one_out, sample_users, shuffle_ties
from scoter.errors import DataError
from scoter.types import Catalog, InteractionLog

sequences = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7), min_size=1, max_size=8)


def _log(rows, times=None):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return InteractionLog(
        np.concatenate(rows).astype(int), offsets, tuple(f"u{n}" for n in range(len(rows))), times
    )


@given(sequences)
@settings(max_examples=60, deadline=None)
def test_leave_one_out_equals_slicing(rows):
    log = _log(rows, np.arange(sum(map(len, rows))))
    long = [user for user, row in enumerate(rows) if len(row) >= 3]
    if not long:
        with pytest.raises(DataError, match="none of the"):
            leave_one_out(log)
        return
    split = leave_one_out(log)
    assert [split.train.sequence(user).tolist() for user in range(len(rows))] == [
        row[:-2] if len(row) >= 3 else row for row in rows
    ]
    assert split.valid.users.tolist() == split.test.users.tolist() == long
    assert split.valid.items.tolist() == [rows[user][-2] for user in long]
    assert split.test.items.tolist() == [rows[user][-1] for user in long]
    valid, test = split.histories("valid"), split.histories("test")
    assert [valid.sequence(row).tolist() for row in range(len(valid))] == [
        rows[user][:-2] for user in long
    ]
    assert [test.sequence(row).tolist() for row in range(len(test))] == [
        rows[user][:-1] for user in long
    ]
    kept = [
        t
        for user, row in enumerate(rows)
        for t in _times_of(log, user)[: len(row) - 2 if len(row) >= 3 else len(row)]
    ]
    assert split.train.times.tolist() == kept
    longer = leave_one_out(log, "B")
    assert [longer.train.sequence(user).tolist() for user in range(len(rows))] == [
        row[:-1] if len(row) >= 3 else row for row in rows
    ]
    assert (split.parts, longer.parts) == (("valid", "test"), ("test",))
    assert longer.test.items.tolist() == split.test.items.tolist()
    same = longer.histories("test")
    assert (same.items.tolist(), same.users.tolist()) == (test.items.tolist(), test.users.tolist())


def _times_of(log, user):
    return log.times[log.offsets[user] : log.offsets[user + 1]].tolist()


@given(sequences, st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_sample_holds_whole_users_and_just_their_items(rows, count, seed):
    log = _log(rows, np.arange(sum(map(len, rows))))
    catalog = Catalog(
        tuple(f"i{n}" for n in range(10)), {"title": tuple(f"t{n}" for n in range(10))}
    )
    sample, smaller = sample_users(log, catalog, count, seed)
    assert sample.user_count == min(count, len(rows))
    for user, key in enumerate(sample.user_keys):
        original = rows[int(key[1:])]
        assert [smaller.keys[item] for item in sample.sequence(user)] == [
            f"i{item}" for item in original
        ]
        assert [smaller.columns["title"][item] for item in sample.sequence(user)] == [
            f"t{item}" for item in original
        ]
        assert _times_of(sample, user) == _times_of(log, int(key[1:]))
    if count < len(rows):
        assert sorted(set(sample.items.tolist())) == list(range(smaller.item_count))
    assert sample_users(log, catalog, count, seed)[0].items.tolist() == sample.items.tolist()


def test_samples_depend_on_the_seed_and_need_a_user():
    log, catalog = _log([[n] for n in range(10)]), Catalog(tuple("abcdefghij"))
    assert len({sample_users(log, catalog, 3, seed)[0].user_keys for seed in range(8)}) > 4
    with pytest.raises(DataError, match="count is 0"):
        sample_users(log, catalog, 0, 0)


def test_shuffled_ties_move_only_among_equals():
    times = np.array([5, 5, 5, 9, 1, 1, 2, 5])
    log = _log([[10, 11, 12, 13], [20, 21, 22, 23]], times)
    seen = set()
    for seed in range(40):
        shuffled = shuffle_ties(log, seed)
        assert shuffled.times.tolist() == times.tolist()
        first, second = shuffled.sequence(0).tolist(), shuffled.sequence(1).tolist()
        assert (sorted(first[:3]), first[3]) == ([10, 11, 12], 13)
        assert (sorted(second[:2]), second[2:]) == ([20, 21], [22, 23])
        seen.add(tuple(first[:3]))
    assert len(seen) == 6
    with pytest.raises(DataError, match="no times"):
        shuffle_ties(_log([[1]]), 0)
