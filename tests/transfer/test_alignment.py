"""InfoNCE against a loop, its gradients, and what reaches it from a batch."""

import math

import numpy as np
import pytest
import torch

from scoter.config import FusionConfig, Gru4RecConfig, SasrecConfig, TigerConfig, from_json
from scoter.errors import ConfigError
from scoter.models.backbones.gru4rec import GRU4Rec
from scoter.models.backbones.sasrec import SASRec
from scoter.models.backbones.tiger import Tiger
from scoter.models.step_reader import StepReader
from scoter.models.training.batches import ItemBatch, cut_windows, training_batches
from scoter.recommenders.fitting import total_loss
from scoter.transfer.alignment import Alignment, info_nce
from scoter.transfer.build import build_fusion
from scoter.types import InteractionLog, ReasoningPattern, SemanticIds, Step, StepEmbeddings

ROWS, DIM, STEPS, WIDTH, ITEMS, USERS = 12, 8, 2, 5, 8, 4
PATTERN = ReasoningPattern((Step("recent_item"), Step("recommendation")))


def slow_info_nce(queries, vectors, items, histories, temperature) -> float:
    losses = []
    for row in range(len(items)):
        scores = []
        for other in range(len(items)):
            if other != row and (items[other] == items[row] or items[other] in histories[row]):
                continue
            cosine = float(
                queries[row] @ vectors[other] / queries[row].norm() / vectors[other].norm()
            )
            scores.append((math.exp(cosine / temperature), other == row))
        own = next(score for score, same in scores if same)
        losses.append(-math.log(own / sum(score for score, _ in scores)))
    return sum(losses) / len(losses)


def sample(
    dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    items = torch.randint(0, ITEMS, (ROWS,))
    histories = torch.randint(-1, ITEMS, (ROWS, 3))
    histories[0, 1] = items[0]  # bought again: the target itself is never masked
    return (
        torch.randn(ROWS, DIM, dtype=dtype),
        torch.randn(ROWS, DIM, dtype=dtype),
        items,
        histories,
    )


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_info_nce_against_a_loop(temperature: float) -> None:
    queries, vectors, items, histories = sample()
    assert len(items.unique()) < ROWS
    found = float(info_nce(queries, vectors, items, histories, temperature))
    assert found == pytest.approx(
        slow_info_nce(queries, vectors, items.tolist(), histories.tolist(), temperature), abs=1e-5
    )


def test_gradients_against_differences() -> None:
    queries, vectors, items, histories = sample(torch.float64)
    queries.requires_grad_()
    vectors.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q, v: info_nce(q, v, items, histories, 0.3), (queries, vectors)
    )


def test_a_masked_negative_has_no_say() -> None:
    queries, vectors, _, _ = sample()
    items, histories = torch.arange(ROWS), torch.full((ROWS, 1), -1)
    histories[0, 0] = 5
    vectors.requires_grad_()
    cosines = (
        torch.nn.functional.normalize(queries[:1], dim=-1)
        @ torch.nn.functional.normalize(vectors, dim=-1).T
    )
    kept = [item for item in range(ROWS) if item != 5]
    alone = torch.nn.functional.cross_entropy(cosines[:, kept] / 0.2, torch.tensor([0]))
    rest = (
        torch.nn.functional.normalize(queries[1:], dim=-1)
        @ torch.nn.functional.normalize(vectors, dim=-1).T
    )
    others = torch.nn.functional.cross_entropy(rest / 0.2, torch.arange(1, ROWS), reduction="sum")
    torch.testing.assert_close(
        info_nce(queries, vectors, items, histories, 0.2), (alone + others) / ROWS
    )


@pytest.mark.parametrize("kind", ["structured", "meanpool"])
def test_both_arms_train_the_fusion_and_leave_the_items_alone(kind: str) -> None:
    torch.manual_seed(0)
    fusion = build_fusion(FusionConfig(kind, heads=2), PATTERN, WIDTH, DIM, 1).eval()  # type: ignore[arg-type]
    align = Alignment(DIM, 0.5, 0.1)
    steps, mask = torch.randn(ROWS, STEPS, WIDTH), torch.ones(ROWS, STEPS, dtype=torch.bool)
    mask[3] = False
    mask[4, 0] = False
    _, vectors, items, histories = sample()
    vectors.requires_grad_()
    loss = align(fusion, steps, mask, vectors, items, histories)
    loss.backward()
    assert vectors.grad is None
    assert fusion.project.weight.grad is not None
    assert float(fusion.project.weight.grad.abs().max()) > 0
    slots = fusion.encode(steps, mask).slots
    rows = [row for row in range(ROWS) if row != 3]
    means = [
        slots[row, :-1].mean(0) if kind == "meanpool" else slots[row, :-1][mask[row]].mean(0)
        for row in rows
    ]
    expected = slow_info_nce(
        align.map(torch.stack(means)).detach(),
        vectors.detach()[rows],
        items[rows].tolist(),
        histories[rows].tolist(),
        0.1,
    )
    assert float(loss.detach()) == pytest.approx(0.5 * expected, abs=1e-5)
    assert float(align(fusion, steps, mask & False, vectors, items, histories).detach()) == 0


def test_weights_and_temperatures_out_of_range_are_named() -> None:
    for field, value in (("alignment", -1.0), ("temperature", 0.0)):
        with pytest.raises(ConfigError, match=f"{field} = {value} was refused"):
            from_json(f'{{"{field}": {value}}}', FusionConfig)


LOG = InteractionLog(
    np.random.default_rng(1).integers(0, ITEMS, USERS * 5), np.arange(USERS + 1) * 5, tuple("abcd")
)
CODES = np.array([(a, b) for a in range(4) for b in range(2)])


def models() -> list[torch.nn.Module]:
    tiger = TigerConfig(dim=DIM, heads=2, head_dim=4, layers=1, feed_forward=16, max_items=6)
    return [
        Tiger(tiger, SemanticIds(CODES, (4, 2))),
        SASRec(SasrecConfig(dim=DIM, heads=2, layers=1, max_items=6), ITEMS),
        GRU4Rec(Gru4RecConfig(dim=DIM, max_items=6), ITEMS),
    ]


@pytest.mark.parametrize("number", range(3))
def test_what_a_batch_hands_to_info_nce(number: int) -> None:
    """Targets, their output vectors, and exactly the items before each of them."""
    torch.manual_seed(0)
    model = models()[number].eval()
    chains = USERS * 6
    vectors = np.random.default_rng(0).standard_normal((chains * STEPS, WIDTH)).astype(np.float32)
    every = np.arange(chains * STEPS + 1)
    reader = StepReader(
        StepEmbeddings(vectors, every[:-1], every, np.arange(USERS + 1) * 6, PATTERN, "test")
    )
    model.fusion = build_fusion(FusionConfig(heads=2), PATTERN, WIDTH, DIM, 1).eval()
    (batch,) = training_batches(LOG, cut_windows(LOG, 6), 1000, 0)
    assert isinstance(batch, ItemBatch)
    plain = float(total_loss(model, batch, reader, 0.0).detach())
    assert plain == float(model.loss(batch, reader, 0.0).detach())  # type: ignore[operator]
    model.alignment = Alignment(DIM, 0.5, 0.2)
    queries, targets, items, histories = [], [], [], []
    for row, user in enumerate(batch.users.tolist()):
        for place in range(1, 5):
            steps, mask = reader.read(torch.tensor([user]), torch.tensor([place]))
            queries.append(
                model.alignment.map(model.fusion.encode(steps, mask).slots[0, :-1].mean(0)).detach()
            )
            item = int(batch.items[row, place])
            first = (
                model.embedding.weight[[1 + CODES[item, 0], 5 + CODES[item, 1]]].mean(0)
                if number == 0
                else None
            )
            targets.append((first if first is not None else model.items.weight[item]).detach())
            items.append(item)
            histories.append(LOG.sequence(user)[:place].tolist())
    expected = slow_info_nce(torch.stack(queries), torch.stack(targets), items, histories, 0.2)
    assert float(total_loss(model, batch, reader, 0.0).detach()) - plain == pytest.approx(
        0.5 * expected, abs=1e-4
    )
