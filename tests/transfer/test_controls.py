"""The property that defines each control, and that it holds for no other arm where that is the
point."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from scoter.config import FusionConfig
from scoter.errors import ConfigError
from scoter.experiments import CONTROLS, methods
from scoter.plugins import FUSIONS
from scoter.transfer.build import build_fusion, slot_labels
from scoter.transfer.collapse import noise_like
from scoter.transfer.fusion import StructuredFusion
from scoter.transfer.mixing import mix_scores
from scoter.transfer.substitutes import item_texts_as_steps, statements_as_features
from scoter.types import Rankings, ReasoningPattern, Step, StepEmbeddings

ROWS, STEPS, WIDTH, DIM = 30, 3, 6, 8
PATTERN = ReasoningPattern(
    (Step("recent_item", {"lag": 2}), Step("recent_item", {"lag": 1}), Step("recommendation"))
)


CONTROLS_WITH_FUSION = {
    name: fusion for name in CONTROLS if (fusion := methods()[name].fusion) is not None
}


def make(config: FusionConfig) -> StructuredFusion:
    torch.manual_seed(1)
    fusion = build_fusion(FusionConfig(**{**vars(config), "heads": 2}), PATTERN, WIDTH, DIM, 1)
    fusion.set_statistics(*chains(7))
    return fusion.eval()


def chains(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, STEPS, WIDTH, generator=generator), torch.rand(
        ROWS, STEPS, generator=generator
    ) < 0.8


def read(fusion: StructuredFusion, steps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What one and the same state becomes with each chain; chance is the same at every call."""
    torch.manual_seed(3)
    return fusion.fuse(torch.ones(ROWS, DIM), steps, mask).detach()


@pytest.mark.parametrize("kind", [kind for kind in FUSIONS.built_in if kind != "noise"])
def test_only_what_keeps_order_sees_a_permutation_of_the_steps(kind: str) -> None:
    """A shuffled arm is read with the same draw twice, so that it sees the difference: only its
    average is blind."""
    fusion, (steps, mask) = make(FusionConfig(kind)), chains(0)  # type: ignore[arg-type]
    change = (read(fusion, steps, mask) - read(fusion, steps.flip(1), mask.flip(1))).abs().max()
    blind = {"bag", "meanpool"}
    if (
        kind == "meanpool"
    ):  # its centre is that of a position, which a missing step takes away with it
        change = (
            (read(fusion, steps, mask | True) - read(fusion, steps.flip(1), mask | True))
            .abs()
            .max()
        )
    assert (change < 1e-5) == (kind in blind), change


def test_the_tagged_pool_gives_back_its_sequence_and_the_mean_pool_does_not() -> None:
    """Brute force: all sequences over five sentences, a missing step among them, each a different
    pool."""
    words = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(2))
    sequences = list(itertools.product(range(5), repeat=STEPS))
    steps = torch.stack(
        [
            torch.stack([words[word] if word < 4 else torch.zeros(WIDTH) for word in one])
            for one in sequences
        ]
    )
    mask = torch.tensor([[word < 4 for word in one] for one in sequences])
    closest = {}
    for kind in ("tagged-pool", "meanpool"):
        pools = make(FusionConfig(kind)).standardise(steps, mask)[:, 0]  # type: ignore[arg-type]
        closest[kind] = float((torch.cdist(pools, pools) + 9 * torch.eye(len(pools))).min())
    assert closest["tagged-pool"] > 1e-2
    assert closest["meanpool"] < 1e-5


def test_the_concatenation_gives_back_every_step() -> None:
    fusion, (steps, mask) = make(FusionConfig("concatenation")), chains(0)
    wide = fusion.standardise(steps, mask).unflatten(-1, (STEPS, WIDTH))[:, 0] * fusion.scale
    found = wide * mask.sum(1).clamp(min=1)[:, None, None] + fusion.centre
    unit = steps / steps.norm(dim=-1, keepdim=True) * WIDTH**0.5
    torch.testing.assert_close(found[mask], unit[mask])


@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_a_step_that_is_left_out_changes_nothing_and_the_others_do(hidden: int) -> None:
    fusion, (steps, mask) = make(FusionConfig(without=hidden)), chains(0)
    before = read(fusion, steps, mask | True)
    for step in range(1, STEPS + 1):
        changed, gone = steps.clone(), mask | True
        changed[:, step - 1] += 1
        gone[:, step - 1] = False
        for after in (read(fusion, changed, mask | True), read(fusion, steps, gone)):
            assert torch.equal(before, after) == (step == hidden)


def test_last_step_only_reads_the_last_step_only() -> None:
    fusion, (steps, mask) = make(FusionConfig(last_only=True)), chains(0)
    other, _ = chains(1)
    mixed = torch.cat([other[:, :-1], steps[:, -1:]], dim=1)
    assert torch.equal(read(fusion, steps, mask), read(fusion, mixed, mask))
    assert not torch.allclose(read(fusion, steps, mask), read(fusion, other, mask))


def test_every_order_is_drawn_alike_and_afresh_for_each_row_and_call() -> None:
    torch.manual_seed(0)
    fusion = build_fusion(FusionConfig("shuffled", heads=2), PATTERN, WIDTH, DIM, 1).eval()
    fusion.norm = torch.nn.Identity()  # type: ignore[assignment]
    rows = 6000
    steps = torch.eye(WIDTH)[:STEPS].expand(rows, -1, -1)
    memory = fusion.encode(steps, torch.ones(rows, STEPS, dtype=torch.bool))
    said = fusion.project(fusion.standardise(steps, torch.ones(rows, STEPS, dtype=torch.bool)))[0]
    content = memory.slots[:, :-1] - fusion.position
    order = (content[:, :, None] - said).abs().sum(-1).argmin(-1)
    counts = np.unique(order.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)
    again = fusion.encode(steps, torch.ones(rows, STEPS, dtype=torch.bool)).slots
    assert not torch.equal(again, memory.slots)


def test_a_missing_step_stays_missing_when_steps_are_shuffled() -> None:
    fusion, (steps, mask) = make(FusionConfig("shuffled")), chains(0)
    junk = torch.where(mask[..., None], steps, torch.full_like(steps, 5.0))
    torch.testing.assert_close(read(fusion, steps, mask), read(fusion, junk, mask))
    bias = fusion.encode(steps, mask).bias[:, 0, 0, :-1]
    assert torch.equal((bias == 0).sum(1), mask.sum(1))


def test_noise_has_the_norms_of_the_chain_and_nothing_else_of_it() -> None:
    steps, mask = chains(0)
    other, _ = chains(1)
    torch.testing.assert_close(noise_like(steps).norm(dim=-1), steps.norm(dim=-1))
    torch.manual_seed(0)
    many = steps[:1].expand(20_000, -1, -1)
    cosines = torch.nn.functional.cosine_similarity(noise_like(many), many, dim=-1)
    assert float(cosines.mean().abs()) < 5 * (WIDTH * cosines.numel()) ** -0.5
    fusion = make(FusionConfig("noise"))
    torch.testing.assert_close(read(fusion, steps, mask), read(fusion, other, mask))
    first = fusion.fuse(torch.ones(ROWS, DIM), steps, mask)
    assert not torch.allclose(first, fusion.fuse(torch.ones(ROWS, DIM), steps, mask))


def test_without_a_gate_all_that_is_read_comes_in() -> None:
    gated, free = make(FusionConfig()), make(FusionConfig(gate=False))
    with torch.no_grad():
        for layer in gated.layers:
            layer.gate.weight.zero_()
            layer.gate.bias.fill_(30.0)  # a sigmoid of 1
    free.load_state_dict(
        {name: value for name, value in gated.state_dict().items() if ".gate." not in name}
    )
    torch.testing.assert_close(read(gated, *chains(0)), read(free, *chains(0)))
    free.start_recording()
    read(free, *chains(0))
    assert free.take_readings()[0].tolist() == [1.0] * ROWS


def test_controls_have_equal_parameters_where_that_can_be() -> None:
    counts = {
        name: sum(part.numel() for part in make(config).parameters())
        for name, config in CONTROLS_WITH_FUSION.items()
        if fits(config)
    }
    whole = sum(part.numel() for part in make(FusionConfig()).parameters())
    pool = sum(part.numel() for part in make(FusionConfig("meanpool")).parameters())
    equal = [
        "last-step",
        "bag",
        "shuffled",
        "other-user",
        "noise",
        "infonce",
        "item-text",
        "features",
        "without-step-2",
    ]
    assert {counts[f"control-{name}"] for name in equal} == {whole}
    assert counts["control-tagged-pool"] == pool == whole - (STEPS - 1) * DIM
    assert counts["control-concatenation"] == pool + (STEPS - 1) * WIDTH * DIM
    assert counts["control-no-gate"] == whole - DIM * (2 * DIM + 1)
    assert counts["control-every-layer"] == whole  # in a recommender with one layer
    assert counts["control-causal-steps"] == whole + 2 * DIM + 2 * DIM + 4 * DIM * (DIM + 1)


@pytest.mark.parametrize(
    ("reads", "layers", "changed"),
    [
        ("every-layer", 3, [[0, 1], [0, 1], [0, 1]]),
        ("last-layer", 3, [[], [], [0, 1]]),
        ("start", 3, [[], [0], []]),
        ("start", 2, [[0], []]),
        ("start", 1, [[0, 1]]),
        ("nowhere", 2, [[], []]),
    ],
)
def test_where_a_decoder_reads(reads: Any, layers: int, changed: list[list[int]]) -> None:
    fusion, (steps, mask) = (
        build_fusion(
            FusionConfig(placement=reads, grounded=True, votes=True), PATTERN, WIDTH, DIM, layers
        ).eval(),
        chains(0),
    )
    hidden, memory = torch.randn(ROWS, 2, DIM), fusion.encode(steps, mask)
    assert len(fusion.layers) == {"every-layer": layers, "nowhere": 0}.get(reads, 1)
    for layer, wanted in enumerate(changed):
        moved = (fusion(hidden, memory, layer) - hidden).abs().amax(dim=(0, 2)) > 1e-4
        assert moved.nonzero().flatten().tolist() == wanted


def fits(config: FusionConfig) -> bool:
    return config.without <= STEPS


def test_the_causal_encoder_against_a_loop() -> None:
    fusion, (_, mask) = make(FusionConfig(encoder="causal")), chains(0)
    order = fusion.order
    assert order is not None
    assert order.roles.tolist() == [0, 0, 1]
    slots = torch.randn(ROWS, STEPS, DIM)
    found = order(slots, mask)
    x = slots + order.role[order.roles]
    query, key, value = order.query_key_value(order.norm(x)).chunk(3, dim=-1)
    for row, step in mask.nonzero().tolist():
        seen = [before for before in range(step + 1) if mask[row, before]]
        heads = []
        for part in (slice(0, DIM // 2), slice(DIM // 2, DIM)):
            scores = (
                torch.stack([query[row, step, part] @ key[row, before, part] for before in seen])
                * (DIM // 2) ** -0.5
            )
            weights = torch.softmax(scores, 0)
            heads.append(
                sum(
                    weight * value[row, before, part]
                    for weight, before in zip(weights, seen, strict=True)
                )
            )
        torch.testing.assert_close(found[row, step], x[row, step] + order.out(torch.cat(heads)))  # type: ignore[arg-type]
    later = slots.clone()
    later[:, 2] += 1
    assert torch.equal(order(later, mask)[:, :2], found[:, :2])


def test_fuse_is_encode_and_read_for_one_state_or_several() -> None:
    fusion, (steps, mask) = make(FusionConfig()), chains(0)
    hidden = torch.randn(ROWS, 2, DIM)
    several = fusion.fuse(hidden, steps, mask)
    torch.testing.assert_close(several, fusion(hidden, fusion.encode(steps, mask), 0))
    torch.testing.assert_close(fusion.fuse(hidden[:, 0], steps, mask), several[:, 0])


def table() -> StepEmbeddings:
    """Two users with two chains each of three steps; step 2 of the first chain is missing, step 3
    says two things."""
    counts = np.array([1, 0, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1])
    indices = np.random.default_rng(0).integers(0, 5, counts.sum())
    vectors = np.random.default_rng(1).standard_normal((5, 256)).astype(np.float32)
    return StepEmbeddings(
        vectors,
        indices,
        np.concatenate([[0], np.cumsum(counts)]),
        np.array([0, 2, 4]),
        PATTERN,
        "test",
    )


def test_item_texts_are_those_of_the_last_items_newest_last() -> None:
    recent = np.array([[4, -1, -1, -1], [5, 4, -1, -1], [1, -1, -1, -1], [3, 2, 1, 0]])
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2) + 1
    found = item_texts_as_steps(table(), recent, vectors)
    values, mask = found.dense(np.arange(4))
    wanted = [[-1, -1, 4], [-1, 4, 5], [-1, -1, 1], [1, 2, 3]]
    for chain, step in np.ndindex(4, 3):
        item = wanted[chain][step]
        assert mask[chain, step] == (item >= 0)
        assert values[chain, step].tolist() == (vectors[item].tolist() if item >= 0 else [0, 0])


def test_item_texts_stand_where_a_chain_by_item_speaks_of_that_item() -> None:
    steps = tuple(Step(role, {"lag": lag}) for lag in (1, 2) for role in ("use", "next"))
    told = StepEmbeddings(
        np.ones((1, 2)),
        np.zeros(8, int),
        np.arange(9),
        np.array([0, 2]),
        ReasoningPattern(steps),
        "",
    )
    recent = np.array([[4, -1], [5, 4]])
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2) + 1
    values, mask = item_texts_as_steps(told, recent, vectors).dense(np.arange(2))
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert values[1].tolist() == vectors[[5, 5, 4, 4]].tolist()


def test_features_keep_what_was_said_and_nothing_of_the_words() -> None:
    said = table()
    found = statements_as_features(said, seed=0)
    for name in ("indices", "offsets", "starts"):
        assert np.array_equal(getattr(found, name), getattr(said, name))
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert np.abs(found.vectors @ found.vectors.T - np.eye(5)).max() < 5 / 256**0.5
    other = StepEmbeddings(
        said.vectors[::-1] * 2, said.indices, said.offsets, said.starts, said.pattern, "test"
    )
    assert np.array_equal(statements_as_features(other, seed=0).vectors, found.vectors)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_mixed_scores_are_those_of_a_dense_mixture(weight: float) -> None:
    rng = np.random.default_rng(0)
    rows, items, k = 20, 12, 6
    listed = np.stack([rng.permutation(items)[:5] for _ in range(rows)])
    scores = np.sort(np.log(rng.dirichlet(np.ones(7), rows))[:, :5], axis=1)[:, ::-1].astype(
        np.float32
    )
    listed[0, 3:], scores[0, 3:] = -1, -np.inf
    counts = rng.integers(0, 3, (rows, items)) * (rng.random((rows, items)) < 0.4)
    counts[1] = 0
    found = mix_scores(
        Rankings(np.arange(rows), listed, scores), csr_array(counts.astype(np.float64)), weight, k
    )
    for row in range(rows):
        dense = np.zeros(items)
        share = weight if counts[row].sum() else 0.0
        for item, score in zip(listed[row], scores[row], strict=True):
            dense[item] += (1 - share) * np.exp(np.float64(score)) if item >= 0 else 0.0
        dense += share * counts[row] / max(1, counts[row].sum())
        wanted = [item for item in np.lexsort((np.arange(items), -dense)) if dense[item] > 0][:k]
        assert found.items[row].tolist() == wanted + [-1] * (k - len(wanted))
        np.testing.assert_allclose(
            np.exp(found.scores[row, : len(wanted)]), dense[wanted], rtol=1e-5
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FusionConfig(without=4), "fusion.without = 4, but the pattern has 3 steps"),
        (FusionConfig(last_only=True, without=3), "leave no step of 3"),
        (FusionConfig("bag", encoder="causal"), "module 'bag' has none"),
        (FusionConfig("bags"), r"'bags' is not a fusion .* Did you mean 'bag'\?"),
    ],
)
def test_what_cannot_be_built_is_named(config: FusionConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_fusion(config, PATTERN, WIDTH, DIM, 1)


@pytest.mark.parametrize(
    "name", [name for name, config in CONTROLS_WITH_FUSION.items() if fits(config)]
)
def test_reports_name_every_slot(name: str) -> None:
    assert (
        len(slot_labels(CONTROLS_WITH_FUSION[name], PATTERN))
        == make(CONTROLS_WITH_FUSION[name]).slot_count
    )
