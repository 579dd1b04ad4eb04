"""The multiplied-out fusion against the fusion itself, for every kind that a user's own chain can be read by."""

import pytest
import torch

from scoter.config import FusionConfig
from scoter.transfer.build import build_fusion
from scoter.transfer.prepared import PreparedFusion
from scoter.types import ReasoningPattern, Step

PATTERN = ReasoningPattern(tuple(Step("recent_item", {"lag": lag}) for lag in (3, 2, 1)))
KINDS = [
    FusionConfig(),
    FusionConfig(encoder="causal"),
    FusionConfig(reads="every-layer"),
    FusionConfig(reads="last-layer"),
    FusionConfig(gate=False),
    FusionConfig(without=2),
    FusionConfig("meanpool"),
    FusionConfig("tagged-pool"),
    FusionConfig("concatenation"),
    FusionConfig("bag"),
]


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("present", [[True, True, True], [False, True, False], [False, False, False]])
def test_a_prepared_chain_is_read_as_the_fusion_reads_it(config: FusionConfig, present: list[bool]) -> None:
    torch.manual_seed(0)
    fusion = build_fusion(config, PATTERN, step_dim=6, dim=16, layers=2).eval()
    with torch.inference_mode():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        fusion.set_statistics(torch.randn(20, 3, 6), torch.rand(20, 3) < 0.8)
        steps, mask, hidden = torch.randn(1, 3, 6), torch.tensor([present]), torch.randn(1, 5, 16)
        chain, memory = PreparedFusion(fusion).chain(steps[0], mask[0]), fusion.encode(steps, mask)
        for layer in range(2):
            torch.testing.assert_close(chain(hidden, layer), fusion(hidden, memory, layer), atol=3e-5, rtol=1e-4)
