"""The job's questions asked on a cluster, by the HTTP processor of `ray.data.llm`.

Each round asks what the job would ask next: first every chain's question, then those whose reply
has to be asked for again. Replies are kept in the store as they come, so a killed job goes on from
them, and a question that a lost worker asked twice counts once. Chains are then written here from
the stored replies, as they are after `--import-batch`.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import islice

from scoter.errors import ConfigError, LanguageModelError
from scoter.reasoning.language.language_model import CompletionRequest
from scoter.reasoning.language.metering import check_budget
from scoter.reasoning.language.openai_model import OpenAIModel, chat_arguments, key_from
from scoter.reasoning.language.registry import ModelChoice
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.language.server import ServerConfig
from scoter.reasoning.language.server_reply import TryAgain, read_body
from scoter.reasoning.writing.batch_files import pending_requests
from scoter.reasoning.writing.job import ChainJob

ROUND = 10_000  # questions that are in memory at once


def answer_on_ray(
    job: ChainJob,
    store: RequestStore,
    choice: ModelChoice | None,
    workers: int,
    address: str | None = None,
) -> None:
    """Ask everything that the job asks, with `workers` Ray actors, and keep the replies in `store`.

    `address` is that of a running Ray cluster; None starts one on this machine.

    Raises:
        ConfigError: Ray is absent, or the model is not one of an OpenAI-compatible server.
        BudgetError: the server's `token_budget` is spent. The replies so far are kept; those of
            calls under way are not.
        LanguageModelError: no question was answered at all.
    """
    if find_spec("ray") is None or find_spec("aiohttp") is None:
        remedy = "pip install 'scoter[ray]', or use --engine local"
        raise ConfigError(f"the engine ray needs ray and aiohttp, which are absent; {remedy}")
    if choice is None:
        raise ConfigError("the engine ray asks a server; the catalogue reasoner writes by itself")
    with choice.open() as model, _cluster(workers, address):
        if not isinstance(model, OpenAIModel):
            raise ConfigError(
                f"the engine ray asks OpenAI-compatible servers; {choice.name} is none"
            )
        spent, before, failure = 0, -1, "Ray's log has the cause"
        while len(store) > before and (asked := _next(job, store)):
            before = len(store)
            for key, reply in _replies(asked, model.config, workers):
                try:
                    completion = read_body(reply).completion(reply, asked[key])
                except TryAgain as error:
                    failure = str(error)
                    continue
                store.put(asked[key], completion)
                spent += completion.prompt_tokens + completion.completion_tokens
                check_budget(spent, model.config.token_budget)
        if not len(store):
            raise LanguageModelError(f"no question was answered: {failure}")


def _next(job: ChainJob, store: RequestStore) -> dict[str, CompletionRequest]:
    return {request.key: request for request in islice(pending_requests(job, store), ROUND)}


def _replies(
    asked: dict[str, CompletionRequest], server: ServerConfig, workers: int
) -> Iterator[tuple[str, bytes]]:
    """Each question's key and the body of its reply, in any order, as they come."""
    import aiohttp  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]
    from ray.data.llm import (  # pyright: ignore[reportMissingImports]
        HttpRequestProcessorConfig,
        build_processor,
    )

    key, rate = key_from(server.key_variable), server.requests_per_minute
    limit = aiohttp.ClientTimeout(total=server.timeout)
    config = HttpRequestProcessorConfig(
        url=f"{server.base_url.rstrip('/')}/chat/completions",
        headers={"Authorization": f"Bearer {key}"} if key else None,
        batch_size=server.concurrency,
        concurrency=workers,
        qps=None if rate is None else max(1, round(rate / 60 / workers)),
        max_retries=server.attempts - 1,
        base_retry_wait_time_in_s=server.first_pause,
        session_factory=partial(aiohttp.ClientSession, timeout=limit),
    )
    rows = [
        {"key": key, "body": json.dumps(chat_arguments(request, server))}
        for key, request in asked.items()
    ]
    processor = build_processor(
        config,
        preprocess=lambda row: {"key": row["key"], "payload": json.loads(row["body"])},
        postprocess=lambda row: {"key": row["key"], "reply": json.dumps(row["http_response"])},
    )
    blocks = -(-len(rows) // server.concurrency)  # small: one that fails is asked again whole
    for row in processor(ray.data.from_items(rows, override_num_blocks=blocks)).iter_rows():
        yield row["key"], row["reply"].encode()


@contextmanager
def _cluster(workers: int, address: str | None) -> Iterator[None]:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]

    started = not ray.is_initialized()
    if started:
        here = {"num_cpus": workers, "include_dashboard": False}
        where = here if address is None else {"address": address}
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **where)
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().max_errored_blocks = -1  # asked again in the next round
    try:
        yield
    finally:
        if started:
            ray.shutdown()
