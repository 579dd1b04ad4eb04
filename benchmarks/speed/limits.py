"""The arithmetic limit: floating-point operations that a unit of work cannot do without, over what
a core can do.

A multiply-add counts as two. Only products are counted, as `torch.utils.flop_counter` does. A
backward pass costs two forward passes. *Needed* attention counts the pairs that the mask allows;
*dense* counts all of them, padding included.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from scoter.config import TigerConfig
from scoter.models.training.batches import Windows

TRAINING_PASSES = 3


def peak_flops(dtype: torch.dtype, size: int = 1024, repeats: int = 12) -> float:
    """Operations per CPU-second of the best of some square matrix products."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    torch.mm(left, right, out=out)
    best = 0.0
    for _ in range(repeats):
        start = time.process_time()
        torch.mm(left, right, out=out)
        best = max(best, 2 * size**3 / (time.process_time() - start))
    return best


def encoder_flops(size: TigerConfig, tokens: float, pairs: float) -> float:
    """Forward operations of the encoder over `tokens`, with `pairs` of query and key in each
    layer."""
    inner = size.heads * size.head_dim
    return size.layers * (
        tokens * (8 * size.dim * inner + 4 * size.dim * size.feed_forward) + pairs * 4 * inner
    )


def decoder_flops(
    size: TigerConfig, vocabulary: int, tokens: float, memory: float, pairs: float
) -> float:
    """Forward operations of the decoder and the output layer.

    Args:
        vocabulary: number of tokens that every position is scored against.
        tokens: decoder positions.
        memory: encoder positions whose cross keys and values are computed.
        pairs: pairs of query and key in each layer, self- and cross-attention together.
    """
    inner = size.heads * size.head_dim
    per_token = 12 * size.dim * inner + 4 * size.dim * size.feed_forward
    layer = tokens * per_token + memory * 4 * size.dim * inner + pairs * 4 * inner
    return size.layers * layer + tokens * 2 * size.dim * vocabulary


def training_flops(size: TigerConfig, vocabulary: int, levels: int, windows: Windows) -> float:
    """Needed operations per target, forward and backward, where all targets of a window share one
    encoder pass."""
    items = (windows.end - windows.begin - 1).astype(float)  # the last item is only ever a target
    first = windows.first_target - windows.begin  # how many items the first target reads
    targets = items - first + 1
    read = (
        items * (items + 1) - first * (first - 1)
    ) / 2  # items read by all targets of a window together
    encoder = encoder_flops(
        size, float((items * levels).sum()), float((levels**2 * items * (items + 1) / 2).sum())
    )
    pairs = targets * levels * (levels + 1) / 2 + levels**2 * read
    decoder = decoder_flops(
        size,
        vocabulary,
        float((targets * levels).sum()),
        float((items * levels).sum()),
        float(pairs.sum()),
    )
    return TRAINING_PASSES * (encoder + decoder) / float(targets.sum())


def sliding_flops(size: TigerConfig, vocabulary: int, levels: int, items: int) -> float:
    """Dense operations per target, forward and backward, of a sliding window padded to `items`
    items."""
    memory = items * levels
    pairs = levels**2 + levels * memory
    return TRAINING_PASSES * (
        encoder_flops(size, memory, memory**2)
        + decoder_flops(size, vocabulary, levels, memory, pairs)
    )


def decoding_flops(
    size: TigerConfig,
    vocabulary: int,
    lengths: Int[np.ndarray, " users"],
    positions: Sequence[float],
) -> float:
    """Needed operations per user of a beam search: encoder and the memory's side of cross-attention
    once, nothing recomputed.

    `positions` counts a user's decoder positions at each level: one start token, then every beam
    whose next code is open.

    Cross-attention counts in the cheaper of its two forms: keys and values, or (with the maps of
    query and output multiplied into them) no work on a beam but its scores and its reading, which
    are as wide as the model for each head.
    """
    levels, inner, wide = len(positions), size.heads * size.head_dim, size.heads * size.dim
    memory = np.minimum(lengths, size.max_items).astype(float) * levels
    encoder = encoder_flops(
        size, float(memory.mean()), float((memory * (memory + levels) / 2).mean())
    )
    steps = np.asarray(positions, float)
    tokens, pairs = float(steps.sum()), float((steps * np.arange(1, levels + 1)).sum())
    plain = (
        memory * 4 * size.dim * inner + tokens * 4 * size.dim * inner + tokens * memory * 4 * inner
    )
    folded = memory * 4 * size.dim * wide + tokens * memory * 4 * wide
    rest = tokens * (8 * size.dim * inner + 4 * size.dim * size.feed_forward) + pairs * 4 * inner
    layer = rest + float(np.minimum(plain, folded).mean())
    return encoder + size.layers * layer + tokens * 2 * size.dim * vocabulary
