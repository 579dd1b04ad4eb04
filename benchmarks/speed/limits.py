"""The arithmetic limit: operations that a unit of work needs, over what a core can do.

A multiply-add counts as two. Only products are counted, as `torch.utils.flop_counter` does, and a
backward pass as two forward passes. *Needed* attention counts the pairs that the mask allows;
*dense* counts all of them, padding included.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from scoter.config import TigerConfig
from scoter.models.training.batches import Windows

TRAINING_PASSES = 3  # forward once, backward twice as much


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
    """Forward operations of the encoder; `pairs` of query and key are those of one layer."""
    inner = size.heads * size.head_dim
    per_token = 8 * size.dim * inner + 4 * size.dim * size.feed_forward
    return size.layers * (tokens * per_token + pairs * 4 * inner)


def decoder_flops(
    size: TigerConfig, vocabulary: int, tokens: float, memory: float, pairs: float
) -> float:
    """Forward operations of the decoder and the output layer over the `vocabulary`.

    `memory` counts encoder positions whose cross keys and values are computed; `pairs` of query and
    key are those of one layer, self- and cross-attention together.
    """
    inner = size.heads * size.head_dim
    per_token = 12 * size.dim * inner + 4 * size.dim * size.feed_forward
    layer = tokens * per_token + memory * 4 * size.dim * inner + pairs * 4 * inner
    return size.layers * layer + tokens * 2 * size.dim * vocabulary


def training_flops(size: TigerConfig, vocabulary: int, levels: int, windows: Windows) -> float:
    """Needed operations per target, where all targets of a window share one encoder pass."""
    items = (windows.end - windows.begin - 1).astype(float)  # the last item is only ever a target
    first = windows.first_target - windows.begin  # how many items the first target reads
    targets = items - first + 1
    read = (items * (items + 1) - first * (first - 1)) / 2  # items read, over a window's targets
    memory, seen = float((items * levels).sum()), levels**2 * items * (items + 1) / 2
    pairs = float((targets * levels * (levels + 1) / 2 + levels**2 * read).sum())
    encoder = encoder_flops(size, memory, float(seen.sum()))
    decoder = decoder_flops(size, vocabulary, float((targets * levels).sum()), memory, pairs)
    return TRAINING_PASSES * (encoder + decoder) / float(targets.sum())


def sliding_flops(size: TigerConfig, vocabulary: int, levels: int, items: int) -> float:
    """Dense operations per target of a sliding window that is padded to `items` items."""
    memory = items * levels
    pairs = levels**2 + levels * memory
    decoder = decoder_flops(size, vocabulary, levels, memory, pairs)
    return TRAINING_PASSES * (encoder_flops(size, memory, memory**2) + decoder)


def decoding_flops(
    size: TigerConfig,
    scored: Sequence[int],
    lengths: Int[np.ndarray, " users"],
    positions: Sequence[float],
) -> float:
    """Needed operations per user of a beam search that recomputes nothing.

    Cross-attention counts in the cheaper of two forms: keys and values, or, with the maps of query
    and output multiplied into them, only a beam's scores and its reading, which are as wide as the
    model for each head.
    The first layers' queries, keys and values depend on the token alone and are looked up.
    `positions` are a user's decoder positions at each level, each of which is scored against as
    many tokens as `scored` says.
    """
    levels, inner, wide = len(positions), size.heads * size.head_dim, size.heads * size.dim
    memory = np.minimum(lengths, size.max_items).astype(float) * levels
    seen = (memory * (memory + levels) / 2).mean()
    encoder = encoder_flops(size, float(memory.mean()), float(seen))
    steps = np.asarray(positions, float)
    tokens, pairs = float(steps.sum()), float((steps * np.arange(1, levels + 1)).sum())
    plain = memory * 4 * size.dim * inner + tokens * 4 * size.dim * inner
    plain = plain + tokens * memory * 4 * inner
    folded = memory * 4 * size.dim * wide + tokens * memory * 4 * wide
    rest = tokens * (8 * size.dim * inner + 4 * size.dim * size.feed_forward) + pairs * 4 * inner
    layer = rest + float(np.minimum(plain, folded).mean())
    looked_up = (float(memory.mean()) + tokens) * 6 * size.dim * inner
    output = float((steps * np.asarray(scored)).sum()) * 2 * size.dim
    return encoder + size.layers * layer - looked_up + output
