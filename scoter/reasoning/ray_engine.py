"""The same job on several machines: Ray Data hands out shards, and each worker writes its own as the local engine does.

The folder must be one that all machines see (as a network file system). A worker keeps its replies there too, in a file of
its own, so a killed job goes on from them, on one machine or many.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scoter import errors
from scoter.errors import ConfigError, ScoterError
from scoter.reasoning.chain_engine import Watch, missing_shards, write_shards
from scoter.reasoning.chain_job import ChainJob
from scoter.reasoning.chain_server import ServerConfig
from scoter.reasoning.chain_shards import REPLIES, ChainFolder
from scoter.reasoning.request_store import RequestStore


def run_job_on_ray(
    job: ChainJob,
    folder: ChainFolder,
    server: ServerConfig | None,
    workers: int,
    address: str | None = None,
    retry_unanswered: bool = False,
    watch: Watch = lambda outcome: None,
) -> dict[str, int]:
    """`run_job` with `workers` Ray actors, which share the token budget and the rate limit evenly.

    Args:
        server: None for the catalogue reasoner.
        address: of a running Ray cluster; None starts one on this machine.

    Raises:
        ConfigError: the package ray is absent.
        ScoterError: what a worker raised.
    """
    if find_spec("ray") is None:
        raise ConfigError(
            "the engine ray needs the package ray, which is absent; pip install 'scoter[ray]', or use --engine local"
        )
    if workers < 1:
        raise ConfigError(f"workers = {workers}; it must be 1 or more")
    folder.start(job.describe())
    shards = missing_shards(job, folder, retry_unanswered)
    if shards:
        _write_on_ray(job, folder.path.absolute(), _share(server, workers), shards, workers, address, watch)
    return folder.finish(job.shard_count)


class ShardWriter:
    """A Ray actor: opens its server once, then writes the shards that it is given."""

    def __init__(self, job: Any, folder: str, server: ServerConfig | None) -> None:
        self.job, self.folder, self.server = job, ChainFolder(folder), server
        self.open = ExitStack()
        self.model = None

    def __call__(self, batch: dict[str, Sequence[int]]) -> dict[str, list[str]]:
        """Write the shards of a batch; for each a line `outcome outcome ...`, or the error that ended it."""
        outcomes: list[str] = []
        try:
            if self.server is not None and self.model is None:
                replies = RequestStore(self.folder.path / REPLIES)
                self.model = replies.recording(self.open.enter_context(self.server.open()))
            write_shards(self.job, self.folder, self.model, [int(shard) for shard in batch["shard"]], outcomes.append)
        except ScoterError as error:
            return {"ended": [" ".join(outcomes)], "error": [type(error).__name__], "message": [str(error)]}
        return {"ended": [" ".join(outcomes)], "error": [""], "message": [""]}


def _write_on_ray(
    job: ChainJob,
    folder: Path,
    server: ServerConfig | None,
    shards: list[int],
    workers: int,
    address: str | None,
    watch: Callable[[str], None],
) -> None:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]

    started = not ray.is_initialized()
    if started:
        local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **local)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the job says itself how far it is
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        blocks = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        written = blocks.map_batches(
            ShardWriter,
            fn_constructor_args=(job, str(folder), server),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        failed: Counter[tuple[str, str]] = Counter()
        for row in written.iter_rows():
            for outcome in row["ended"].split():
                watch(outcome)
            if row["error"]:
                failed[row["error"], row["message"]] += 1
    finally:
        if started:
            ray.shutdown()
    for name, message in failed:
        raise getattr(errors, name, ScoterError)(message)


def _share(server: ServerConfig | None, workers: int) -> ServerConfig | None:
    if server is None:
        return None
    budget, rate = server.token_budget, server.requests_per_minute
    return replace(
        server,
        token_budget=None if budget is None else max(1, budget // workers),
        requests_per_minute=None if rate is None else rate / workers,
    )
