"""Controls that put something else in the place of a chain, laid out as chains are."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from scoter.types import StepEmbeddings


def item_texts_as_steps(
    steps: StepEmbeddings,
    recent: Int[np.ndarray, "chains items"],
    vectors: Float[np.ndarray, "catalogue dim"],
) -> StepEmbeddings:
    """The last K items' own texts instead of a chain of K steps, the newest in the last slot.

    A step about the item of some lag, as all of chains by item are, becomes that item's text. Where
    the chain lacks a step, the item stays, since the prefix has it.

    Args:
        recent: the items of every chain's prefix, newest first, -1 where there is none.
        vectors: the same encoder's vector of each item's text.
    """
    count = steps.step_count
    lags = [int(step.parameters.get("lag", 0)) for step in steps.pattern.steps]
    if not all(lags):
        lags = list(range(count, 0, -1))
    padded = np.full((len(recent), max(lags)), -1, np.int64)
    width = min(max(lags), recent.shape[1])
    padded[:, :width] = recent[:, :width]
    items = padded[:, np.array(lags) - 1]
    there = items >= 0
    offsets = np.concatenate([[0], np.cumsum(there.ravel())])
    starts, pattern, encoder = steps.starts, steps.pattern, steps.encoder
    return StepEmbeddings(vectors, items[there], offsets, starts, pattern, encoder)


def statements_as_features(steps: StepEmbeddings, seed: int) -> StepEmbeddings:
    """What the reasoner states, as plain features: each distinct statement becomes random signs.

    This is a one-hot code of the statement, hashed to the width of a sentence's vector. What the
    statistics chose is kept, and no two statements are alike because their words are.
    """
    shape = steps.vectors.shape
    bits = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.int8)
    signs = bits * np.float32(2) - np.float32(1)
    return replace(steps, vectors=(signs / np.float32(shape[1] ** 0.5)).astype(np.float32))
