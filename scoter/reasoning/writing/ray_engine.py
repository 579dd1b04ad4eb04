"""The same job on several machines: Ray Data hands out shards, and each worker writes its own as
the local engine does.

The folder must be one that all machines see (as a network file system). A worker keeps its replies
there too, in a file of its own, so a killed job goes on from them, on one machine or many.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from scoter.errors import ScoterError
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.writing.engine import Watch, missing_shards, write_shards
from scoter.reasoning.writing.folder import REPLIES, ChainFolder
from scoter.reasoning.writing.job import ChainJob
from scoter.reasoning.writing.ray_jobs import check_engine, failure, run_on_ray


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

    def said(row: dict[str, Any]) -> None:
        for outcome in row["ended"].split():
            watch(outcome)

    check_engine(workers)
    folder.start(job.describe())
    shards = [{"shard": shard} for shard in missing_shards(job, folder, retry_unanswered)]
    given = (job, str(folder.path.absolute()), _share(server, workers))
    run_on_ray(ShardWriter, given, shards, workers, address, said)
    return folder.finish(job.shard_count)


class ShardWriter:
    """A Ray actor: opens its server once, then writes the shards that it is given."""

    def __init__(self, job: Any, folder: str, server: ServerConfig | None) -> None:
        self.job, self.folder, self.server = job, ChainFolder(folder), server
        self.open = ExitStack()
        self.model = None

    def __call__(self, batch: dict[str, Sequence[int]]) -> dict[str, list[str]]:
        """Write the shards of a batch; for each a line `outcome outcome ...`, or the error that
        ended it."""
        outcomes: list[str] = []
        try:
            if self.server is not None and self.model is None:
                replies = RequestStore(self.folder.path / REPLIES)
                self.model = replies.recording(self.open.enter_context(self.server.open()))
            write_shards(
                self.job,
                self.folder,
                self.model,
                [int(shard) for shard in batch["shard"]],
                outcomes.append,
            )
        except ScoterError as error:
            return {"ended": [" ".join(outcomes)], **failure(error)}
        return {"ended": [" ".join(outcomes)], **failure(None)}


def _share(server: ServerConfig | None, workers: int) -> ServerConfig | None:
    if server is None:
        return None
    budget, rate = server.token_budget, server.requests_per_minute
    return replace(
        server,
        token_budget=None if budget is None else max(1, budget // workers),
        requests_per_minute=None if rate is None else rate / workers,
    )
