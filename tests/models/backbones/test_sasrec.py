"""SASRec: its loss by hand, its causality, and its ranking against scoring every item."""

import numpy as np
import pytest
import torch

from scoter.config import SasrecConfig
from scoter.models.backbones.sasrec import SASRec
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.types import Histories, InteractionLog

ITEMS = 9
LOG = InteractionLog(
    np.random.default_rng(0).integers(0, ITEMS, 20), np.arange(5) * 5, tuple("abcd")
)


def make(loss: str = "ce") -> SASRec:
    torch.manual_seed(0)
    return SASRec(SasrecConfig(loss=loss, dim=8, layers=2, heads=2, max_items=5), ITEMS).eval()  # type: ignore[arg-type]


def one_batch() -> ItemBatch:
    (batch,) = training_batches(LOG, cut_windows(LOG, 5), 1000, 0)
    return batch


def test_cross_entropy_is_the_mean_log_loss_of_the_ranking_scores() -> None:
    model, batch = make(), one_batch()
    losses = []
    for row in range(4):
        for target in range(1, 5):
            history = Histories(
                np.array([0]), batch.items[row, :target].numpy(), np.array([0, target])
            )
            rankings = model.recommend(history, ITEMS)
            losses.append(
                -rankings.scores[0][rankings.items[0] == int(batch.items[row, target])][0]
            )
    assert float(model.loss(batch).detach()) == pytest.approx(np.mean(losses), abs=1e-5)


def test_binary_loss_is_two_softplus_terms() -> None:
    model, batch = make("bce"), one_batch()
    torch.manual_seed(5)
    loss = float(model.loss(batch).detach())
    torch.manual_seed(5)
    hidden = model.states(batch.items[:, :-1])[batch.is_target]
    labels = batch.items[:, 1:][batch.is_target]
    negatives = torch.randint(ITEMS - 1, labels.shape)
    negatives += negatives >= labels
    assert (negatives != labels).all()
    logits = hidden @ model.items.weight[:-1].T
    rows = torch.arange(len(labels))
    expected = -torch.log(torch.sigmoid(logits[rows, labels])) - torch.log(
        torch.sigmoid(-logits[rows, negatives])
    )
    assert loss == pytest.approx(float(expected.mean().detach()), abs=1e-5)


def test_a_later_item_changes_no_earlier_prediction() -> None:
    model, batch = make(), one_batch()
    hidden = model.states(batch.items)
    changed = batch.items.clone()
    changed[:, 3] = (changed[:, 3] + 1) % ITEMS
    after = model.states(changed)
    torch.testing.assert_close(hidden[:, :3], after[:, :3])
    assert not torch.allclose(hidden[:, 3:], after[:, 3:])


def test_ranking_is_every_item_once_and_says_when_there_are_no_more() -> None:
    histories = Histories(np.arange(3), np.array([1, 2, 3, 4, 5]), np.array([0, 1, 3, 5]))
    rankings = make().recommend(histories, ITEMS + 2, batch_rows=2)
    assert all(sorted(row[:ITEMS]) == list(range(ITEMS)) for row in rankings.items.tolist())
    assert (rankings.items[:, ITEMS:] == -1).all()
    np.testing.assert_allclose(np.exp(rankings.scores[:, :ITEMS]).sum(1), 1, atol=1e-5)
