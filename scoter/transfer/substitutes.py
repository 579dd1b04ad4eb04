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
    """The last K items' own texts instead of a chain of K steps, the newest one in the last slot:
    no reasoning at all.

    Args:
        recent: the items of every chain's prefix, newest first, -1 where there is none; row c
            belongs to chain c of `steps`.
        vectors: the same encoder's vector of each item's text.

    Where the chain lacks a step the item stays, since the prefix has it.
    """
    count = steps.step_count
    items = np.full((len(recent), count), -1, np.int64)
    width = min(count, recent.shape[1])
    items[:, count - width :] = recent[:, :width][:, ::-1]
    there = items >= 0
    offsets = np.concatenate([[0], np.cumsum(there.ravel())])
    return StepEmbeddings(
        vectors, items[there], offsets, steps.starts, steps.pattern, steps.encoder
    )


def statements_as_features(steps: StepEmbeddings, seed: int) -> StepEmbeddings:
    """What the reasoner states, as plain features: each distinct statement becomes random signs
    that say nothing of its words.

    This is a one-hot code of the statement, hashed to the width of a sentence's vector, and for a
    step of several statements their mean. So everything that the statistics chose is kept, and no
    two statements are alike because their words are.
    """
    shape = steps.vectors.shape
    signs = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.int8) * np.float32(
        2
    ) - np.float32(1)
    return replace(steps, vectors=(signs / np.float32(shape[1] ** 0.5)).astype(np.float32))
