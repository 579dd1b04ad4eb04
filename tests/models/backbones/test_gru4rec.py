"""GRU4Rec: its states by the formulas, its loss by its rankings, its causality, and its chain."""

import numpy as np
import pytest
import torch

from scoter.config import Gru4RecConfig
from scoter.errors import ConfigError
from scoter.models.backbones.gru4rec import GRU4Rec
from scoter.models.step_reader import StepReader
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.transfer.fusion import StructuredFusion
from scoter.types import Histories, InteractionLog, ReasoningPattern, Step, StepEmbeddings

ITEMS, DIM = 9, 8
LOG = InteractionLog(
    np.random.default_rng(0).integers(0, ITEMS, 20), np.arange(5) * 5, tuple("abcd")
)


def make(fusion: StructuredFusion | None = None) -> GRU4Rec:
    torch.manual_seed(0)
    model = GRU4Rec(Gru4RecConfig(dim=DIM, max_items=5), ITEMS).eval()
    if fusion is not None:
        model.attach(fusion.eval())
    return model


def one_batch() -> ItemBatch:
    (batch,) = training_batches(LOG, cut_windows(LOG, 5), 1000, 0)
    return batch


def chains() -> StepReader:
    vectors = np.random.default_rng(0).standard_normal((48, 3)).astype(np.float32)
    every = np.arange(49)
    return StepReader(
        StepEmbeddings(
            vectors,
            every[:-1],
            every,
            np.arange(5) * 6,
            ReasoningPattern((Step("a"), Step("b"))),
            "test",
        )
    )


def test_states_follow_the_formulas_of_a_gated_recurrent_unit() -> None:
    """Cho et al. 2014, in the variant whose reset gate acts after the product (as cuDNN has it)."""
    model, items = make(), np.array([3, 1, 4])
    weights = {
        name: value.detach().double().numpy() for name, value in model.network.named_parameters()
    }
    state = np.zeros(DIM)
    for item in items:
        x = model.items.weight[int(item)].detach().double().numpy()
        given = weights["weight_ih_l0"] @ x + weights["bias_ih_l0"]
        kept = weights["weight_hh_l0"] @ state + weights["bias_hh_l0"]
        reset, update = (
            1 / (1 + np.exp(-(given[part] + kept[part])))
            for part in (slice(0, DIM), slice(DIM, 2 * DIM))
        )
        new = np.tanh(given[2 * DIM :] + reset * kept[2 * DIM :])
        state = (1 - update) * new + update * state
    found = model.states(torch.tensor(items)[None])[0, -1].detach().numpy()
    np.testing.assert_allclose(found, state, atol=1e-6)


@pytest.mark.parametrize("with_chain", [False, True])
def test_cross_entropy_is_the_mean_log_loss_of_the_ranking_scores(with_chain: bool) -> None:
    torch.manual_seed(1)
    model = make(StructuredFusion(2, 3, DIM, 1, 2).eval() if with_chain else None)
    batch, reader = one_batch(), chains() if with_chain else None
    losses = []
    for row in range(4):
        for target in range(1, 5):
            history = Histories(
                batch.users[row : row + 1].numpy(),
                batch.items[row, :target].numpy(),
                np.array([0, target]),
            )
            rankings = model.recommend(history, ITEMS, reader)
            losses.append(
                -rankings.scores[0][rankings.items[0] == int(batch.items[row, target])][0]
            )
    assert float(model.loss(batch, reader).detach()) == pytest.approx(np.mean(losses), abs=1e-5)


def test_padding_and_later_items_change_no_earlier_state() -> None:
    model, items = make(), torch.tensor([[1, 2, 3, -1], [1, 2, 5, 6]])
    hidden = model.states(items)
    torch.testing.assert_close(hidden[0, :2], hidden[1, :2])
    assert not torch.allclose(hidden[0, 2], hidden[1, 2])


def test_a_fusion_without_chains_is_named() -> None:
    with pytest.raises(ConfigError, match="steps is None, but this model has a fusion"):
        make(StructuredFusion(2, 3, DIM, 1, 2)).loss(one_batch())
