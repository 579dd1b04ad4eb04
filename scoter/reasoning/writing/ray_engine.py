"""The same job on several machines: Ray Data hands out shards, and each worker writes its own.

The folder must be one that all machines see. A worker keeps its replies there too, in a file of its
own, so a killed job goes on from them. Ray gives the shards of a worker that died to another one;
a shard that is written twice is published by one rename each time, with the same bytes.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec

from scoter import errors
from scoter.errors import ConfigError, ScoterError
from scoter.protocols import LanguageModel
from scoter.reasoning.language.registry import ModelChoice
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.writing.engine import Watch, missing_shards, write_shards
from scoter.reasoning.writing.folder import REPLIES, ChainFolder
from scoter.reasoning.writing.job import ChainJob


def run_job_on_ray(
    job: ChainJob,
    folder: ChainFolder,
    choice: ModelChoice | None,
    workers: int,
    address: str | None = None,
    retry_unanswered: bool = False,
    watch: Watch = lambda outcome: None,
) -> dict[str, int]:
    """`run_job` with `workers` Ray actors, which share the token budget and the rate limit evenly.

    `address` is that of a running Ray cluster; None starts one on this machine.
    """
    if find_spec("ray") is None:
        remedy = "pip install 'scoter[ray]', or use --engine local"
        raise ConfigError(f"the engine ray needs the package ray, which is absent; {remedy}")
    if workers < 1:
        raise ConfigError(f"workers = {workers}; it must be 1 or more")
    folder.start(job.describe())
    shards = missing_shards(job, folder, retry_unanswered)
    writer = (job, str(folder.path.absolute()), _share(choice, workers))
    failures = _write(writer, shards, workers, address, watch) if shards else []
    for name, message in failures:
        raise getattr(errors, name, ScoterError)(message)
    return folder.finish(job.shard_count)


def _write(
    writer: tuple[ChainJob, str, ModelChoice | None],
    shards: Sequence[int],
    workers: int,
    address: str | None,
    watch: Watch,
) -> list[tuple[str, str]]:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]

    started = not ray.is_initialized()
    if started:
        here = {"num_cpus": workers, "include_dashboard": False}
        where = here if address is None else {"address": address}
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **where)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the job itself says how far it is
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    failures = []
    try:
        tasks = [{"shard": shard} for shard in shards]
        written = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            ShardWriter,
            fn_constructor_args=writer,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in written.iter_rows():
            for outcome in row["outcomes"].split():
                watch(outcome)
            if row["error"]:
                failures.append((row["error"], row["message"]))
    finally:
        if started:
            ray.shutdown()
    return failures


class ShardWriter:
    """A Ray actor: opens its language model once, then writes the shards that it is given."""

    def __init__(self, job: ChainJob, folder: str, choice: ModelChoice | None) -> None:
        self.job, self.folder, self.choice = job, ChainFolder(folder), choice
        self.open = ExitStack()
        self.model: LanguageModel | None = None

    def __call__(self, batch: dict[str, Sequence[int]]) -> dict[str, list[str]]:
        """Write the shards of a batch; how their chains ended, and the error that stopped it."""
        outcomes: list[str] = []
        kind = message = ""
        try:
            if self.choice is not None and self.model is None:
                store = RequestStore(self.folder.path / REPLIES)
                self.model = self.open.enter_context(self.choice.recording(store))
            shards = [int(shard) for shard in batch["shard"]]
            write_shards(self.job, self.folder, self.model, shards, outcomes.append)
        except ScoterError as error:
            kind, message = type(error).__name__, str(error)
        return {"outcomes": [" ".join(outcomes)], "error": [kind], "message": [message]}


def _share(choice: ModelChoice | None, workers: int) -> ModelChoice | None:
    if choice is None:
        return None
    budget, rate = choice.server.token_budget, choice.server.requests_per_minute
    server = replace(
        choice.server,
        token_budget=None if budget is None else max(1, budget // workers),
        requests_per_minute=None if rate is None else rate / workers,
    )
    return replace(choice, server=server)
