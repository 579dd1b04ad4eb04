"""The multiplied-out fusion against the fusion itself, for every kind that a user's own chain can
be read by."""

from typing import Any

import numpy as np
import pytest
import torch

from scoter.config import FusionConfig
from scoter.models.quantised_steps import QuantisedSteps, quantise
from scoter.transfer.build import build_fusion
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.prepared import PreparedFusion
from scoter.types import ReasoningPattern, Step

PATTERN = ReasoningPattern(tuple(Step("recent_item", {"lag": lag}) for lag in (3, 2, 1)))
KINDS = [
    FusionConfig(),
    FusionConfig(encoder="causal"),
    FusionConfig(placement="every-layer"),
    FusionConfig(placement="last-layer"),
    FusionConfig(placement="nowhere", grounded=True, votes=True),
    FusionConfig(gate=False),
    FusionConfig(without=2),
    FusionConfig("meanpool"),
    FusionConfig("tagged-pool"),
    FusionConfig("concatenation"),
    FusionConfig("bag"),
]


@torch.no_grad()
def trained(config: FusionConfig) -> StructuredFusion:
    """A fusion with weights and statistics of its own, in evaluation mode."""
    torch.manual_seed(0)
    fusion = build_fusion(config, PATTERN, step_dim=6, dim=16, layers=2).eval()
    for parameter in fusion.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    fusion.set_statistics(torch.randn(20, 3, 6), torch.rand(20, 3) < 0.8)
    return fusion


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize(
    "present", [[True, True, True], [False, True, False], [False, False, False]]
)
def test_a_prepared_chain_is_read_as_the_fusion_reads_it(
    config: FusionConfig, present: list[bool]
) -> None:
    fusion = trained(config)
    with torch.inference_mode():
        steps, mask, hidden = torch.randn(1, 3, 6), torch.tensor([present]), torch.randn(1, 5, 16)
        chain, memory = PreparedFusion(fusion).chain(steps[0], mask[0]), fusion.encode(steps, mask)
        for layer in range(2):
            torch.testing.assert_close(
                chain(hidden, layer), fusion(hidden, memory, layer), atol=3e-5, rtol=1e-4
            )


@pytest.mark.parametrize("kind", ["fp16", "int8"])
@pytest.mark.parametrize(
    "config",
    [
        FusionConfig(votes=True, grounded=True),
        FusionConfig(without=2),
        FusionConfig(placement="last-layer"),
    ],
)
def test_a_tables_chains_are_made_ready_as_one_by_one(config: FusionConfig, kind: Any) -> None:
    """Steps of no sentence, of one and of several; users who say the same in other places."""
    rng = np.random.default_rng(0)
    counts = np.array([1, 0, 3, 2, 1, 1, 0, 0, 0, 1, 1, 1, 1, 2, 1])
    indices, offsets = (
        rng.integers(0, 4, counts.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]),
    )
    stored = quantise(rng.standard_normal((4, 6)).astype(np.float32), kind)
    table = QuantisedSteps(
        stored["vectors"], stored.get("scale"), indices, offsets, 3, np.array([5, -1, 7, 9])
    )
    fusion = trained(config)
    with torch.inference_mode():
        prepared = PreparedFusion(fusion)
        chains = prepared.of_table(table)
        for user in range(5):
            asked = torch.tensor([user]), torch.tensor([1])
            values, mask = table.read(*asked)
            ready, made = (
                chains(user, 1),
                prepared.chain(
                    values[0], mask[0], table.named(*asked)[0] if config.votes else None
                ),
            )
            np.testing.assert_allclose(ready.slots, made.slots, atol=1e-5)
            hidden, found = (
                torch.randn(1, 1, 16),
                (torch.tensor([7, 1, 5]), torch.tensor([-1.0, -2.0, -3.0])),
            )
            for layer in range(2):
                torch.testing.assert_close(
                    ready(hidden, layer), made(hidden, layer), atol=1e-5, rtol=1e-5
                )
            items, scores = ready.elect(*found, hidden[0, 0], len(found[0]))
            wanted, totals = made.elect(*found, hidden[0, 0], len(found[0]))
            assert items.tolist() == wanted.tolist()
            torch.testing.assert_close(scores, totals, atol=1e-5, rtol=1e-5)
