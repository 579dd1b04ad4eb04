"""The shares b and c of the votes: what they do, and that the best pair is found."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scoter.config import SasrecConfig
from scoter.models.backbones.backbone import ItemSpace
from scoter.models.backbones.sasrec import SASRec
from scoter.models.decoding.votes import add_votes_everywhere, elect
from scoter.models.step_reader import ChainMemory
from scoter.recommenders import shares
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.prepared import PreparedFusion
from scoter.transfer.votes import Votes, shared
from scoter.types import InteractionLog, Split, Targets

ITEMS, STEPS, USERS = 9, 4, 60
NOBODY = Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log weights, named items (-1: none) and their chances."""
    rng = np.random.default_rng(seed)
    named = np.where(rng.random((USERS, STEPS)) < 0.7, rng.integers(0, ITEMS, (USERS, STEPS)), -1)
    scores = np.where(np.c_[np.zeros(USERS), named] < 0, -1e9, rng.normal(size=(USERS, 1 + STEPS)))
    weights = torch.log_softmax(torch.tensor(scores), 1)
    chances = np.where(named >= 0, rng.random((USERS, STEPS)), 0)
    return weights, torch.from_numpy(named), torch.tensor(chances)


@pytest.mark.parametrize("seed", range(10))
def test_shared_weights_are_the_formulas(seed: int) -> None:
    weights, _, chances = drawn(seed)
    own, unlearned = np.random.default_rng(seed).random(2)
    found = shared(weights, chances, torch.tensor([own, unlearned])).exp().numpy()
    for row in range(USERS):
        part, sigma = weights[row].exp().numpy(), chances[row].numpy()
        wanted = (1 - unlearned) * np.r_[own * part[0], part[1:]] + np.r_[0, unlearned * sigma]
        np.testing.assert_allclose(found[row], wanted / wanted.sum(), atol=1e-6)


def test_a_step_that_says_how_sure_it_is_is_believed() -> None:
    votes = Votes(3, 8)
    votes.rates.copy_(torch.tensor([0.5, 0.4, 0.3]))
    named, certainty = torch.tensor([[4, 4, -1], [7, -1, 2]]), torch.tensor([[0.1, 0, 0.2]] * 2)
    assert votes.chances(named, certainty).tolist() == pytest.approx(
        np.array([[0.1, 0.4, 0], [0.1, 0, 0.2]])
    )
    assert votes.chances(named, None).tolist() == pytest.approx(
        np.array([[0.5, 0.4, 0], [0.5, 0, 0.3]])
    )


def test_until_they_are_chosen_nothing_is_changed() -> None:
    weights, _, chances = drawn(0)
    assert shared(weights, chances, torch.tensor([1.0, 0.0])) is weights


def test_training_does_not_know_of_them() -> None:
    votes, named = Votes(STEPS, 8), torch.zeros(3, STEPS, dtype=torch.long)
    states, slots = torch.randn(3, 8), torch.randn(3, STEPS, 8)
    before = votes(states, slots, named)
    votes.shares.copy_(torch.tensor([0.5, 0.3]))
    torch.testing.assert_close(votes(states, slots, named), before)
    assert not torch.allclose(votes.eval()(states, slots, named), before)


class Voting(SASRec):
    """Lists the whole catalogue; the votes are given."""

    def listed(self, asked, k, steps):
        rows = torch.from_numpy(asked.rows)
        own, weights, named = (part[rows] for part in self.given)
        order = own.argsort(dim=1, descending=True)
        return order, own.gather(1, order), (weights, named)


def test_the_best_pair_on_validation_is_found() -> None:
    weights, named, chances = drawn(3)
    rng = np.random.default_rng(0)
    own = torch.tensor(np.log(rng.dirichlet(np.ones(ITEMS), USERS)))
    log = InteractionLog(np.zeros(USERS, np.int64), np.arange(USERS + 1), ("u",) * USERS)
    targets = rng.integers(ITEMS, size=USERS)
    split = Split(log, Targets(np.arange(USERS), targets), NOBODY)
    model = Voting(SasrecConfig(dim=8), ITEMS)
    model.given = (own, weights, named)
    model.attach(StructuredFusion(STEPS, 4, 8, 1, 2, votes=True))
    steps = SimpleNamespace(certainty=lambda users, lengths: chances[users].float())
    shares.fit_shares(model, split, steps, progress=False)
    chosen = shares.shares_of(model)

    def ndcg(pair: tuple[float, float]) -> float:
        total = add_votes_everywhere(own, shared(weights, chances, torch.tensor(pair)), named)
        order = np.argsort(-total.numpy(), axis=1, kind="stable")
        places = np.array([list(order[row]).index(targets[row]) + 1 for row in range(USERS)])
        return float(np.mean(1 / np.log2(1 + places)))

    reached = {pair: ndcg(pair) for pair in product(shares.OWN, shares.UNLEARNED)}
    assert reached[chosen] == pytest.approx(max(reached.values()), abs=1e-6)
    shares.set_shares(model, (0.5, 0.3))
    assert shares.shares_of(model) == (0.5, 0.3)


def test_one_request_is_answered_with_the_same_shares_as_many() -> None:
    torch.manual_seed(0)
    fusion = StructuredFusion(STEPS, 6, 16, 1, 2, votes=True).eval()
    fusion.votes.rates.copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    fusion.votes.shares.copy_(torch.tensor([0.4, 0.2]))
    steps, mask = torch.randn(5, STEPS, 6), torch.rand(5, STEPS) < 0.8
    named = torch.where(torch.rand(5, STEPS) < 0.8, torch.randint(ITEMS, (5, STEPS)), -1)
    certainty = torch.where(torch.rand(5, STEPS) < 0.5, torch.rand(5, STEPS), 0.0)
    states = torch.randn(5, 16)
    found, scores = torch.tensor([[7, 1, 5]] * 5), torch.tensor([[-1.0, -2.0, -3.0]] * 5)
    with torch.no_grad():
        memory = fusion.encode(steps, mask, named)
        memory.certainty = certainty
        together = elect(found, scores, fusion.vote(states, memory), memory.named)
        prepared = PreparedFusion(fusion)
        for row in range(5):
            chain = prepared.chain(steps[row], mask[row], named[row], certainty[row])
            items, logs = chain.elect(found[row], scores[row], states[row], 3)
            assert items.tolist() == together[0][row].tolist()
            torch.testing.assert_close(logs, together[1][row], atol=1e-5, rtol=1e-5)


def test_detached_votes_leave_the_recommenders_own_training_alone() -> None:
    model = SASRec.build(SasrecConfig(dim=8), ItemSpace(ITEMS))
    model.attach(StructuredFusion(STEPS, 4, 8, 1, 2, votes=True))
    model.fusion.detached = True
    log_p = torch.log_softmax(torch.randn(6), 0).requires_grad_()
    states = torch.randn(6, 8, requires_grad=True)
    named = torch.randint(ITEMS, (6, STEPS))
    memory = ChainMemory(torch.randn(6, STEPS + 1, 8), torch.zeros(6, 1, 1, STEPS + 1), {}, named)
    items = torch.randint(ITEMS, (6,))
    model.voted(log_p, states, memory, items).sum().backward()
    assert log_p.grad.tolist() == [1.0] * 6
    assert states.grad is None
    assert model.fusion.votes.query.weight.grad.abs().sum() > 0
