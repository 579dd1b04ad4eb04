"""The fast forms of encoding and reading beside their definitions, in values and in gradients."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scoter.config import FusionConfig
from scoter.models.layers import Dropout
from scoter.models.step_reader import StepReader, distinct_bags
from scoter.transfer.build import build_fusion
from scoter.transfer.collapse import BagFusion, MeanPoolFusion, TaggedPoolFusion
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.votes import Votes
from scoter.types import ReasoningPattern, Step, StepEmbeddings

ROWS, STEPS, WIDTH, DIM, HEADS = 30, 4, 6, 8, 2


def trained_fusion(
    kind: type[StructuredFusion] = StructuredFusion, **options: Any
) -> StructuredFusion:
    """A fusion whose statistics and biases are not those it starts with."""
    torch.manual_seed(0)
    fusion = kind(STEPS, WIDTH, DIM, layers=1, heads=HEADS, **options).eval()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    steps = torch.randn(STEPS, WIDTH) + torch.randn(ROWS, STEPS, WIDTH)
    fusion.set_statistics(steps, torch.rand(ROWS, STEPS) < 0.8)
    return fusion


def some_chains() -> StepEmbeddings:
    """Chains of few sentences, so that they repeat each other; steps of none, one and several
    sentences."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, ROWS * STEPS)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, 5, offsets[-1])
    pattern = ReasoningPattern(
        tuple(Step("recent_item", {"lag": lag}) for lag in range(1, STEPS + 1))
    )
    return StepEmbeddings(
        rng.standard_normal((5, WIDTH)).astype(np.float32),
        indices,
        offsets,
        np.arange(0, ROWS + 1, 3),
        pattern,
        "e",
    )


def gradients(value: Tensor, of: nn.Module, *inputs: Tensor) -> list[Tensor]:
    wanted = [parameter for parameter in of.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(value, [*wanted, *inputs], retain_graph=True, allow_unused=True)
    return [torch.zeros(()) if gradient is None else gradient for gradient in found]


@pytest.mark.parametrize(
    "options", [{}, {"keep": [True, False, True, True]}, {"roles": [0, 0, 1, 1]}]
)
def test_encoding_is_the_projection_of_standardised_steps(options: dict[str, object]) -> None:
    fusion, steps, mask = (
        trained_fusion(**options),
        torch.randn(ROWS, STEPS, WIDTH),
        torch.rand(ROWS, STEPS) < 0.7,
    )
    memory = fusion.encode(steps, mask)
    slots = fusion.project(fusion.standardise(steps, mask)) + fusion.position
    if fusion.order is not None:
        slots = fusion.order(slots, mask)
    wanted = fusion._memory(slots, mask & fusion.keep)
    torch.testing.assert_close(memory.slots, wanted.slots)
    torch.testing.assert_close(memory.bias, wanted.bias)
    weights = torch.randn_like(memory.slots)
    for one, other in zip(
        gradients((memory.slots * weights).sum(), fusion),
        gradients((wanted.slots * weights).sum(), fusion),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [StructuredFusion, MeanPoolFusion])
def test_chains_read_with_repetitions_shared_are_the_same_chains(
    kind: type[StructuredFusion],
) -> None:
    keep = [True, False, True, True]
    fusion, reader = trained_fusion(kind, keep=keep), StepReader(some_chains())
    users, lengths = (
        torch.arange(ROWS // 3).repeat_interleave(5),
        torch.arange(5).repeat(ROWS // 3),
    )  # 0 and 4 do not exist
    steps, mask = reader.read(users, lengths)
    said, place, same_mask = reader.read_shared(users, lengths)
    assert torch.equal(mask, same_mask)
    assert not mask[(lengths == 0) | (lengths == 4)].any()
    assert len(said) < int(mask.sum())
    torch.testing.assert_close(said[place][mask], steps[mask])
    one, other = fusion.encode(steps, mask), fusion.encode_shared(said, place, mask)
    there = (one.bias == 0)[:, 0, 0]
    torch.testing.assert_close(one.slots[there], other.slots[there])
    assert torch.equal(one.bias, other.bias)
    weights = torch.randn_like(one.slots[there])
    ours, theirs = (gradients((m.slots[there] * weights).sum(), fusion) for m in (one, other))
    for gradient, same in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, same, rtol=1e-4, atol=1e-4)


def test_equal_bags_have_equal_numbers_and_no_others() -> None:
    table = some_chains()
    numbers, example = distinct_bags(table.indices, table.offsets)
    bags = [
        tuple(table.indices[low:high])
        for low, high in zip(table.offsets[:-1], table.offsets[1:], strict=True)
    ]
    assert len(set(bags)) == len(example) == len(set(numbers.tolist()))
    assert [bags[example[number]] for number in numbers] == bags
    assert [
        part.tolist() for part in distinct_bags(np.zeros(0, np.int64), np.zeros(1, np.int64))
    ] == [[], []]


def test_a_few_states_read_as_many_would() -> None:
    fusion, mask = trained_fusion(), torch.rand(ROWS, STEPS) < 0.5
    memory, hidden = (
        fusion.encode(torch.randn(ROWS, STEPS, WIDTH), mask),
        torch.randn(ROWS, STEPS + 1, DIM, requires_grad=True),
    )
    layer = fusion.layers[0]
    layer.record = []
    many, weights = layer(hidden, memory, 0), torch.randn(ROWS, 2, DIM)
    assert 0 in memory.keys_values
    memory.keys_values.clear()
    few = layer(hidden[:, :2], memory, 0)
    assert 0 not in memory.keys_values
    torch.testing.assert_close(few, many[:, :2])
    single = [layer(hidden[:, [place]], memory, 0) for place in range(2)]
    torch.testing.assert_close(torch.cat(single, 1), many[:, :2])
    (_, all_read), (_, read), *each = layer.record
    torch.testing.assert_close(read, torch.stack([attention for _, attention in each]).mean(0))
    torch.testing.assert_close(all_read.sum(1), torch.ones(ROWS))
    few_sides, many_sides = (
        gradients((side * weights).sum(), fusion, hidden) for side in (few, many[:, :2])
    )
    for one, other in zip(few_sides, many_sides, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_votes_are_products_of_queries_and_keys() -> None:
    torch.manual_seed(2)
    votes, states, slots = Votes(STEPS, DIM), torch.randn(ROWS, DIM), torch.randn(ROWS, STEPS, DIM)
    named = torch.randint(-1, 3, (ROWS, STEPS))
    scores = (
        torch.einsum("rd,rsd->rs", votes.query(states), votes.key(slots)) / DIM**0.5 + votes.step
    )
    scores = torch.cat(
        [votes.abstain.expand(ROWS, 1), scores.masked_fill(named < 0, -torch.inf)], 1
    )
    torch.testing.assert_close(votes(states, slots, named).exp(), scores.softmax(1))


def test_only_arms_without_an_encoding_of_their_own_share_steps() -> None:
    assert trained_fusion().shares_steps
    assert trained_fusion(MeanPoolFusion).shares_steps
    assert not trained_fusion(TaggedPoolFusion).shares_steps
    assert not BagFusion(STEPS, WIDTH, DIM, layers=1, heads=HEADS).shares_steps


class Backwards(StructuredFusion):
    """An encoding of one's own, as in docs/plug-ins.md."""

    def encode(self, steps: Tensor, mask: Tensor, named: Tensor | None = None) -> Any:
        named = None if named is None else named.flip(1)
        return super().encode(steps.flip(1), mask.flip(1), named)


def test_an_encoding_of_ones_own_is_told_what_steps_name_where_they_vote() -> None:
    reader = StepReader(replace(some_chains(), named=np.array([3, -1, 5, 7, 9])))
    users, lengths = torch.arange(ROWS // 3), torch.full((ROWS // 3,), 2)
    named = reader.named(users, lengths)
    assert (named >= 0).any()
    for votes, wanted in ((True, named.flip(1)), (False, None)):
        fusion = Backwards(STEPS, WIDTH, DIM, layers=1, heads=HEADS, votes=votes).eval()
        found = fusion.read(reader, users, lengths).named
        assert found is wanted if wanted is None else torch.equal(found, wanted)


@pytest.mark.parametrize("options", [{}, {"roles": [0, 0, 1, 1]}])
def test_a_chain_left_out_in_training_is_a_missing_chain_and_the_others_are_what_they_were(
    options: dict[str, object],
) -> None:
    fusion = trained_fusion(**options)
    for module in fusion.modules():
        if isinstance(module, Dropout):
            module.threshold = 0
    steps, mask = torch.randn(ROWS, STEPS, WIDTH), torch.rand(ROWS, STEPS) < 0.9
    whole = fusion.encode(steps, mask)
    fusion.train().chain_dropout = 0.3
    memory = fusion.encode(steps, mask, torch.ones(ROWS, STEPS, dtype=torch.long))
    left_out = (memory.bias[:, 0, 0, :-1] < 0).all(dim=1)
    assert 0 < int(left_out.sum()) < ROWS
    assert torch.equal(memory.bias[~left_out], whole.bias[~left_out])
    missing = fusion.encode(steps, torch.zeros_like(mask))
    assert torch.equal(memory.bias[left_out], missing.bias[left_out])
    hidden = torch.randn(ROWS, 1, DIM)
    read = fusion(hidden, memory, 0)
    torch.testing.assert_close(read[left_out], fusion(hidden, missing, 0)[left_out])
    torch.testing.assert_close(read[~left_out], fusion(hidden, whole, 0)[~left_out])
    assert all(
        torch.isfinite(gradient).all() for gradient in gradients(read.square().sum(), fusion)
    )


@pytest.mark.parametrize(
    "kind", ["structured", "meanpool", "bag", "shuffled", "noise", "concatenation", "tagged-pool"]
)
def test_every_fusion_leaves_out_the_configured_share_of_chains_and_none_when_asked(
    kind: Any,
) -> None:
    pattern = ReasoningPattern(
        tuple(Step("recent_item", {"lag": lag}) for lag in range(1, STEPS + 1))
    )
    rows = 4000
    fusion = build_fusion(
        FusionConfig(kind, heads=HEADS, chain_dropout=0.2), pattern, WIDTH, DIM, layers=1
    )
    steps, mask = torch.randn(rows, STEPS, WIDTH), torch.ones(rows, STEPS, dtype=torch.bool)

    def left_out() -> float:
        return float((fusion.encode(steps, mask).bias[:, 0, 0, :-1] < 0).all(dim=1).float().mean())

    torch.manual_seed(0)
    assert abs(left_out() - 0.2) < 4 * (0.2 * 0.8 / rows) ** 0.5
    fusion.eval()
    assert left_out() == 0
