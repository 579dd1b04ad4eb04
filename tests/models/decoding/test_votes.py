"""Votes against the mixture spelt out item by item, in every place where a recommender scores."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from scoter.config import FusionConfig, Gru4RecConfig, SasrecConfig, TigerConfig
from scoter.errors import ConfigError
from scoter.models.backbones.gru4rec import GRU4Rec
from scoter.models.backbones.sasrec import SASRec
from scoter.models.backbones.single import SingleRequests
from scoter.models.backbones.tiger import Tiger
from scoter.models.decoding.exact import log_likelihoods
from scoter.models.decoding.votes import elect
from scoter.models.quantised_steps import QuantisedSteps
from scoter.models.step_reader import StepReader, read_chains
from scoter.models.training.batches import cut_windows, training_batches
from scoter.transfer.build import build_fusion
from scoter.transfer.prepared import PreparedFusion
from scoter.transfer.votes import Votes
from scoter.types import (
    Histories,
    InteractionLog,
    ReasoningPattern,
    SemanticIds,
    Step,
    StepEmbeddings,
)

ITEMS, USERS, STEPS, WIDTH = 12, 5, 4, 6
PATTERN = ReasoningPattern(
    tuple(Step("recommendation", {"rank": rank}) for rank in range(1, STEPS + 1))
)
TIGER = TigerConfig(
    dim=16, layers=2, heads=2, head_dim=8, feed_forward=32, max_items=6, beams=ITEMS, softmax="trie"
)


def make_log() -> InteractionLog:
    return InteractionLog(
        np.random.default_rng(1).integers(0, ITEMS, USERS * 5),
        np.arange(USERS + 1) * 5,
        tuple("abcde"),
    )


def make_steps() -> StepEmbeddings:
    """Chains that name items, some of them twice, some steps no item, and some chains lack
    steps."""
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 3, USERS * 6 * STEPS).clip(max=1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    vectors = rng.standard_normal((30, WIDTH)).astype(np.float32)
    named = np.where(rng.random(30) < 0.8, rng.integers(0, ITEMS, 30), -1)
    return StepEmbeddings(
        vectors,
        rng.integers(0, 30, offsets[-1]),
        offsets,
        np.arange(USERS + 1) * 6,
        PATTERN,
        "test",
        named,
    )


def make_fusion(dim: int, layers: int, reads: Any = "start"):
    torch.manual_seed(3)
    fusion = build_fusion(
        FusionConfig(grounded=True, votes=True, heads=2, placement=reads),
        PATTERN,
        WIDTH,
        dim,
        layers,
    )
    with torch.no_grad():
        for parameter in fusion.votes.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        fusion.votes.abstain.fill_(0.3)
    return fusion


@pytest.mark.parametrize("items", [1, 2])
@pytest.mark.parametrize("softmax", ["trie", "vocabulary"])
def test_a_catalogue_smaller_than_the_beam_is_recommended_whole(items: int, softmax: Any) -> None:
    """One item leaves the beam nothing to decide, while votes and readings still need the decoder's
    state."""
    ids = SemanticIds(np.arange(items)[:, None], (items,))
    torch.manual_seed(0)
    tiger = Tiger(replace(TIGER, softmax=softmax), ids)
    model = reading(tiger, make_fusion(TIGER.dim, TIGER.layers)).eval()
    table = make_steps()
    steps = StepReader(replace(table, named=np.minimum(table.named, items - 1)))  # pyright: ignore
    histories = Histories(np.arange(3), np.zeros(6, np.int64), np.arange(4) * 2)
    read = []
    model.fusion.start_recording()
    found = model.recommend(
        histories, 5, steps, lambda rows: read.append(model.fusion.take_readings()[0])
    )
    exact = log_likelihoods(model, histories, steps)
    assert [len(gates) for gates in read] == [3]
    order = np.argsort(-exact, axis=1)
    assert found.items.tolist() == [[*row, *[-1] * (5 - items)] for row in order.tolist()]
    np.testing.assert_allclose(
        found.scores[:, :items], np.take_along_axis(exact, order, axis=1), atol=1e-5
    )
    single = SingleRequests(model, PreparedFusion(model.fusion).of_source(steps))
    for row in range(3):
        best, scores = single.best(torch.zeros(2, dtype=torch.long), 5, user=row)
        known = best >= 0
        assert best[known].tolist() == order[row].tolist()
        np.testing.assert_allclose(scores[known].numpy(), found.scores[row, :items], atol=1e-5)


def reading(model: Any, fusion: Any) -> Any:
    model.attach(fusion)
    return model


def make_tiger(reads: Any = "start") -> Tiger:
    codes = np.array([(a, b, c) for a in range(3) for b in range(2) for c in range(2)])
    ids = SemanticIds(np.random.default_rng(0).permutation(codes), (3, 2, 2))
    torch.manual_seed(0)
    return reading(Tiger(TIGER, ids), make_fusion(TIGER.dim, TIGER.layers, reads)).eval()


def item_scorers():
    torch.manual_seed(0)
    sasrec = SASRec(SasrecConfig(dim=16, layers=1, heads=2, loss="ce", max_items=6), ITEMS)
    yield reading(sasrec, make_fusion(16, 1)).eval()
    gru4rec = GRU4Rec(Gru4RecConfig(dim=16, max_items=6), ITEMS)
    yield reading(gru4rec, make_fusion(16, 1)).eval()


def prefixes(log: InteractionLog) -> Histories:
    rows = [log.sequence(user)[: column + 1] for user in range(USERS) for column in range(4)]
    return Histories(
        np.repeat(np.arange(USERS), 4), np.concatenate(rows), np.cumsum([0, *map(len, rows)])
    )


def mixture(model, own: np.ndarray, weights: torch.Tensor, named: np.ndarray) -> np.ndarray:
    """p' of every item, spelt out."""
    shares = weights.detach().exp().numpy()
    p = np.exp(own) * shares[:, :1]
    for row, step in np.ndindex(named.shape):
        if named[row, step] >= 0:
            p[row, named[row, step]] += shares[row, step + 1]
    return np.log(p)


def test_weights_are_a_distribution_and_only_steps_that_name_an_item_have_any():
    torch.manual_seed(0)
    votes = Votes(STEPS, 8)
    named = torch.tensor([[1, -1, 2, 2], [-1, -1, -1, -1]])
    weights = votes(torch.randn(2, 8), torch.randn(2, STEPS, 8), named).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[:, 1:][named < 0] == 0).all()
    assert (weights[0, [0, 1, 3, 4]] > 0).all()
    assert weights[1, 0] == 1


@pytest.mark.parametrize("reads", ["start", "last-layer", "every-layer", "nowhere"])
def test_every_way_of_scoring_gives_the_same_mixture(reads: Any):
    model, log, steps = make_tiger(reads), make_log(), make_steps()
    histories, reader = prefixes(log), StepReader(steps)
    exact = log_likelihoods(model, histories, reader)
    np.testing.assert_allclose(np.exp(exact).sum(1), 1, atol=1e-5)
    users, lengths = torch.tensor(histories.users), torch.tensor(histories.lengths)
    with torch.inference_mode():  # without votes, by the same weights
        fusion, own = model.fusion, np.empty_like(exact)
        votes, fusion.votes = fusion.votes, None
        own = log_likelihoods(model, histories, reader)
        fusion.votes = votes
        bare = make_tiger(reads)
        bare.fusion = None
        untold = np.abs(own - log_likelihoods(bare, histories, None)).max()
        assert (untold < 1e-5) == (reads == "nowhere")
        state = first_states(model, histories, reader)
        memory = fusion.encode(*reader.read(users, lengths), reader.named(users, lengths))
        weights = fusion.vote(state, memory)
    np.testing.assert_allclose(
        exact, mixture(model, own, weights, reader.named(users, lengths).numpy()), atol=1e-5
    )
    assert np.abs(exact - own).max() > 0.1
    ranked = model.recommend(histories, ITEMS, reader)
    np.testing.assert_allclose(ranked.scores, -np.sort(-exact, axis=1), atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, ranked.items, 1), ranked.scores, atol=1e-5)
    some = np.random.default_rng(0).integers(0, ITEMS, (len(histories), 3))
    np.testing.assert_allclose(
        model.rescore(histories, some, reader), np.take_along_axis(exact, some, 1), atol=1e-5
    )
    requests = SingleRequests(model, PreparedFusion(model.fusion).of_source(reader))
    for row in range(len(histories)):
        items, scores = requests.best(
            torch.from_numpy(histories.sequence(row).copy()), 4, int(histories.users[row])
        )
        np.testing.assert_allclose(scores, ranked.scores[row, :4], atol=1e-5)
        np.testing.assert_allclose(exact[row, items], scores, atol=1e-5)


def first_states(model: Tiger, histories: Histories, reader: StepReader) -> torch.Tensor:
    """The decoder's state after the start token, by the training pass."""
    states = []
    for row in range(len(histories)):
        items = torch.from_numpy(histories.sequence(row).copy())[None]
        user, length = torch.tensor([histories.users[row]]), torch.tensor([len(items[0])])
        chain = read_chains(model.fusion, reader, user, length)
        hidden = model._decode_all(
            torch.zeros(1, 1, model.levels, dtype=torch.long),
            model.encode(model.item_tokens[items]),
            chain,
        )
        states.append(hidden[:, 0, 0])
    return torch.cat(states)


def test_the_loss_is_the_mean_of_what_ranking_scores():
    log, steps = make_log(), make_steps()
    histories, reader = prefixes(log), StepReader(steps)
    (batch,) = training_batches(log, cut_windows(log, 6), 1000, 0)
    targets = np.array(
        [log.sequence(user)[column + 1] for user in range(USERS) for column in range(4)]
    )
    tiger = make_tiger()
    wanted = (
        -log_likelihoods(tiger, histories, reader)[np.arange(len(targets)), targets].mean()
        / tiger.levels
    )
    assert float(tiger.loss(batch, reader).detach()) == pytest.approx(wanted, abs=1e-5)
    for model in item_scorers():
        ranked = model.recommend(histories, ITEMS, reader)
        np.testing.assert_allclose(np.exp(ranked.scores).sum(1), 1, atol=1e-5)
        wanted = -ranked.scores[ranked.items == targets[:, None]].mean()
        assert float(model.loss(batch, reader).detach()) == pytest.approx(wanted, abs=1e-5)
        assert np.isfinite(
            [float(part.grad.abs().sum()) for part in gradients(model, batch, reader)]
        ).all()


def gradients(model, batch, reader):
    model.loss(batch, reader).backward()
    return model.fusion.votes.parameters()


@pytest.mark.parametrize("seed", range(20))
def test_elect_equals_brute_force(seed: int):
    rng = np.random.default_rng(seed)
    own = np.log(rng.dirichlet(np.ones(ITEMS), 3))
    named = np.where(rng.random((3, STEPS)) < 0.7, rng.integers(0, ITEMS, (3, STEPS)), -1)
    weights = torch.log_softmax(
        torch.tensor(
            np.where(np.c_[np.zeros(3), named] < 0, -1e9, rng.normal(size=(3, 1 + STEPS)))
        ),
        1,
    )
    whole = mixture(None, own, weights, named)
    order = np.argsort(-own, axis=1)
    items, scores = elect(
        torch.from_numpy(order),
        torch.from_numpy(np.take_along_axis(own, order, 1)),
        weights,
        torch.from_numpy(named),
    )
    np.testing.assert_array_equal(items, np.argsort(-whole, axis=1))
    np.testing.assert_allclose(scores, -np.sort(-whole, axis=1), atol=1e-9)


def test_a_narrow_search_is_joined_by_what_steps_name():
    weights = torch.tensor([[0.5, 0.3, 0.1, 0.1]]).log()
    items, scores = elect(
        torch.tensor([[2, -1]]),
        torch.tensor([[0.4, 0.0]]).log(),
        weights,
        torch.tensor([[7, 7, -1]]),
    )
    assert items.tolist() == [[7, 2]]
    torch.testing.assert_close(scores.exp(), torch.tensor([[0.4, 0.2]]))


def test_a_shipped_step_table_names_the_same_items():
    steps = make_steps()
    reader, last = StepReader(steps), 6
    rows = (np.arange(USERS) * 6 + last - 1)[:, None] * STEPS + np.arange(STEPS)
    counts = (steps.offsets[rows + 1] - steps.offsets[rows]).ravel()
    entries = [steps.indices[steps.offsets[bag] : steps.offsets[bag + 1]] for bag in rows.ravel()]
    shipped = QuantisedSteps(
        steps.vectors.astype(np.float16),
        None,
        np.concatenate(entries),
        np.concatenate([[0], np.cumsum(counts)]),
        STEPS,
        steps.named.copy(),
    )
    users = torch.arange(USERS)
    np.testing.assert_array_equal(
        shipped.named(users, users), reader.named(users, torch.full((USERS,), last))
    )


def test_votes_need_steps_that_are_apart_and_say_what_they_name():
    with pytest.raises(
        ConfigError,
        match=r"not fusion.module = 'meanpool' with fusion.grounded = True; set fusion.votes=false",
    ):
        build_fusion(FusionConfig("meanpool", grounded=True, votes=True), PATTERN, WIDTH, 16, 1)
    with pytest.raises(ConfigError, match="leaves the chain unread"):
        build_fusion(FusionConfig(placement="nowhere"), PATTERN, WIDTH, 16, 1)
    reader = StepReader(replace(make_steps(), named=None))
    with pytest.raises(ConfigError, match="ground them first"):
        make_tiger().recommend(prefixes(make_log()), 3, reader)
