"""What a target may see: the items before it, its own chain, and nothing else."""

import itertools

import numpy as np
import pytest
import torch

from scoter.config import TigerConfig
from scoter.errors import ConfigError
from scoter.models.backbones.tiger import Tiger
from scoter.models.step_reader import StepReader
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.transfer.collapse import MeanPoolFusion, other_users_chains
from scoter.transfer.fusion import StructuredFusion
from scoter.types import (
    Histories,
    InteractionLog,
    ReasoningPattern,
    SemanticIds,
    Step,
    StepEmbeddings,
)

CONFIG = TigerConfig(dim=16, layers=2, heads=2, head_dim=8, feed_forward=32, max_items=6, beams=8)
STEPS, WIDTH, ITEMS, USERS = 3, 5, 12, 5


def make_ids() -> SemanticIds:
    codes = np.array([(a, b, c) for a in range(3) for b in range(2) for c in range(2)])
    return SemanticIds(np.random.default_rng(0).permutation(codes), (3, 2, 2))


def make_log() -> InteractionLog:
    return InteractionLog(
        np.random.default_rng(1).integers(0, ITEMS, USERS * 5),
        np.arange(USERS + 1) * 5,
        tuple("abcde"),
    )


def make_steps(seed: int = 0) -> StepEmbeddings:
    chains = USERS * 6
    vectors = (
        np.random.default_rng(seed).standard_normal((chains * STEPS, WIDTH)).astype(np.float32)
    )
    pattern = ReasoningPattern(tuple(Step(f"role{k}") for k in range(STEPS)))
    return StepEmbeddings(
        vectors,
        np.arange(chains * STEPS),
        np.arange(chains * STEPS + 1),
        np.arange(USERS + 1) * 6,
        pattern,
        "test",
    )


def make_model(kind: type[StructuredFusion] | None = StructuredFusion) -> Tiger:
    torch.manual_seed(0)
    fusion = None if kind is None else kind(STEPS, WIDTH, CONFIG.dim, CONFIG.layers, 2)
    model = Tiger(CONFIG, make_ids()).eval()
    if fusion is not None:
        model.attach(fusion.eval())
    return model


def target_losses(
    model: Tiger, batch: ItemBatch, steps: StepEmbeddings | None = None
) -> np.ndarray:
    """Loss of each target on its own, by masking all the others."""
    reader = None if steps is None else StepReader(steps)
    losses = np.zeros(batch.is_target.shape)
    for row, column in batch.is_target.nonzero().tolist():
        only = torch.zeros_like(batch.is_target)
        only[row, column] = True
        losses[row, column] = float(
            model.loss(
                ItemBatch(batch.items, only, batch.users, batch.prefix_lengths), reader
            ).detach()
        )
    return losses


def one_batch(log: InteractionLog) -> ItemBatch:
    (batch,) = training_batches(log, cut_windows(log, CONFIG.max_items), 1000, 0)
    return batch


@pytest.mark.parametrize("position", range(5))
def test_a_target_sees_nothing_at_or_after_itself(position: int) -> None:
    model, batch = make_model(None), one_batch(make_log())
    changed = batch.items.clone()
    changed[:, position] = (changed[:, position] + 1) % ITEMS
    before = target_losses(model, batch)
    after = target_losses(
        model, ItemBatch(changed, batch.is_target, batch.users, batch.prefix_lengths)
    )
    np.testing.assert_allclose(
        before[:, : max(0, position - 1)], after[:, : max(0, position - 1)], atol=1e-6
    )
    if position < 4:
        assert (np.abs(before - after)[:, position:] > 1e-6).any()


def test_training_and_decoding_agree() -> None:
    """The score of a target's item in beam search is the negative training loss of that target."""
    log, steps = make_log(), make_steps()
    model, batch = make_model(), one_batch(log)
    losses = target_losses(model, batch, steps)
    for row, user in enumerate(batch.users.tolist()):
        for column in range(4):
            history = Histories(
                np.array([user]), log.sequence(user)[: column + 1], np.array([0, column + 1])
            )
            rankings = model.recommend(history, ITEMS, StepReader(steps))
            target = log.sequence(user)[column + 1]
            score = rankings.scores[0][rankings.items[0] == target][0]
            assert score == pytest.approx(-losses[row, column] * 3, abs=1e-4)


def test_a_target_reads_only_the_chain_of_its_own_prefix() -> None:
    model, batch, steps = make_model(), one_batch(make_log()), make_steps()
    vectors = steps.vectors.copy()
    user, prefix = 2, 3
    chain = user * 6 + prefix - 1
    vectors[chain * STEPS : (chain + 1) * STEPS] += 1.0
    other = StepEmbeddings(
        vectors, steps.indices, steps.offsets, steps.starts, steps.pattern, steps.encoder
    )
    change = np.abs(target_losses(model, batch, steps) - target_losses(model, batch, other)) > 1e-7
    expected = (batch.users[:, None] == user) & (batch.prefix_lengths == prefix)
    np.testing.assert_array_equal(change, expected.numpy())


def reversed_steps(steps: StepEmbeddings) -> StepEmbeddings:
    indices = steps.indices.reshape(-1, STEPS)[:, ::-1].ravel()
    return StepEmbeddings(
        steps.vectors, indices, steps.offsets, steps.starts, steps.pattern, steps.encoder
    )


def test_structured_fusion_knows_order_and_the_pool_does_not() -> None:
    batch, steps = one_batch(make_log()), make_steps()
    for kind, ordered in ((StructuredFusion, True), (MeanPoolFusion, False)):
        model = make_model(kind)
        change = np.abs(
            target_losses(model, batch, steps) - target_losses(model, batch, reversed_steps(steps))
        ).max()
        assert (change > 1e-4) == ordered, (kind, change)


@pytest.mark.parametrize("kind", [StructuredFusion, MeanPoolFusion])
def test_a_missing_chain_is_the_null_slot_whatever_its_content(
    kind: type[StructuredFusion],
) -> None:
    torch.manual_seed(0)
    fusion = kind(STEPS, WIDTH, 8, 1, 2).eval()
    hidden, nothing = torch.randn(4, 2, 8), torch.zeros(4, STEPS, dtype=torch.bool)
    first = fusion(hidden, fusion.encode(torch.randn(4, STEPS, WIDTH), nothing), 0)
    second = fusion(hidden, fusion.encode(torch.randn(4, STEPS, WIDTH), nothing), 0)
    torch.testing.assert_close(first, second)
    assert torch.isfinite(first).all()


def test_another_users_chain_is_never_ones_own() -> None:
    steps = make_steps()
    swapped = other_users_chains(steps, seed=0)
    owner = swapped.indices.reshape(-1, STEPS) // (6 * STEPS)
    assert (owner == owner[:, :1]).all()
    assert (owner[:, 0] != np.repeat(np.arange(USERS), 6)).all()
    assert len(np.unique(swapped.indices)) > len(swapped.indices) / 3
    place = swapped.indices.reshape(-1, STEPS)[:, 0] // STEPS % 6
    assert place.reshape(-1, 6)[:, :4].max() < 4, (
        "a chain that training reads shows a donor's validation item"
    )


def test_a_fusion_without_steps_and_a_lonely_user_are_named() -> None:
    with pytest.raises(ConfigError, match="steps is None, but this model has a fusion"):
        make_model().loss(one_batch(make_log()))
    steps = make_steps()
    alone = StepEmbeddings(
        steps.vectors,
        steps.indices[:18],
        steps.offsets[:19],
        np.array([0, 6]),
        steps.pattern,
        "test",
    )
    with pytest.raises(ConfigError, match="chains of 1 users"):
        other_users_chains(alone, seed=0)


@pytest.mark.parametrize("width", [5, 24, 40])
def test_embeddings_that_start_from_codebooks_keep_their_geometry(width: int) -> None:
    rng = np.random.default_rng(0)
    books = (
        rng.normal(size=(2, 6, width)).astype(np.float32)
        * np.array([9.0, 0.1], np.float32)[:, None, None]
    )
    codes = np.array(list(itertools.product(range(6), range(6), range(2))))[::2]
    ids = SemanticIds(codes, (6, 6, 2), books)
    torch.manual_seed(0)
    weight = Tiger(
        TigerConfig(dim=24, heads=2, head_dim=4, layers=1, embedding_start="codebooks"), ids
    ).embedding.weight.detach()
    for level, first in enumerate((1, 7)):
        mine, theirs = weight[first : first + 6].double(), torch.from_numpy(books[level]).double()
        assert float(mine.square().mean()) == pytest.approx(1, abs=0.1)
        assert torch.corrcoef(torch.stack([torch.pdist(mine), torch.pdist(theirs)]))[0, 1] > 0.95
    with pytest.raises(
        ConfigError, match=r"come without codebooks; make them with .*build_semantic_ids"
    ):
        Tiger(TigerConfig(embedding_start="codebooks"), SemanticIds(codes, (6, 6, 2)))
