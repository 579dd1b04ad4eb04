"""Standardised steps: identity by default, exact statistics, an order-blind pool, and training
prefixes only."""

import numpy as np
import pytest
import torch

from scoter.recommenders.network import training_steps
from scoter.transfer.collapse import MeanPoolFusion
from scoter.transfer.fusion import StructuredFusion
from scoter.types import InteractionLog, ReasoningPattern, Split, Step, StepEmbeddings, Targets

ROWS, STEPS, WIDTH = 40, 3, 5


def some_steps() -> tuple[torch.Tensor, torch.Tensor]:
    """Steps that are nearly equal within a position, some of them missing."""
    torch.manual_seed(0)
    mask = torch.rand(ROWS, STEPS) < 0.8
    steps = torch.randn(STEPS, WIDTH) + torch.tensor([0.1, 0.3, 0.2])[:, None] * torch.randn(
        ROWS, STEPS, WIDTH
    )
    return steps * mask[..., None], mask


def fusion_of(kind: type[StructuredFusion]) -> StructuredFusion:
    torch.manual_seed(1)
    return kind(STEPS, WIDTH, 8, 1, 2).eval()


def test_without_statistics_steps_enter_as_they_are() -> None:
    steps, mask = some_steps()
    unit = steps / steps.norm(dim=-1, keepdim=True).clamp(min=1e-12) * WIDTH**0.5
    torch.testing.assert_close(fusion_of(StructuredFusion).standardise(steps, mask), unit)
    pooled = torch.stack(
        [
            row[there].sum(0) / max(1, int(there.sum()))
            for row, there in zip(unit, mask, strict=True)
        ]
    )
    torch.testing.assert_close(fusion_of(MeanPoolFusion).standardise(steps, mask)[:, 0], pooled)


def test_each_position_has_mean_zero_and_size_one_over_the_steps_that_exist() -> None:
    steps, mask = some_steps()
    fusion = fusion_of(StructuredFusion)
    fusion.set_statistics(steps, mask)
    found = fusion.standardise(steps, mask)
    for place in range(STEPS):
        present = found[mask[:, place], place].numpy()
        np.testing.assert_allclose(present.mean(axis=0), 0, atol=1e-5)
        assert np.sqrt((present**2).mean()) == pytest.approx(1, abs=1e-5)


def test_the_pool_has_size_one_and_is_blind_to_who_says_what() -> None:
    steps, mask = some_steps()
    pool, structured = fusion_of(MeanPoolFusion), fusion_of(StructuredFusion)
    for fusion in (pool, structured):
        fusion.set_statistics(steps, mask)
    every = torch.ones_like(mask)
    full = torch.randn(ROWS, STEPS, WIDTH)
    torch.testing.assert_close(pool.standardise(full, every), pool.standardise(full.flip(1), every))
    assert (
        structured.standardise(full, every) - structured.standardise(full.flip(1), every).flip(1)
    ).abs().max() > 0.1
    some = mask.any(dim=1)
    assert float((pool.standardise(steps, mask)[some] ** 2).mean().sqrt()) == pytest.approx(
        1, abs=1e-5
    )


@pytest.mark.parametrize("kind", [StructuredFusion, MeanPoolFusion])
def test_a_missing_step_stays_missing_and_statistics_travel_with_the_weights(
    kind: type[StructuredFusion],
) -> None:
    steps, mask = some_steps()
    fusion, twin = fusion_of(kind), kind(STEPS, WIDTH, 8, 1, 2).eval()
    fusion.set_statistics(steps, mask)
    twin.load_state_dict(fusion.state_dict())
    hidden = torch.randn(ROWS, 2, 8)
    other = torch.where(mask[..., None], steps, torch.randn(ROWS, STEPS, WIDTH))
    first = fusion(hidden, fusion.encode(steps, mask), 0)
    torch.testing.assert_close(first, fusion(hidden, fusion.encode(other, mask), 0))
    torch.testing.assert_close(first, twin(hidden, twin.encode(steps, mask), 0))


def test_a_step_that_always_says_the_same_has_scale_one() -> None:
    fusion = fusion_of(StructuredFusion)
    fusion.set_statistics(torch.ones(ROWS, STEPS, WIDTH), torch.ones(ROWS, STEPS, dtype=torch.bool))
    assert fusion.scale.tolist() == [1.0] * STEPS


def test_statistics_see_training_prefixes_only() -> None:
    """Users with 4, 1 and 3 training items: chains 1..3 of the first and 1..2 of the third precede
    a training item."""
    everyone = np.arange(3)
    log = InteractionLog(np.arange(8), np.array([0, 4, 5, 8]), ("a", "b", "c"))
    split = Split(log, Targets(everyone, everyone), Targets(everyone, everyone))
    starts = np.concatenate(
        [[0], np.cumsum(log.lengths + 1)]
    )  # up to the chain before the test target
    chains = int(starts[-1])
    vectors = np.repeat(np.arange(1.0, chains + 1, dtype=np.float32)[:, None], WIDTH, axis=1)
    pattern = ReasoningPattern((Step("recent_item", {"lag": 1}),))
    steps = StepEmbeddings(
        vectors, np.arange(chains), np.arange(chains + 1), starts, pattern, "test"
    )
    values, mask = training_steps(split, steps)
    assert values[:, 0, 0].tolist() == [1, 2, 3, starts[2] + 1, starts[2] + 2]
    assert mask.all()
    assert len(training_steps(split, steps, most=2)[0]) == 2
