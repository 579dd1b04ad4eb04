"""The trie against a set of prefixes, and beam search against scoring every item of the
catalogue."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.config import TigerConfig
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.trie import build_trie
from scoter.types import Histories, SemanticIds

SMALL = TigerConfig(dim=16, layers=2, heads=2, head_dim=8, feed_forward=32, max_items=5, beams=4)


def random_ids(rng: np.random.Generator, items: int, sizes: tuple[int, ...]) -> SemanticIds:
    every = np.array(list(itertools.product(*map(range, sizes))))
    return SemanticIds(rng.permutation(every)[:items], sizes)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), items=st.integers(1, 24), levels=st.integers(1, 4))
def test_trie_holds_every_prefix_once(seed: int, items: int, levels: int) -> None:
    sizes = (3, 2, 2, 3)[-levels:] if levels > 1 else (24,)
    items = min(items, int(np.prod(sizes)))
    ids = random_ids(np.random.default_rng(seed), items, sizes)
    trie = build_trie(ids)
    assert len(trie.code) == 1 + sum(
        len(np.unique(ids.codes[:, : level + 1], axis=0)) for level in range(levels)
    )
    for item in range(items):
        node = 0
        for code in ids.codes[item]:
            children = trie.first_child[node] + np.arange(trie.child_count[node])
            (match,) = children[trie.code[children] == code]
            node = int(match)
        assert trie.item[node] == item
        assert trie.child_count[node] == 0


def brute_force_scores(model: Tiger, history: np.ndarray) -> torch.Tensor:
    """Log-likelihood of every item by teacher forcing: one decoder pass per item, no beam, no trie,
    no cache."""
    model.eval()
    tokens = model.item_tokens[:-1]
    with torch.inference_mode():
        memory = model.encode(model.item_tokens[torch.tensor(history)][None])
        scores = []
        for item in range(len(tokens)):
            target = tokens[item]
            shifted = torch.nn.functional.pad(target[:-1], (1, 0))
            # One row whose only target stands after the whole history.
            filler = torch.zeros(1, len(history) - 1, len(target), dtype=torch.long)
            hidden = model._decode_all(
                torch.cat([filler, shifted[None, None]], dim=1), memory, None
            )[0, -1]
            scores.append(
                torch.log_softmax(model._logits(hidden), -1).gather(-1, target[:, None]).sum()
            )
    return torch.stack(scores)


@pytest.mark.parametrize("seed", range(5))
def test_wide_beam_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    items = 20
    model = Tiger(SMALL, random_ids(rng, items, (4, 3, 3)))
    lengths = rng.integers(1, 6, 7)
    histories = Histories(
        np.arange(7),
        rng.integers(0, items, lengths.sum()),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    rankings = model.recommend(histories, k=items, batch_rows=3)
    for row in range(7):
        expected = brute_force_scores(model, histories.sequence(row))
        np.testing.assert_allclose(
            rankings.scores[row], expected.sort(descending=True).values, atol=1e-4
        )
        np.testing.assert_allclose(
            expected[rankings.items[row].copy()], rankings.scores[row], atol=1e-4
        )
        assert sorted(rankings.items[row]) == list(range(items))


def test_beam_returns_valid_distinct_items_and_says_when_there_are_no_more() -> None:
    torch.manual_seed(0)
    ids = random_ids(np.random.default_rng(0), 6, (3, 3, 2))
    model = Tiger(SMALL, ids)
    histories = Histories(np.arange(2), np.array([0, 1, 2]), np.array([0, 1, 3]))
    few = model.recommend(histories, k=3)
    assert all(len(set(row)) == 3 and set(row) <= set(range(6)) for row in few.items.tolist())
    many = model.recommend(histories, k=10)
    assert sorted(many.items[0][:6]) == list(range(6))
    assert (many.items[:, 6:] == -1).all()
    assert np.isneginf(many.scores[:, 6:]).all()
    assert (np.diff(many.scores[:, :6]) <= 0).all()


def test_histories_longer_than_the_window_use_its_last_items_only() -> None:
    torch.manual_seed(0)
    model = Tiger(SMALL, random_ids(np.random.default_rng(0), 12, (4, 3, 3)))
    long = Histories(np.array([0]), np.arange(9), np.array([0, 9]))
    short = Histories(np.array([0]), np.arange(4, 9), np.array([0, 5]))
    np.testing.assert_array_equal(model.recommend(long, 4).items, model.recommend(short, 4).items)
