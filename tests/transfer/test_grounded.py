"""Grounded steps: which item a sentence names, and what its codes look like."""

import numpy as np
import pytest

from scoter.transfer.grounded import (
    FRAME_WIDTH,
    LEVEL_WIDTH,
    code_vectors,
    ground_steps,
    named,
    one_step_per_sentence,
)
from scoter.types import ReasoningPattern, SemanticIds, Step, StepEmbeddings

IDS = SemanticIds(np.array([[0, 1], [0, 0], [3, 1], [2, 2]]), (4, 3))
NAMES = ("Soap", "Red lipstick", "lipstick", "Soap")
SENTENCES = (
    "The recommendation is Red lipstick.",
    "Likes lipstick.",
    "Soap is fine.",
    "The shopper chose Soap.",
    "Soap",
)


@pytest.mark.parametrize(
    ("sentence", "name"),
    list(zip(SENTENCES, ("Red lipstick", "lipstick", None, "Soap", "Soap"), strict=True)),
)
def test_the_longest_name_at_the_end_is_meant(sentence, name):
    assert named(sentence, set(NAMES)) == name


def test_sentences_bring_the_codes_of_their_items_along():
    words = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float16)
    table = StepEmbeddings(
        words,
        np.arange(5),
        np.arange(6),
        np.array([0, 5]),
        ReasoningPattern((Step("recommendation"),)),
        "words",
    )
    found = ground_steps(table, SENTENCES, NAMES, IDS, seed=3)
    codes = code_vectors(IDS, seed=3)
    assert found.dim == 6 + 2 * LEVEL_WIDTH + FRAME_WIDTH
    np.testing.assert_allclose(
        found.vectors[:, :6],
        words / np.linalg.norm(words.astype(np.float32), axis=1)[:, None],
        atol=2e-3,
    )
    second = found.vectors[:, 6:-FRAME_WIDTH]
    np.testing.assert_allclose(second[:2], codes[[1, 2]] / 2**0.5, atol=1e-6)
    assert not second[2].any()  # names no item at its end
    both = codes[0] + codes[3]
    np.testing.assert_allclose(second[3], both / np.linalg.norm(both), atol=1e-6)
    np.testing.assert_array_equal(second[3], second[4])
    np.testing.assert_array_equal(found.offsets, table.offsets)


def test_what_is_said_around_a_name_is_told_apart_from_the_name():
    said = [
        f"The recommendation, {sure}, is {name}."
        for sure in ("certain", "a guess")
        for name in ("Soap", "lipstick")
    ]
    table = StepEmbeddings(
        np.ones((5, 6), np.float16),
        np.arange(5),
        np.arange(6),
        np.array([0, 5]),
        ReasoningPattern((Step("x"),)),
        "words",
    )
    frames = ground_steps(table, [*said, "certain"], NAMES, IDS, seed=3).vectors[:, -FRAME_WIDTH:]
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[2], frames[3])
    assert (
        abs(float(frames[0] @ frames[2])) < 0.5
    )  # random directions of 64 numbers: errors of 1 / 8
    np.testing.assert_allclose((frames**2).sum(axis=1), [1, 1, 1, 1, 0], atol=1e-6)


def test_code_vectors_agree_level_by_level():
    products = code_vectors(IDS, seed=0) @ code_vectors(IDS, seed=0).T
    shared = (IDS.codes[:, None] == IDS.codes[None]).sum(-1)
    np.testing.assert_allclose(
        products, shared, atol=0.35
    )  # random directions of 128 numbers: errors of about 1 / 11 a level
    assert np.abs(np.diag(products) - 2).max() < 1e-5
    assert not np.allclose(code_vectors(IDS, seed=0), code_vectors(IDS, seed=1))


def test_one_step_per_sentence_says_the_same_in_the_same_order():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (30, 3))
    counts[:, 1] = np.minimum(counts[:, 1], 1)
    offsets = np.concatenate([[0], np.cumsum(counts.ravel())])
    pattern = ReasoningPattern(
        (Step("history_summary", {"count": 4}), Step("brand_loyalty"), Step("recommendation"))
    )
    table = StepEmbeddings(
        np.eye(9, dtype=np.float32),
        rng.integers(9, size=offsets[-1]),
        offsets,
        np.array([0, 12, 30]),
        pattern,
        "words",
    )
    split = one_step_per_sentence(table, most=3)
    assert [step.label() for step in split.pattern.steps][2:5] == [
        "history_summary(count=4, place=3)", "brand_loyalty", "recommendation(place=1)"
    ]  # fmt: skip
    values, there = split.dense(np.arange(30))
    for chain in range(30):
        bags = [
            table.indices[offsets[chain * 3 + step] : offsets[chain * 3 + step + 1]]
            for step in range(3)
        ]
        said = [
            [*bag[:width], *[-1] * (width - len(bag[:width]))]
            for bag, width in zip(bags, (3, 1, 3), strict=True)
        ]
        expected = np.concatenate(said)
        np.testing.assert_array_equal(there[chain], expected >= 0)
        np.testing.assert_array_equal(
            values[chain].argmax(-1)[expected >= 0], expected[expected >= 0]
        )
