"""The speed benchmark: both sides do the same work, and its counts are those of independent
counters."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scale import growth
from benchmarks.speed import __main__ as command
from benchmarks.speed import limits, peers, suite, timing
from benchmarks.speed.decoding import OurDecoding, ReferenceDecoding, agreement, sample
from benchmarks.speed.report import table
from benchmarks.speed.training import (
    OurTraining,
    ReferenceTraining,
    build,
    in_proportion,
    loss_difference,
    users_of,
)
from benchmarks.speed.work import (
    Work,
    random_ids,
    reference_batch,
    simulated_log,
    sliding_windows,
    uniform_log,
    whole_histories,
)
from scoter.config import TigerConfig
from scoter.models.backbones.t5 import to_transformers
from scoter.models.training.batches import cut_windows, training_batches
from scoter.types import InteractionLog, Rankings

SMALL = TigerConfig(
    dim=16, layers=2, heads=3, head_dim=8, feed_forward=24, dropout=0.1, max_items=4, beams=10
)
ITEMS = 300


def small_work(lengths: list[int]) -> Work:
    log = uniform_log(np.array(lengths), ITEMS, np.random.default_rng(0))
    return Work(log, whole_histories(log), random_ids(ITEMS, 0), "small")


WORK = small_work([5, 3, 2, 4, 9, 1] * 12)
LEVELS = len(WORK.ids.codebook_sizes)
TOKENS = build(WORK.ids, SMALL).item_tokens
VOCABULARY = 1 + sum(WORK.ids.codebook_sizes)


SETTINGS = suite.Settings(quick=True, threads=1, repeats=1, pythons={})


def forward_flops(run) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def test_sliding_windows_cover_each_target_once_with_all_that_went_before() -> None:
    windows = sliding_windows(WORK.log, SMALL.max_items)
    expected = []
    for user in range(WORK.log.user_count):
        low, high = WORK.log.offsets[user], WORK.log.offsets[user + 1]
        expected += [
            (max(low, target - SMALL.max_items), target) for target in range(low + 1, high)
        ]
    assert list(zip(windows.begin, windows.target, strict=True)) == expected


def test_both_sides_train_on_the_same_number_of_targets() -> None:
    ours = sum(
        batch.target_count
        for batch in training_batches(WORK.log, cut_windows(WORK.log, SMALL.max_items), 64, 0)
    )
    assert ours == len(sliding_windows(WORK.log, SMALL.max_items).target)


@pytest.mark.parametrize("items", [1, 3])
def test_dense_flops_equal_what_a_counter_sees_of_a_t5(items: int) -> None:
    reference = to_transformers(build(WORK.ids, SMALL))
    reference.set_attn_implementation("eager")
    log = uniform_log(np.full(5, items + 1), ITEMS, np.random.default_rng(1))
    windows = sliding_windows(log, items)
    last = np.flatnonzero(windows.target - windows.begin == items)
    batch = reference_batch(log, windows, last, TOKENS)
    counted = forward_flops(lambda: reference(**batch)) / len(last)
    assert limits.sliding_flops(
        SMALL, VOCABULARY, LEVELS, items
    ) / limits.TRAINING_PASSES == pytest.approx(counted, rel=1e-9)


def test_a_backward_pass_costs_two_forward_passes() -> None:
    reference = to_transformers(build(WORK.ids, SMALL))
    reference.set_attn_implementation("eager")
    batch = reference_batch(WORK.log, sliding_windows(WORK.log, 4), np.arange(8), TOKENS)
    forward = forward_flops(lambda: reference(**batch))
    with FlopCounterMode(display=False) as counter:
        reference(**batch).loss.backward()
    assert counter.get_total_flops() == limits.TRAINING_PASSES * forward


def test_needed_flops_equal_a_count_by_hand_and_never_exceed_what_is_run() -> None:
    log = uniform_log(np.array([4, 4, 4]), ITEMS, np.random.default_rng(2))
    windows = cut_windows(log, SMALL.max_items)
    needed = limits.training_flops(SMALL, VOCABULARY, LEVELS, windows) / limits.TRAINING_PASSES
    encoder_pairs = sum(
        1 for q in range(3 * LEVELS) for k in range(3 * LEVELS) if k // LEVELS <= q // LEVELS
    )
    cross_pairs = sum(LEVELS * t * LEVELS for t in (1, 2, 3))
    self_pairs = 3 * sum(range(1, LEVELS + 1))
    encoder = limits.encoder_flops(SMALL, 3 * LEVELS, encoder_pairs)
    decoder = limits.decoder_flops(
        SMALL, VOCABULARY, 3 * LEVELS, 3 * LEVELS, cross_pairs + self_pairs
    )
    assert needed == pytest.approx((encoder + decoder) / 3, rel=1e-12)
    model = build(WORK.ids, SMALL).eval()
    (batch,) = training_batches(log, windows, 64, 0)
    assert needed * batch.target_count <= forward_flops(lambda: model.loss(batch))


def test_decoding_flops_of_one_beam_are_those_of_a_pass_over_one_target() -> None:
    lengths = np.array([40, 40])  # so long that plain cross-attention is the cheaper
    size = dataclasses.replace(SMALL, max_items=40)
    one = limits.decoding_flops(size, [VOCABULARY] * LEVELS, lengths, [1] * LEVELS)
    encoder = limits.encoder_flops(size, 40 * LEVELS, LEVELS**2 * 40 * 41 / 2)
    pairs = LEVELS * (LEVELS + 1) / 2 + LEVELS * 40 * LEVELS
    looked_up = 6 * size.dim * size.heads * size.head_dim * (40 * LEVELS + LEVELS)
    decoder = limits.decoder_flops(size, VOCABULARY, LEVELS, 40 * LEVELS, pairs)
    assert one == pytest.approx(encoder + decoder - looked_up)


@pytest.mark.parametrize("softmax", ["vocabulary", "trie"])
@pytest.mark.parametrize("beams", [4, 50])
def test_needed_decoding_flops_never_exceed_what_is_run(beams: int, softmax: str) -> None:
    model = build(WORK.ids, dataclasses.replace(SMALL, softmax=softmax))
    requests = sample(WORK.histories, 64, 0)
    run = forward_flops(lambda: OurDecoding(WORK, model, beams, 64).decode(requests))
    warm = forward_flops(lambda: OurDecoding(WORK, model, beams, 64))
    positions = OurDecoding(WORK, model, beams, 64).positions(requests)
    assert positions[0] == 1
    if softmax == "vocabulary":
        assert positions[-1] == max(beams, SMALL.beams)
    scored = WORK.ids.codebook_sizes if softmax == "trie" else [VOCABULARY] * LEVELS
    needed = limits.decoding_flops(SMALL, scored, requests.lengths, positions) * len(requests)
    assert 0.4 * (run - warm) < needed <= run - warm


def test_losses_of_equal_weights_are_equal_and_full_attention_is_another_function() -> None:
    gap = loss_difference(WORK, build(WORK.ids, SMALL))
    assert abs(gap["causal"]) < 1e-5
    assert abs(gap["single"]) < 1e-5
    assert abs(gap["full"]) > 1e-4


def test_beams_of_equal_weights_are_equal() -> None:
    model = build(WORK.ids, SMALL)
    requests = sample(WORK.histories, 6, 0)
    gap = agreement(
        OurDecoding(WORK, model, 10, 6).decode(requests),
        ReferenceDecoding(WORK, model, 10, 6).decode(requests),
    )
    assert gap["explained"] == 1
    assert gap["score_difference"] < 1e-4


def test_agreement_forgives_ties_and_nothing_else() -> None:
    def found(items: list[int], scores: list[float]) -> Rankings:
        return Rankings(np.arange(1), np.array([items]), np.array([scores]))

    ours = found([1, 2, 3], [-1.0, -2.0, -3.0])
    swapped = agreement(
        found([2, 1, 3], [-1.0, -1.00005, -3.0]), found([1, 2, 3], [-1.0, -1.00005, -3.0])
    )
    assert (swapped["same_items"], swapped["explained"]) == (0, 1)
    assert agreement(ours, found([1, 2, 4], [-1.0, -2.0, -3.00005]))["explained"] == 1
    assert agreement(ours, found([1, 4, 3], [-1.0, -2.0, -3.0]))["explained"] == 0
    assert agreement(ours, found([1, 2, 3], [-1.0, -2.1, -3.0]))["explained"] == 0


def test_chosen_batches_hold_short_and_long_windows_in_proportion() -> None:
    batches = training_batches(WORK.log, cut_windows(WORK.log, SMALL.max_items), 12, 0)
    everywhere = [in_proportion(batches, 4, phase) for phase in range(40)]
    mean = np.mean([batch.items.shape[-1] for chosen in everywhere for batch in chosen])
    assert mean == pytest.approx(np.mean([batch.items.shape[-1] for batch in batches]), abs=0.25)
    assert len(in_proportion(batches, 10**6, 0)) == len(batches)


def test_similar_batches_pad_less() -> None:
    model = build(WORK.ids, SMALL)
    plain, similar = (
        ReferenceTraining(WORK, model, "fp32", 4, 16, similar=similar) for similar in (False, True)
    )
    assert (plain(0).units, similar(0).units) == (64, 64)
    assert np.mean(similar.padded_to) < np.mean(plain.padded_to)


def test_ours_counts_the_timed_targets_alone() -> None:
    sample_of = OurTraining(WORK, build(WORK.ids, SMALL), "fp32", batches=10**6, budget=64)(0)
    assert sample_of.units == len(sliding_windows(WORK.log, SMALL.max_items).target)


def test_the_simulated_log_has_the_lengths_of_beauty() -> None:
    log = simulated_log(20_000, 0)
    # 131,413 training targets of 22,363 users.
    assert np.mean(log.lengths - 1) == pytest.approx(131_413 / 22_363, rel=0.03)
    assert log.lengths.min() == 3


def test_ratios_and_spreads_by_hand() -> None:
    ours = [timing.Sample(units, 1.0, 2.0) for units in (20, 60, 40)]
    theirs = [timing.Sample(units, 1.0, 2.0) for units in (10, 20, 40)]
    assert timing.ratio(ours, theirs) == {"value": 2.0, "min": 1.0, "max": 3.0}
    assert timing.summary(ours)["per_wall_second"] == 20.0
    assert timing.summary(ours)["per_cpu_second"] == 40.0


def test_a_tiny_run_has_every_number_and_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "open_work", lambda: WORK)
    monkeypatch.setattr(suite, "build", lambda ids: build(ids, SMALL))
    monkeypatch.setattr(suite, "SIZE", SMALL)
    monkeypatch.setattr(
        suite,
        "QUICK",
        suite.Amount(
            1, 32, 1, 8, our_users=6, their_users=2, their_calls=1, larger_batch=2, checked_users=2
        ),
    )
    monkeypatch.setattr(command.study, "in_a_process", lambda *_: {"peak_mib": 123.0})
    asked = ["--quick", "--json", "--repeats", "3"]
    printed = CliRunner().invoke(command.main, asked, catch_exceptions=False).stdout
    result = json.loads(printed)
    for key in (
        "train_ratio",
        "train_ratio_same_precision",
        "decode_ratio_20",
        "decode_ratio_50",
        "peak_mib",
    ):
        assert result[key] > 0
    rates = {
        (row["task"], row["side"]): row["per_cpu_second"]
        for row in result["rows"]
        if "skipped" not in row
    }
    assert result["decode_ratio_20"] == pytest.approx(
        rates["decoding, 20 beams", "ours"] / rates["decoding, 20 beams", "theirs"]
    )
    assert all(row["repeats"] == 3 for row in result["rows"] if "skipped" not in row)
    assert [row["task"] for row in result["rows"] if "skipped" in row] == ["cornac", "rectools"]
    assert "at least 25, aim 40" in table(result)


def test_unequal_functions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "loss_difference", lambda *_: {"causal": 0.01, "single": 0.0})
    with pytest.raises(
        suite.DifferentFunctionsError,
        match=r"mean losses of equal weights differ by 1\.00e-02 nats",
    ):
        suite._training(suite.Measured(SETTINGS, WORK, suite.QUICK, "fp32"))


def test_a_peer_that_cannot_run_says_why() -> None:
    rows = peers.peer_rows(WORK, {"cornac": sys.executable, "rectools": None}, 1)
    assert "No module named 'cornac'" in rows[0]["skipped"]
    assert "pass --rectools-python" in rows[1]["skipped"]


CORNAC = """
class SequentialDataset:
    @classmethod
    def from_usit(cls, events):
        made = cls()
        made.iid_map = {name: row for row, name in enumerate(dict.fromkeys(e[2] for e in events))}
        made.num_items = len(made.iid_map)
        return made
    def add_modalities(self, item_feature): pass
class FeatureModality:
    def __init__(self, features): pass
class TIGER:
    def __init__(self, **sizes): self.sizes = sizes
    def fit(self, dataset): self._fit_seq2seq(dataset)
    def _fit_seq2seq(self, dataset): sum(range(1000))
    def score(self, user, history): assert self.n_beams in (20, 50) and max(history) < 300
"""
RECTOOLS = """
class Columns: User, Item, Datetime, Weight = "user_id", "item_id", "datetime", "weight"
class Dataset:
    @classmethod
    def construct(cls, frame):
        assert list(frame) == ["user_id", "item_id", "datetime", "weight"]
        assert frame.groupby("user_id").datetime.is_monotonic_increasing.all()
        return cls()
class SASRecModel:
    def __init__(self, epochs, session_max_len, **sizes): pass
    def fit(self, dataset): sum(range(1000))
    def recommend(self, users, dataset, k, filter_viewed): assert users == list(range(60))
"""


def test_peers_answer_as_libraries_of_their_interface_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"cornac": CORNAC, "rectools": RECTOOLS}.items():
        for module in ("__init__", "data", "models", "dataset"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{module}.py").write_text(text)
        about = tmp_path / f"{name}-3.dist-info" / "METADATA"
        about.parent.mkdir()
        about.write_text(f"Name: {name}\nVersion: 3.0")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(peers, "build", lambda ids: build(ids, SMALL))
    monkeypatch.setattr(peers, "SIZE", SMALL)
    work = small_work([5, 3, 2, 4, 9, 6] * 10)
    rows = peers.peer_rows(work, {"cornac": str(python), "rectools": str(python)}, 1)
    theirs = [row for row in rows if row["side"] == "theirs"]
    assert [row["task"] for row in theirs] == [
        *("training", "decoding, 20 beams", "decoding, 50 beams"),
        *("SASRec training", "SASRec full ranking"),
    ]
    assert [row["units"] for row in theirs[1:]] == [8, 8, 10 * 23, 60]
    assert 48 <= theirs[0]["units"] <= 10 * 23
    assert [row["against"][:11] for row in rows if row["side"] == "ours"] == [
        *3 * ["Cornac 3.0 "],
        *2 * ["RecTools 3."],
    ]


def test_users_of_a_log_keep_their_events() -> None:
    log = InteractionLog(np.arange(9), np.array([0, 4, 5, 9]), ("a", "b", "c"))
    some = users_of(log, np.array([2, 0]), first=3)
    assert (some.items.tolist(), some.offsets.tolist(), some.user_keys) == (
        [5, 6, 7, 0, 1, 2],
        [0, 3, 6],
        ("c", "a"),
    )


def test_growth_of_a_small_catalogue_has_rows_and_verdicts() -> None:
    rows = growth.catalogue_curve(repeats=1, catalogues=(200, 400), decoded=2)
    assert [row["items"] for row in rows] == [200, 400]
    assert all(row["cpu_seconds_per_user"] > 0 and row["trie_bytes_per_item"] > 0 for row in rows)
    assert len(growth.verdicts(rows)) == 2


def test_growth_beyond_the_logarithm_is_named() -> None:
    rows = [
        {
            "curve": "catalogue",
            "items": items,
            "trie_tensor_bytes_per_item": 50.0,
            "cpu_seconds_per_user": seconds,
        }
        for items, seconds in ((10_000, 1.0), (1_000_000, 1.6))
    ]
    assert [verdict["holds"] for verdict in growth.verdicts(rows)] == [
        True,
        False,
    ]  # 1.6 times, the logarithm grows 1.5 times
