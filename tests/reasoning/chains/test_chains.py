import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

from scoter.errors import ConfigError, DataError
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.catalogue.folded_reasons import ALL
from scoter.reasoning.catalogue.reasoner import CERTAINTY, ROLES, CatalogReasoner, offered_steps
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.successors import likely_next
from scoter.reasoning.catalogue.view import every_prefix, look
from scoter.reasoning.chains.table import (
    hand_written_pattern,
    load_chains,
    save_chains,
    write_chains,
)
from scoter.types import Catalog, ReasoningPattern, Step


def texts_of(catalog):
    return lambda: np.random.default_rng(0).normal(size=(catalog.item_count, 4))


@pytest.fixture(scope="module")
def written(random_shop):
    split, catalog = random_shop
    pattern = ReasoningPattern(tuple(Step(role) for role in ROLES))
    table = write_chains(split, catalog, pattern, seed=4, texts=texts_of(catalog))
    return split, catalog, pattern, table


def test_there_is_a_chain_for_every_prefix_and_no_other(written):
    split, _, pattern, table = written
    has_valid = np.isin(np.arange(split.train.user_count), split.valid.users)
    np.testing.assert_array_equal(np.diff(table.starts), split.train.lengths + has_valid)
    assert len(table.offsets) == table.starts[-1] * len(pattern) + 1
    user = int(split.valid.users[0])
    last = int(split.train.lengths[user]) + 1
    assert table.chain(user, last).prefix_length == last
    with pytest.raises(
        DataError,
        match=f"user {user} has chains for the prefix lengths 1 to {last}, not for {last + 1}",
    ):
        table.chain(user, last + 1)
    with pytest.raises(DataError, match="not for 0"):
        table.chain(user, 0)


def test_chains_that_follow_others_keep_every_step(written):
    split, catalog, _, first = written
    steps = (Step("recommendation", {"rank": 1, "degrees": 8}), Step("history_summary"))
    second = write_chains(split, catalog, ReasoningPattern(steps), seed=5)
    both = first.followed_by(second)
    assert both.pattern.steps == (*first.pattern.steps, *steps)
    for chain in range(0, int(both.starts[-1]), 17):
        wanted = [
            (table.bag(chain * len(table.pattern) + step), stated(table, chain, step))
            for table in (first, second)
            for step in range(len(table.pattern))
        ]
        width = range(len(both.pattern))
        found = [(both.bag(chain * len(width) + k), stated(both, chain, k)) for k in width]
        assert found == wanted
    starts = second.starts.copy()
    starts[-1] += 1
    with pytest.raises(DataError, match="of other prefixes; write both for one split"):
        first.followed_by(replace(second, starts=starts))


def stated(table, chain, step):
    bag = chain * len(table.pattern) + step
    entries = slice(table.offsets[bag], table.offsets[bag + 1])
    count = entries.stop - entries.start
    return [0.0] * count if table.certainty is None else table.certainty[entries].tolist()


def test_each_chain_equals_the_one_written_alone(written):
    split, catalog, pattern, table = written
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=4)
    reasoner = CatalogReasoner(catalog, statistics, texts_of(catalog))
    users, lengths, _ = every_prefix(split)
    for row in range(0, len(users), 23):
        view = look(split, users[row : row + 1], lengths[row : row + 1])
        alone = []
        for step in pattern.steps:
            spoken = reasoner.write(view, step)
            alone.append(
                tuple(
                    spoken.sentence(number) for number in spoken.numbers[0].tolist() if number >= 0
                )
            )
        assert table.chain(int(users[row]), int(lengths[row])).steps == tuple(alone)


def test_roles_say_what_the_visible_history_holds(make_split):
    shop = Catalog(
        tuple("abcdef"),
        {
            "title": ("Ape", "Bee", "Cat", "Dog", "Eel", "Fox"),
            "brand": ("One", "Two", "One", "", "Two", "One"),
            "categories": (("Land",), ("Air",), ("Land",), ("Land",), ("Sea",), ("Land",)),
        },
    )
    split = make_split([[0, 1, 2, 3, 4, 5], [0, 5], [1, 2, 3]])
    steps = (
        Step("history_summary", {"count": 2}),
        Step("recent_item", {"lag": 3, "field": "brand"}),
        Step("recent_item", {"lag": 1, "field": "category"}),
        Step("brand_loyalty"),
        Step("long_term_preference", {"level": "category", "count": 1}),
    )
    table = write_chains(split, shop, ReasoningPattern(steps), seed=0)
    assert table.chain(0, 4).steps == (
        ("The shopper chose Dog.", "The shopper chose Cat."),
        ("The shopper chose something by Two.",),
        ("The shopper chose something from Land.",),
        ("The shopper is loyal to One.",),
        ("The shopper prefers Land.",),
    )
    assert table.chain(0, 5).steps[:3] == (  # the test history: the validation item is visible now
        ("The shopper chose Eel.", "The shopper chose Dog."),
        ("The shopper chose something by One.",),
        ("The shopper chose something from Sea.",),
    )
    assert table.chain(0, 1).steps[1] == ()
    assert table.chain(0, 2).steps[3] == ()


def test_recommendation_falls_back_on_the_favourite_department(make_split, make_shop):
    catalog = make_shop(12)
    split = make_split([[0, 2, 4], [7, 9, 1], [9, 9], [11]])
    pattern = ReasoningPattern((Step("recommendation", {"count": 2, "window": 1}),))
    table = write_chains(split, catalog, pattern, seed=0)
    # Nobody bought anything after item 11, whose department holds the items 1, 3, 5, 7 and 11;
    # another shopper bought 7.
    assert table.chain(3, 1).steps[0] == (
        "The recommendation is Thing number 7.",
        "The recommendation is Thing number 1.",
    )


def test_only_the_last_items_are_visible(random_shop):
    split, catalog = random_shop
    pattern = ReasoningPattern(
        (Step("history_summary", {"count": 10}), Step("recent_item", {"lag": 4}))
    )
    table = write_chains(split, catalog, pattern, seed=0, max_items=3)
    user = int(split.train.lengths.argmax())
    length = int(split.train.lengths[user])
    names = [
        f"The shopper chose Thing number {item}." for item in split.train.sequence(user)[-3:][::-1]
    ]
    assert sorted(table.chain(user, length).steps[0]) == sorted(names)
    assert table.chain(user, length).steps[1] == ()


def test_a_purchase_reads_the_same_at_every_lag(written):
    split, _, _, _ = written
    catalog = written[1]
    lags = ReasoningPattern(
        tuple(Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (1, 2, 3))
    )
    table = write_chains(split, catalog, lags, seed=0)
    for user in split.valid.users[:20].tolist():
        for length in range(3, int(split.train.lengths[user]) + 1):
            assert table.chain(user, length).steps[0] == table.chain(user, length + 1).steps[1]
    assert len(table.sentences) <= 3  # one per brand


def test_no_sentence_tells_a_position(written):
    positions = re.compile(
        r"\b(first|second|third|last|latest|previous|ago|before|after|then|earlier|recent\w*|next)\b",
        re.I,
    )
    for sentence in written[3].sentences:
        assert not positions.search(sentence), sentence
        assert re.search(r"[\w)%]\.$", sentence), sentence


def test_step_embeddings_are_means_of_sentence_vectors(written, encode):
    table = written[3]
    steps = table.embed(encode(table.sentences), "hashed")
    rng = np.random.default_rng(0)
    users = rng.choice(np.flatnonzero(np.diff(table.starts)), 30)
    lengths = rng.integers(1, np.diff(table.starts)[users] + 1)
    values, mask = steps.dense(steps.chain_rows(users, lengths))
    for row, (user, length) in enumerate(zip(users.tolist(), lengths.tolist(), strict=True)):
        for place, sentences in enumerate(table.chain(user, length).steps):
            assert mask[row, place] == bool(sentences)
            wanted = encode(list(sentences)).mean(axis=0) if sentences else np.zeros(32)
            np.testing.assert_allclose(values[row, place], wanted, atol=1e-5)
    with pytest.raises(DataError, match="1 vectors were given"):
        table.embed(encode(["one"]), "hashed")


def test_saved_chains_come_back(written, tmp_path):
    table = written[3]
    save_chains(table, tmp_path / "chains")
    loaded = load_chains(tmp_path / "chains")
    assert loaded.sentences == table.sentences
    assert loaded.pattern == table.pattern
    assert (loaded.model, loaded.prompt_version) == (
        "catalog-reasoner (symbolic)",
        table.prompt_version,
    )
    for name in ("indices", "offsets", "starts"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(table, name))
    with pytest.raises(DataError, match=r"has no chains\.parquet; write it with save_chains"):
        load_chains(tmp_path)


def test_ranks_by_reasons_say_how_sure_they_are(random_shop, tmp_path):
    split, catalog = random_shop
    ranked = {"by": "reasons", "count": 2, "degrees": 8, "rank": 2, "window": 3}
    pattern = ReasoningPattern((Step("recent_item"), Step("recommendation", ranked)))
    table = write_chains(split, catalog, pattern, seed=4, texts=texts_of(catalog))
    users, lengths, _ = every_prefix(split)
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=4)
    reasoner = CatalogReasoner(catalog, statistics, texts_of(catalog), table.weights)
    items, shares = reasoner.reasons.best(look(split, users, lengths), ALL, 3)
    names = item_names(catalog)
    for row in range(len(users)):
        first, second, end = table.offsets[2 * row : 2 * row + 3]
        assert not table.certainty[first:second].any()
        for number, item in zip(table.indices[second:end], items[row, 1:], strict=True):
            assert table.sentences[number].endswith(f"is {names[item]}.")
        np.testing.assert_allclose(table.certainty[second:end], shares[row, 1:], rtol=1e-5)
    save_chains(table, tmp_path)
    np.testing.assert_array_equal(load_chains(tmp_path).certainty, table.certainty)
    assert (
        write_chains(split, catalog, ReasoningPattern((Step("recent_item"),)), 0).certainty is None
    )


def test_users_without_events_have_no_chain(make_split, make_shop, tmp_path):
    split = make_split([[], [1, 2, 3, 4], [], [5]])
    table = write_chains(split, make_shop(8), ReasoningPattern((Step("recent_item"),)), seed=0)
    assert table.starts.tolist() == [0, 0, 3, 3, 4]
    save_chains(table, tmp_path)
    np.testing.assert_array_equal(load_chains(tmp_path).starts, table.starts)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("mood"), "there is no role 'mood'; choose from: history_summary"),
        (Step("recent_item", {"lags": 1}), "no parameter 'lags'; its parameters are: lag, field"),
        (Step("recent_item", {"lag": 0}), "lag is 0; it must be a whole number from 1 on"),
        (
            Step("recent_item", {"field": "colour"}),
            "field is 'colour'; choose from: item, brand, category",
        ),
        (Step("recommendation", {"degrees": 9}), "degrees is 9; it must be at most 8"),
        (Step("brand_loyalty", {"count": 2}), "its parameters are: none"),
        (Step("price_band"), "needs the catalogue column 'price', which holds nothing here"),
    ],
)
def test_a_step_that_cannot_be_written_says_why(make_split, step, message):
    shop = Catalog(("a", "b"), {"title": ("Ape", "Bee"), "brand": ("One", "")})
    with pytest.raises(ConfigError, match=re.escape(message)):
        write_chains(make_split([[0, 1, 0]]), shop, ReasoningPattern((step,)), seed=0)


def test_an_empty_pattern_is_refused(make_split, make_shop):
    with pytest.raises(ConfigError, match="the pattern has no steps"):
        write_chains(make_split([[0, 1, 0]]), make_shop(3), ReasoningPattern(()), seed=0)


def load_weights_of(table, folder):
    save_chains(table, folder)
    return load_chains(folder).weights


def test_every_offered_step_can_be_written(random_shop, tmp_path):
    split, catalog = random_shop
    steps = offered_steps(catalog)
    assert {step.role for step in steps} == set(ROLES)
    pattern = ReasoningPattern(tuple(steps))
    table = write_chains(split, catalog, pattern, seed=0, texts=texts_of(catalog))
    assert load_weights_of(table, tmp_path) == table.weights
    spoken = np.diff(table.offsets).reshape(-1, len(steps)).sum(axis=0)
    assert (spoken > 0).all(), [
        step.label() for step, count in zip(steps, spoken, strict=True) if count == 0
    ]


def test_roles_without_their_columns_are_not_offered(make_split):
    toys = Catalog(
        ("a", "b", "c"),
        {"phrase": ("train", "doll", "ball"), "brand": ("",) * 3, "categories": ((),) * 3},
    )
    assert {step.role for step in offered_steps(toys)} == {
        "history_summary",
        "recent_item",
        "likely_next",
        "bought_together",
        "near_in_words",
        "recommendation",
    }
    table = write_chains(
        make_split([[0, 1, 2, 0], [2, 1, 0]]), toys, hand_written_pattern(toys), seed=0
    )
    assert "The shopper chose train." in table.chain(0, 1).steps[0]


def test_ranks_part_a_recommendation_into_its_places(random_shop):
    split, catalog = random_shop
    view = look(split, *every_prefix(split)[:2])
    reasoner = CatalogReasoner(catalog, FoldedStatistics(split.train, catalog.item_count, seed=0))
    whole = reasoner.write(view, Step("recommendation", {"count": 3})).numbers
    for rank in (1, 2, 3):
        one = reasoner.write(view, Step("recommendation", {"count": 1, "rank": rank})).numbers
        np.testing.assert_array_equal(one[:, 0], whole[:, rank - 1])
    copied = pickle.loads(pickle.dumps(reasoner)).write(view, Step("recommendation", {"count": 3}))
    np.testing.assert_array_equal(copied.numbers, whole)


def test_degrees_of_certainty_are_doublings_of_strength(random_shop):
    split, catalog = random_shop
    view = look(split, *every_prefix(split)[:2])
    statistics = FoldedStatistics(split.train, catalog.item_count, seed=0)
    reasoner = CatalogReasoner(catalog, statistics)
    plain = reasoner.write(view, Step("recommendation", {"count": 2}))
    sure = reasoner.write(view, Step("recommendation", {"count": 2, "degrees": 4}))
    strength = likely_next(view, statistics, reasoner.facets["item"], 2, 3, new_only=True)[1]
    seen = set()
    for row, column in zip(*np.nonzero(plain.numbers >= 0), strict=True):
        said, surely = (step.sentence(int(step.numbers[row, column])) for step in (plain, sure))
        name = said.removeprefix("The recommendation is ")
        bound = [value for value in (0.5, 1.0, 2.0) if strength[row, column] >= value]
        assert surely == f"The recommendation, {CERTAINTY[len(bound)]}, is {name}"
        seen.add(len(bound))
    assert len(seen) > 1


def test_steps_are_read_as_they_were_written_and_anything_else_is_refused():
    pattern = ReasoningPattern((Step("recent_item", {"lag": 1, "field": "item"}), Step("likes")))
    assert ReasoningPattern.from_json(json.loads(json.dumps(pattern.to_json()))) == pattern
    assert ReasoningPattern.from_json([{"role": "likes"}]).steps == (Step("likes"),)
    for steps in (
        None,
        3,
        [3],
        [{"parameters": {}}],
        [{"role": 1}],
        [{"role": "a", "parameters": 1}],
    ):
        with pytest.raises(ValueError, match="no list of steps"):
            ReasoningPattern.from_json(steps)
