"""A chain sees its own prefix and other shoppers' training items, and nothing else."""

from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.config import DiscoverConfig, SimulatedConfig
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.errors import DataError
from scoter.models.backbones.popularity import Popularity
from scoter.reasoning.catalogue.reasoner import ROLES, CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import every_prefix, look
from scoter.reasoning.chains.leakage import mention_table
from scoter.reasoning.chains.table import ChainTable, write_chains, write_rows
from scoter.reasoning.discovery.mine import discover
from scoter.types import Catalog, ReasoningPattern, Split, Step, Targets

ITEMS = 12
PATTERN = ReasoningPattern(tuple(Step(role) for role in ROLES))
histories = st.lists(
    st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=8), min_size=3, max_size=12
)


def texts_of_items() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ITEMS, 4))


def written(split: Split, catalog: Catalog, seed: int = 0) -> ChainTable:
    """Chains with a step of every role."""
    return write_chains(split, catalog, PATTERN, seed=seed, texts=texts_of_items)


def chains_of(table: ChainTable, user: int) -> list[tuple[tuple[str, ...], ...]]:
    return [
        table.chain(user, length).steps for length in range(1, int(np.diff(table.starts)[user]) + 1)
    ]


@settings(max_examples=10, deadline=None)
@given(sequences=histories, data=st.data())
def test_what_a_user_does_later_changes_no_earlier_chain_of_that_user(
    make_split, make_shop, sequences, data
):
    user = data.draw(st.integers(0, len(sequences) - 1))
    prefix = data.draw(st.integers(1, len(sequences[user])))
    later = data.draw(st.lists(st.integers(0, ITEMS - 1), max_size=6))
    changed = [list(items) for items in sequences]
    changed[user] = changed[user][:prefix] + later
    splits = [make_split(items) for items in (sequences, changed)]
    before, after = (chains_of(written(split, make_shop(ITEMS)), user) for split in splits)
    # A prefix of a whole training log is that of the validation target, which no count holds.
    same = min(prefix, *(int(split.train.lengths[user]) - 1 for split in splits))
    assert before[: max(same, 0)] == after[: max(same, 0)]


@settings(max_examples=10, deadline=None)
@given(sequences=histories, seed=st.integers(0, 2**20))
def test_test_targets_change_nothing_and_validation_targets_only_their_users_test_chains(
    make_split, make_shop, sequences, seed
):
    split, catalog = make_split(sequences), make_shop(ITEMS)
    before = written(split, catalog)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(ITEMS, size=len(split.test))
    other_test = written(Split(split.train, split.valid, Targets(split.test.users, drawn)), catalog)
    assert other_test.sentences == before.sentences
    np.testing.assert_array_equal(other_test.indices, before.indices)
    if not len(split.valid):
        return
    row = int(rng.integers(len(split.valid)))
    items = split.valid.items.copy()
    items[row] = (items[row] + 1 + rng.integers(ITEMS - 1)) % ITEMS
    other_valid = written(
        Split(split.train, Targets(split.valid.users, items), split.test), catalog
    )
    for user in range(split.train.user_count):
        old, new = chains_of(before, user), chains_of(other_valid, user)
        if user == split.valid.users[row]:
            assert old[:-1] == new[:-1]
            assert old[-1] != new[-1]
        else:
            assert old == new


def test_held_out_targets_change_nothing_in_discovery(plan_shop, encode):
    split, catalog = plan_shop
    config = DiscoverConfig(
        patterns=6, users=60, fresh_users=60, min_steps=2, max_steps=4, max_clusters=3
    )
    vectors = encode(catalog.columns["title"])
    other = np.random.default_rng(0).permutation(split.valid.items)
    changed = Split(
        split.train,
        Targets(split.valid.users, other),
        Targets(split.test.users, other[::-1].copy()),
    )

    def train(held_in: Split) -> Popularity:
        return Popularity(held_in.train, catalog.item_count)

    first = discover(split, catalog, config, encode, vectors, 0, train).to_json()
    assert discover(changed, catalog, config, encode, vectors, 0, train).to_json() == first


class NotCrossFitted(FoldedStatistics):
    """What must not be: the group -folds, which reads the statistics of group 0, has no members, so
    all logs are counted."""

    @cached_property
    def user_folds(self):
        return np.full(self.log.user_count, -self.folds)


def test_mentions_agree_where_there_is_no_drift_and_show_a_planted_leak(make_split, make_shop):
    rng = np.random.default_rng(0)
    sequences = rng.integers(30, size=(600, 8)).tolist()
    split, catalog = make_split(sequences), make_shop(30)
    pattern = ReasoningPattern(
        (
            Step("recommendation", {"count": 10, "window": 1}),
            Step("recent_item", {"field": "category"}),
        )
    )
    table = mention_table(
        write_chains(split, catalog, pattern, seed=0), split, catalog, seed=0
    ).set_index(["step", "part"])
    recommended = table.loc["recommendation(count=10, window=1)"]
    spread = recommended["item"].max() - recommended["item"].min()
    assert spread < 4 * recommended["item_error"].max()
    assert (
        recommended["item"].between(0.2, 0.55).all()
    )  # ten new items of thirty, and names within names
    assert (
        recommended["item_alike"].max() - recommended["item_alike"].min()
        < 4 * recommended["item_alike_error"].max()
    )

    users, lengths, starts = every_prefix(split)
    reasoner = CatalogReasoner(
        catalog, NotCrossFitted(split.train, catalog.item_count, seed=0, folds=2)
    )
    written = write_rows(reasoner, look(split, users, lengths), pattern)
    leaky = ChainTable(*written[:3], starts, pattern)
    leak = (
        mention_table(leaky, split, catalog, seed=0)
        .set_index(["step", "part"])
        .loc["recommendation(count=10, window=1)"]
    )
    assert leak.loc["last-train", "item"] - leak.loc["test", "item"] > 5 * leak["item_error"].max()


def test_on_the_stationary_shop_all_parts_name_the_target_equally_often():
    shop = simulate(SimulatedConfig(users=2500), seed=0)
    split = leave_one_out(shop.log)
    pattern = ReasoningPattern(
        (
            Step("recommendation", {"count": 10, "window": 3}),
            Step("likely_next", {"what": "category"}),
        )
    )
    table = mention_table(
        write_chains(split, shop.catalog, pattern, seed=0), split, shop.catalog, seed=0
    )
    for _, found in table.groupby("step"):
        for column in ("item", "item_alike", "category"):
            error = 2**0.5 * found[f"{column}_error"].max()
            assert found[column].max() - found[column].min() <= 4 * error, found[["part", column]]
    assert (table.loc[table["step"].str.startswith("recommendation"), "item"] > 0.03).all()


def test_a_shift_in_which_items_are_asked_for_is_told_from_a_leak(make_split, make_shop):
    """Everybody's training targets are items 0..9 nine times in ten, test targets half of the time:
    the raw share falls."""
    rng = np.random.default_rng(0)
    common, rare = rng.integers(10, size=(1500, 8)), rng.integers(10, 30, size=(1500, 8))
    share = np.array([0.1] * 7 + [0.5])
    split, catalog = (
        make_split(np.where(rng.random((1500, 8)) < share, rare, common).tolist()),
        make_shop(30),
    )
    pattern = ReasoningPattern((Step("recommendation", {"count": 10, "window": 1}),))
    found = mention_table(
        write_chains(split, catalog, pattern, seed=0), split, catalog, seed=0
    ).set_index("part")
    assert (
        found.loc["last-train", "item"] - found.loc["test", "item"] > 5 * found["item_error"].max()
    )
    assert (
        abs(found.loc["last-train", "item_alike"] - found.loc["test", "item_alike"])
        < 4 * found["item_alike_error"].max()
    )


def test_mentions_of_another_split_are_refused(random_shop, make_split):
    split, catalog = random_shop
    table = write_chains(split, catalog, ReasoningPattern((Step("recent_item"),)), seed=0)
    with pytest.raises(DataError, match="write the chains with this split"):
        mention_table(table, make_split([[1, 2, 3]]), catalog, seed=0)
