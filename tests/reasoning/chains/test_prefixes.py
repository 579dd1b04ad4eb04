"""Which prefixes get a chain, and that no position ever reads a later one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoter.errors import ConfigError
from scoter.reasoning.catalogue.view import every_prefix
from scoter.reasoning.chains.prefixes import AnchorTable, PrefixPolicy, sample_of_users


def test_every_is_every_prefix(random_shop):
    split, _ = random_shop
    users, lengths = PrefixPolicy.parse("every").rows(split, np.arange(split.train.user_count))
    expected_users, expected_lengths, _ = every_prefix(split)
    assert users.tolist() == expected_users.tolist()
    assert lengths.tolist() == expected_lengths.tolist()


@pytest.mark.parametrize(
    ("text", "distance", "most"), [("anchors", 5, 99), ("anchors:3", 3, 99), ("anchors:4:2", 4, 2)]
)
def test_anchors_lie_at_multiples_of_the_distance(text, distance, most, random_shop):
    split, _ = random_shop
    chosen = np.array([3, 8, 20])
    rows = list(
        zip(
            *(column.tolist() for column in PrefixPolicy.parse(text).rows(split, chosen)),
            strict=True,
        )
    )
    longest = {
        user: int(split.train.lengths[user]) + (user in split.valid.users)
        for user in chosen.tolist()
    }
    assert rows == [
        (user, length)
        for user in chosen.tolist()
        for length in [place for place in range(1, longest[user] + 1) if place % distance == 0][
            :most
        ]
    ]


@pytest.mark.parametrize(
    "text", ["", "some", "anchors:", "anchors:0", "anchors:3:0", "anchors:-1", "every:2"]
)
def test_other_words_are_refused(text):
    with pytest.raises(ConfigError, match="use every, anchors, anchors:K or anchors:K:M"):
        PrefixPolicy.parse(text)


def test_a_policy_reads_as_it_was_written():
    assert [
        str(PrefixPolicy.parse(text)) for text in ("every", "anchors", "anchors:3", "anchors:3:1")
    ] == ["every", "anchors:5", "anchors:3", "anchors:3:1"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=20), st.data())
def test_the_latest_anchor_is_found_and_never_a_later_one(anchors, data):
    anchors = sorted(set(anchors))
    asked = data.draw(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=1, max_size=20)
    )
    table = AnchorTable(*np.array(anchors, np.int64).reshape(-1, 2).T)
    found = table.latest(*np.array(asked, np.int64).T)
    for (user, length), number in zip(asked, found.tolist(), strict=True):
        before = [
            place for place, (owner, at) in enumerate(anchors) if owner == user and at <= length
        ]
        assert number == (before[-1] if before else -1)


def test_a_larger_sample_of_users_holds_the_smaller():
    small, large = (set(sample_of_users(100, count, seed=4).tolist()) for count in (10, 40))
    assert len(small) == 10
    assert small < large
    assert sample_of_users(7, 0, seed=4).tolist() == list(range(7))
