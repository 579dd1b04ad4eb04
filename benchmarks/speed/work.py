"""The work of both sides: one log, random but valid semantic IDs, one T5, its sliding windows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from scoter.config import DataConfig, TigerConfig
from scoter.data.datasets import open_dataset
from scoter.data.sources import locate
from scoter.data.split import leave_one_out
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import add_collision_level
from scoter.types import Histories, InteractionLog, SemanticIds

# The size of the TIGER paper (Rajput et al. 2023).
SIZE = TigerConfig(
    dim=128, layers=4, heads=6, head_dim=64, feed_forward=1024, dropout=0.1, max_items=20, beams=10
)
CODEBOOKS = (256, 256, 256)
SECOND_CODES = 48
BEAUTY_ITEMS = 12_101
# Amazon Beauty (5-core), leave-one-out: users with 3, 4, 5, ... training interactions; the last
# entry is "58 or more".
BEAUTY_LENGTHS = (
    7162, 4221, 2680, 1811, 1366, 881, 695, 558, 439, 361, 262, 207, 213, 141, 118, 112, 117, 84,
    66, 73, 74, 61, 54, 44, 44,
    38, 30, 38, 20, 19, 21, 19, 23, 24, 22, 15, 17, 7, 10, 10, 15, 7, 11, 8, 4, 8, 9, 8, 9, 6, 8, 2,
    6, 4, 7, 94,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Work:
    """What both sides train on and rank after."""

    log: InteractionLog  # training
    histories: Histories  # to decode after
    ids: SemanticIds
    origin: str  # of the log, in words


@dataclass(frozen=True, eq=False)
class SlidingWindows:
    """One sample per target, as TIGER is usually trained: items `begin:target` predict `target`."""

    begin: Int[np.ndarray, " windows"]  # index into the log's items
    target: Int[np.ndarray, " windows"]


def open_work(seed: int = 0) -> Work:
    """Amazon Beauty where it is found here, else a log of the same lengths."""
    if locate("beauty") is not None:
        dataset = open_dataset(DataConfig("beauty"))
        split, ids = leave_one_out(dataset.log), random_ids(dataset.catalog.item_count, seed)
        origin = "Amazon Beauty, leave-one-out"
        return Work(split.train, split.histories("test"), ids, origin)
    log, ids = simulated_log(sum(BEAUTY_LENGTHS), seed), random_ids(BEAUTY_ITEMS, seed)
    return Work(log, whole_histories(log), ids, "simulated log with the lengths of Amazon Beauty")


def whole_histories(log: InteractionLog) -> Histories:
    """All interactions of every user."""
    return Histories(np.arange(log.user_count), log.items, log.offsets)


def simulated_log(users: int, seed: int, items: int = BEAUTY_ITEMS) -> InteractionLog:
    """Users with lengths drawn from those of Beauty's training log, and uniform items."""
    rng = np.random.default_rng(derive_seed(seed, "simulated log"))
    shares = np.asarray(BEAUTY_LENGTHS) / sum(BEAUTY_LENGTHS)
    return uniform_log(rng.choice(np.arange(3, 3 + len(shares)), users, p=shares), items, rng)


def uniform_log(
    lengths: Int[np.ndarray, " users"], items: int, rng: np.random.Generator
) -> InteractionLog:
    """Users of these lengths with uniform items."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    keys = tuple(str(user) for user in range(len(lengths)))
    return InteractionLog(rng.integers(0, items, offsets[-1]), offsets, keys)


def random_ids(items: int, seed: int) -> SemanticIds:
    """Random codes on three levels of 256, made unique by the collision level.

    One of `SECOND_CODES` codes follows a first code, so that a catalogue of Beauty's size has about
    as many items alone on their first two codes as with real semantic IDs, or fewer (7,700 such
    pairs of codes here, 9,100 there).
    """
    rng = np.random.default_rng(derive_seed(seed, "codes"))
    codes = rng.integers(0, CODEBOOKS[0], (items, len(CODEBOOKS)))
    codes[:, 1] = (7 * codes[:, 0] + codes[:, 1] % SECOND_CODES) % CODEBOOKS[1]
    return add_collision_level(codes, CODEBOOKS, seed)


def sliding_windows(log: InteractionLog, max_items: int) -> SlidingWindows:
    """Every item but a user's first is a target, with at most `max_items` items before it.

    >>> log = InteractionLog(np.arange(6), np.array([0, 4, 6]), ("a", "b"))
    >>> windows = sliding_windows(log, max_items=2)
    >>> list(zip(windows.begin.tolist(), windows.target.tolist()))
    [(0, 1), (0, 2), (1, 3), (4, 5)]
    """
    first = np.repeat(log.offsets[:-1], log.lengths)
    target = np.flatnonzero(np.arange(len(log.items)) > first)
    return SlidingWindows(np.maximum(first[target], target - max_items), target)


def reference_batch(
    log: InteractionLog,
    windows: SlidingWindows,
    chosen: Int[np.ndarray, " rows"],
    tokens: Int[Tensor, "items_and_padding levels"],
) -> dict[str, Int[Tensor, "rows tokens"]]:
    """What a T5 is given: padded tokens of the history, their mask, and those of the target."""
    begin, target = windows.begin[chosen], windows.target[chosen]
    places = begin[:, None] + np.arange(int((target - begin).max()))
    items = log.items[np.minimum(places, len(log.items) - 1)]
    history = torch.from_numpy(np.where(places < target[:, None], items, -1))
    inputs, targets = tokens[history].flatten(1), torch.from_numpy(log.items[target].astype(int))
    return {"input_ids": inputs, "attention_mask": (inputs != 0).long(), "labels": tokens[targets]}
