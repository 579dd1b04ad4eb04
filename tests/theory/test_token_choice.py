"""Nested decoders of tokens against the truth of a model that is in their family."""

import numpy as np
import pytest
from scipy.special import log_softmax

from theory.errors import PremiseError
from theory.estimators.token_choice import popularity_decoder, token_levels

CODES = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]])


def draw(strength: float, n: int = 2500, seed: int = 0):
    """Items by a conditional logit of random vectors; features are what the logit reads."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((6, 3))
    features = rng.standard_normal((n, 3))
    log_p = log_softmax(strength * features @ vectors.T, axis=1)
    targets = (log_p + rng.gumbel(size=log_p.shape)).argmax(1)
    return vectors, features, targets, log_p[np.arange(n), targets]


def test_levels_sum_to_a_law_of_items():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 9, size=6)
    targets = rng.integers(6, size=40)
    levels = token_levels(CODES, targets, rng.standard_normal((6, 3)), counts)
    found = popularity_decoder(levels, np.arange(40), seed=0).held_out.sum(0)
    np.testing.assert_allclose(found, np.log((counts + 1) / (counts + 1).sum())[targets], atol=1e-5)


def test_a_stage_finds_what_is_there_and_a_second_adds_nothing():
    vectors, features, targets, truth = draw(1.0)
    levels = token_levels(CODES, targets, vectors, np.bincount(targets, minlength=6))
    start = popularity_decoder(levels, np.arange(len(targets)), seed=0)
    known = start.extend(features)
    gain = (known.held_out - start.held_out).sum(0)
    possible = (truth - start.held_out.sum(0)).mean()
    assert 0.75 * possible < gain.mean() < possible + 3 * gain.std() / np.sqrt(len(gain))
    again = (known.extend(features + 0.0).held_out - known.held_out).sum(0)
    assert abs(again.mean()) < 0.01
    noise = np.random.default_rng(2).standard_normal((len(targets), 20))
    assert abs((start.extend(noise).held_out - start.held_out).sum(0).mean()) < 0.01


def test_items_named_are_voted_for_where_they_are_right():
    """p(item) in proportion to exp(2) where the first item named is it, and nothing for the second:
    in the family exactly."""
    rng = np.random.default_rng(3)
    named = rng.integers(-1, 6, size=(2500, 2))
    log_p = log_softmax(2.0 * (named[:, [0]] == np.arange(6)), axis=1)
    targets = (log_p + rng.gumbel(size=log_p.shape)).argmax(1)
    possible = (log_p[np.arange(2500), targets] + np.log(6)).mean()
    for codes in (np.arange(6)[:, None], CODES):
        levels = token_levels(codes, targets, np.eye(6), np.bincount(targets, minlength=6))
        start = popularity_decoder(levels, np.arange(2500), seed=0)
        known = start.extend(np.zeros((2500, 1)), named)
        gain = (known.held_out - start.held_out).sum(0)
        least = (
            0.95 if codes.shape[1] == 1 else 0.8
        )  # token by token, a vote is shared with the items of the same first token
        assert least * possible < gain.mean() < possible + 3 * gain.std() / 50
        assert (
            abs((known.extend(np.zeros((2500, 1)), named).held_out - known.held_out).sum(0).mean())
            < 0.01
        )
        assert (
            abs(
                (start.extend(np.zeros((2500, 1)), named[:, 1:]).held_out - start.held_out)
                .sum(0)
                .mean()
            )
            < 0.01
        )
    with pytest.raises(PremiseError, match="needs one row per target"):
        start.extend(np.zeros((2500, 1)), named[:5])


def test_utilities_are_readings_and_votes_summed_child_by_child():
    rng = np.random.default_rng(4)
    codes = np.stack(np.unravel_index(rng.permutation(40), (4, 10)), axis=1)
    targets, named = rng.integers(40, size=60), rng.integers(-1, 40, size=(60, 3))
    readings, votes = rng.standard_normal((60, 2)), rng.standard_normal(3)
    for number, level in enumerate(
        token_levels(codes, targets, rng.standard_normal((40, 2)), np.ones(40))
    ):
        for block in level.naming(named).blocks:
            found = level.utilities(block, readings, votes)
            for place, row in enumerate(block.rows):
                children = block.children if block.children.ndim == 1 else block.children[place]
                for column, child in enumerate(children):
                    if child < 0:
                        continue
                    below = np.flatnonzero(level.child_of == child)
                    prefix = codes[below[0], : number + 1]
                    leads = [
                        item >= 0 and (codes[item, : number + 1] == prefix).all()
                        for item in named[row]
                    ]
                    wanted = readings[row] @ level.vectors[child] + votes @ leads
                    assert found[place, column] == pytest.approx(wanted)


def test_a_group_is_never_on_both_sides():
    _, features, targets, _ = draw(1.0, n=300)
    groups = np.repeat(np.arange(100), 3)
    levels = token_levels(CODES, targets, np.eye(6), np.ones(6))
    fold = popularity_decoder(levels, groups, seed=3).fold
    assert all(len(set(fold[groups == group])) == 1 for group in range(100))
    with pytest.raises(PremiseError, match="needs one row per target"):
        popularity_decoder(levels, groups, seed=3).extend(features[:5])
    with pytest.raises(PremiseError, match="share their tokens"):
        token_levels(np.zeros((3, 2), int), targets, np.eye(3), np.ones(3))
