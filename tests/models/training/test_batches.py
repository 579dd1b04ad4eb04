"""Windows cover every target once; batches and step look-ups agree with slow twins."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoter.models.step_reader import StepReader
from scoter.models.training.batches import cut_windows, history_batches, training_batches
from scoter.types import Histories, InteractionLog, ReasoningPattern, Step, StepEmbeddings


def random_log(rng: np.random.Generator, users: int, longest: int) -> InteractionLog:
    lengths = rng.integers(0, longest + 1, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return InteractionLog(rng.integers(0, 50, offsets[-1]), offsets, tuple(map(str, range(users))))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), max_items=st.integers(1, 9), budget=st.integers(1, 60))
def test_every_event_but_the_first_is_a_target_once(seed: int, max_items: int, budget: int) -> None:
    rng = np.random.default_rng(seed)
    log = random_log(rng, 8, 30)
    windows = cut_windows(log, max_items)
    assert (windows.end - windows.begin <= max_items + 1).all()
    seen = []
    for batch in training_batches(log, windows, budget, seed):
        assert batch.is_target.numel() <= max(budget, max_items)
        for row, column in batch.is_target.nonzero().tolist():
            user, prefix = int(batch.users[row]), int(batch.prefix_lengths[row, column])
            seen.append((user, prefix))
            assert int(batch.items[row, column + 1]) == log.sequence(user)[prefix]
            context = batch.items[row, : column + 1]
            np.testing.assert_array_equal(
                context, log.sequence(user)[prefix - len(context) : prefix]
            )
            assert len(context) >= min(prefix, (max_items + 1) // 2)
    expected = [(user, prefix) for user in range(8) for prefix in range(1, log.lengths[user])]
    assert sorted(seen) == expected


def test_batches_are_a_function_of_the_seed() -> None:
    log = random_log(np.random.default_rng(0), 30, 9)
    windows = cut_windows(log, 5)
    first, again, other = (training_batches(log, windows, 20, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.items, b.items) for a, b in zip(first, again, strict=True))
    assert any(
        a.items.shape != b.items.shape or not torch.equal(a.items, b.items)
        for a, b in zip(first, other, strict=False)
    )


def test_history_batches_keep_the_last_items() -> None:
    histories = Histories(np.array([5, 6, 7]), np.arange(7), np.array([0, 4, 4, 7]))
    found = {
        int(row): batch.items[i, : batch.lengths[i]].tolist()
        for batch in history_batches(histories, 3, 2)
        for i, row in enumerate(batch.rows)
    }
    assert found == {0: [1, 2, 3], 1: [], 2: [4, 5, 6]}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_step_reader_equals_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    users, step_count = 4, 3
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 4, users))])
    counts = rng.integers(0, 4, starts[-1] * step_count)
    steps = StepEmbeddings(
        rng.standard_normal((6, 5)).astype(np.float32),
        rng.integers(0, 6, counts.sum()),
        np.concatenate([[0], np.cumsum(counts)]),
        starts,
        ReasoningPattern(tuple(Step(f"role{k}") for k in range(step_count))),
        "test",
    )
    user, prefix = rng.integers(0, users, 12), rng.integers(0, 6, 12)
    if starts[-1] == 0:
        return
    values, mask = StepReader(steps).read(torch.from_numpy(user), torch.from_numpy(prefix))
    expected, expected_mask = steps.dense(steps.chain_rows(user, prefix))
    np.testing.assert_array_equal(mask, expected_mask)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_columns_of_pure_context_are_known_and_short_windows_have_none() -> None:
    log = InteractionLog(np.arange(60) % 7, np.array([0, 50, 60]), ("long", "short"))
    seen = 0
    for batch in training_batches(log, cut_windows(log, 8), 16, 0):
        assert batch.is_target[:, batch.first_target].any()
        assert not batch.is_target[:, : batch.first_target].any()
        seen += batch.first_target > 0
    assert seen > 0
