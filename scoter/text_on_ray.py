"""Sentences to vectors on several machines: the shards that the cache lacks are encoded by Ray workers, each published whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from scoter import text
from scoter.config import TextConfig
from scoter.errors import ScoterError
from scoter.ray_jobs import failure, run_on_ray


def encode_on_ray(
    sentences: Sequence[str], config: TextConfig, cache: Path, workers: int, address: str | None = None
) -> Float32[np.ndarray, "sentences dim"]:
    """`scoter.text.encode`, to the last bit, by `workers` Ray actors that fill the same cache.

    A run that embeds the same sentences afterwards with `cache` its store's folder `sentences` finds all of them there.

    Raises:
        ConfigError: the package ray is absent, or `workers` is below 1.
        ScoterError: what `encode` raises, here or on a worker.
    """
    shards = text.missing_shards(sentences, config, cache)
    run_on_ray(ShardEncoder, (config, str(Path(cache).absolute())), [{"sentences": shard} for shard in shards], workers, address)
    return text.encode(sentences, config, cache)


class ShardEncoder:
    """A Ray actor: loads the encoder once, then encodes and publishes the shards that it is given."""

    def __init__(self, config: TextConfig, cache: str) -> None:
        self.config, self.cache = config, Path(cache)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        try:
            for shard in batch["sentences"]:
                text.encode_shard([str(sentence) for sentence in shard], self.config, self.cache)
        except ScoterError as error:
            return failure(error)
        return failure(None)
