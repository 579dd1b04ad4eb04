"""Exact scores against scoring each item on its own, and the agreement of beams with them."""

import itertools
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from scoter.config import TigerConfig
from scoter.errors import ConfigError
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.exact import agreement, log_likelihoods
from scoter.models.step_reader import StepReader, read_chains
from scoter.models.training.batches import ItemBatch
from scoter.transfer.fusion import StructuredFusion
from scoter.types import Histories, ReasoningPattern, SemanticIds, Step, StepEmbeddings

CONFIG = TigerConfig(dim=16, layers=2, heads=2, head_dim=8, feed_forward=32, max_items=5, beams=4)
ITEMS, USERS, STEPS, WIDTH = 40, 5, 2, 4


def make_model(
    fused: bool = False,
    softmax: Literal["vocabulary", "trie"] = "vocabulary",
    repeat_bias: tuple[float, ...] = (),
) -> Tiger:
    torch.manual_seed(0)
    every = np.array(list(itertools.product(range(5), range(4), range(3))))
    ids = SemanticIds(np.random.default_rng(0).permutation(every)[:ITEMS], (5, 4, 3))
    fusion = StructuredFusion(STEPS, WIDTH, CONFIG.dim, CONFIG.layers, 2) if fused else None
    model = Tiger(replace(CONFIG, softmax=softmax, repeat_bias=bool(repeat_bias)), ids).eval()
    if fusion is not None:
        model.attach(fusion.eval())
    if model.repeat is not None:
        model.repeat.data = torch.tensor(repeat_bias)
    return model


def make_histories() -> Histories:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 8, USERS)  # some are longer than the window
    return Histories(
        np.arange(USERS),
        rng.integers(0, ITEMS, lengths.sum()),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def make_steps() -> StepReader:
    chains = USERS * 8
    vectors = np.random.default_rng(2).standard_normal((chains * STEPS, WIDTH)).astype(np.float32)
    pattern = ReasoningPattern(tuple(Step(f"role{k}") for k in range(STEPS)))
    bags = np.arange(chains * STEPS + 1)
    return StepReader(
        StepEmbeddings(vectors, bags[:-1], bags, np.arange(USERS + 1) * 8, pattern, "test")
    )


def can_follow(model: Tiger) -> torch.Tensor:
    """(items, codes, vocabulary): whether a token comes next in some item that shares this item's
    codes so far."""
    tokens = model.item_tokens[:-1]
    allowed = torch.zeros(*tokens.shape, model.embedding.num_embeddings, dtype=torch.bool)
    for item, level in itertools.product(range(len(tokens)), range(model.levels)):
        allowed[item, level, tokens[(tokens[:, :level] == tokens[item, :level]).all(1), level]] = (
            True
        )
    return allowed


@torch.inference_mode()
def each_item_alone(model: Tiger, histories: Histories, steps: StepReader | None) -> np.ndarray:
    """Teacher forcing with whole IDs: the decoder of training, every item from its start token,
    nothing shared."""
    scores = []
    for row in range(len(histories)):
        history = torch.tensor(histories.sequence(row)[-CONFIG.max_items :])
        memory = model.encode(model.item_tokens[history][None]).expand(ITEMS, -1, -1)
        tokens = model.item_tokens[:-1]
        shifted = torch.nn.functional.pad(tokens[:, :-1], (1, 0))[:, None]
        filler = torch.zeros(ITEMS, len(history) - 1, 3, dtype=torch.long)
        chain = None
        if steps is not None:
            places = (torch.tensor([row]), torch.tensor([histories.lengths[row]]))
            users, lengths = (place.repeat(ITEMS * len(history)) for place in places)
            chain = read_chains(model.fusion, steps, users, lengths)
        hidden = model._decode_all(torch.cat([filler, shifted], 1), memory, chain)[:, -1]
        logits = model._logits(hidden)
        if model.config.softmax == "trie":
            logits = logits.masked_fill(~can_follow(model), -torch.inf)
        scores.append(
            torch.log_softmax(logits, -1).gather(-1, tokens[..., None]).sum((1, 2)).numpy()
        )
    return np.stack(scores)


@pytest.mark.parametrize("softmax", ["vocabulary", "trie"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("rows", "states"), [(1, 3), (2, 10), (8, 4096)])
def test_exact_equals_scoring_each_item_alone(
    softmax: Literal["vocabulary", "trie"], fused: bool, rows: int, states: int
) -> None:
    model, histories, steps = (
        make_model(fused, softmax),
        make_histories(),
        make_steps() if fused else None,
    )
    found = log_likelihoods(model, histories, steps, rows=rows, states=states)
    np.testing.assert_allclose(found, each_item_alone(model, histories, steps), atol=1e-5)


def test_a_beam_as_wide_as_the_catalogue_agrees_and_a_narrow_one_is_counted() -> None:
    model, histories = make_model(), make_histories()
    scores = log_likelihoods(model, histories)
    wide = agreement(scores, model.recommend(histories, 4, beams=ITEMS).items)
    assert wide == {"overlap": 1.0, "identical": 1.0, "first": 1.0}
    found = model.recommend(histories, 4, beams=4).items
    best = np.argsort(-each_item_alone(model, histories, None))[:, :4]
    shares = [len(set(a) & set(b)) / 4 for a, b in zip(best.tolist(), found.tolist(), strict=True)]
    narrow = agreement(scores, found)
    assert narrow["overlap"] == pytest.approx(np.mean(shares))
    assert 0 < narrow["overlap"] < 1
    assert narrow["identical"] == np.mean([share == 1 for share in shares])
    with pytest.raises(
        ConfigError,
        match="found holds k = 4 items for each history, but there are only 3; ask for fewer",
    ):
        agreement(scores[:, :3], found)


@torch.inference_mode()
@pytest.mark.parametrize("repeat_bias", [(), (0.3, -0.2, 0.1)])
def test_a_softmax_over_the_trie_is_one_distribution_over_the_catalogue(
    repeat_bias: tuple[float, ...],
) -> None:
    """Probabilities of the items sum to 1; the loss is their mean negative logarithm; the beam
    finds them with those scores."""
    model, histories = make_model(softmax="trie", repeat_bias=repeat_bias), make_histories()
    scores = log_likelihoods(model, histories)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)
    found = model.recommend(histories, ITEMS)
    np.testing.assert_allclose(np.take_along_axis(scores, found.items, 1), found.scores, atol=1e-5)
    assert (np.sort(found.items, axis=1) == np.arange(ITEMS)).all()
    history = torch.tensor(histories.sequence(0)[-CONFIG.max_items :])
    others = torch.arange(ITEMS)
    rows = torch.cat([history.expand(ITEMS, -1), others[:, None]], 1)
    is_target = torch.zeros(ITEMS, len(history), dtype=torch.bool)
    is_target[:, -1] = True
    batch = ItemBatch(rows, is_target, others, torch.arange(1, len(history) + 1).expand(ITEMS, -1))
    assert float(model.loss(batch)) == pytest.approx(-float(scores[0].mean()) / 3, abs=1e-5)
    # Smoothed all the way, a code's loss is the mean over what can follow; the joint distribution
    # says how likely that is.
    codes, likely = model.item_tokens[:-1], np.exp(scores[0].astype(np.float64))
    spread = []
    for item, level in itertools.product(range(ITEMS), range(3)):
        together = (codes[:, :level] == codes[item, :level]).all(1)
        below = [
            likely[together & (codes[:, level] == code)].sum()
            for code in codes[together, level].unique()
        ]
        spread.append(np.mean(-np.log(below / likely[together].sum())))
    assert float(model.loss(batch, label_smoothing=1.0)) == pytest.approx(np.mean(spread), abs=1e-5)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_repeat_bias_moves_what_was_seen_where_it_parts_from_the_rest(level: int) -> None:
    """From the joint distribution without the bias: odds of exactly those branches change by exp(10
    x bias), all else is kept."""
    histories, amount = make_histories(), 0.07
    plain = make_model(softmax="trie")
    biased = make_model(
        softmax="trie", repeat_bias=tuple(amount * (place == level) for place in range(3))
    )
    biased.load_state_dict(plain.state_dict(), strict=False)
    before, after = (
        np.exp(log_likelihoods(model, histories).astype(np.float64)) for model in (plain, biased)
    )
    codes = plain.item_tokens[:-1].numpy()
    shared = (codes[:, None] == codes).cumprod(axis=2)
    shared[np.arange(ITEMS), np.arange(ITEMS)] = 0
    parts_at = shared.any(axis=1).sum(axis=1)  # the first level whose code makes it the only one
    assert set(parts_at) == {1, 2}
    for row in range(USERS):
        seen = np.isin(np.arange(ITEMS), histories.sequence(row)[-CONFIG.max_items :]) & (
            parts_at == level
        )
        expected = np.empty(ITEMS)
        for item in range(ITEMS):
            siblings = (codes[:, :level] == codes[item, :level]).all(axis=1)
            odds = before[row] * np.where(seen, np.exp(10 * amount), 1)
            expected[item] = odds[item] / odds[siblings].sum() * before[row][siblings].sum()
        np.testing.assert_allclose(after[row], expected, rtol=1e-4)


def test_a_repeat_bias_without_a_trie_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"repeat_bias = True needs softmax = 'trie'.*set model\.softmax=trie"
    ):
        make_model(repeat_bias=(0.0, 0.0, 0.0))


def test_the_training_mode_is_put_back() -> None:
    model = make_model().train()
    log_likelihoods(model, make_histories())
    assert model.training
