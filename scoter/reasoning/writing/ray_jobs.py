"""Independent tasks on a Ray cluster: Ray Data hands them out, and gives those of a worker that
died to another one.

A task may therefore run twice, so what it leaves must not depend on how often it ran: a file
published whole, by one rename, under a name that says what is in it. The folder must be one that
all machines see.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from scoter import errors
from scoter.errors import ConfigError, ScoterError

Row = dict[str, Any]


def run_on_ray(
    worker: type,
    given: tuple[Any, ...],
    tasks: Sequence[Row],
    workers: int,
    address: str | None = None,
    watch: Callable[[Row], None] = lambda row: None,
) -> None:
    """Run every task by one of `workers` actors `worker(*given)`.

    Args:
        worker: called with a batch of one task (column -> one value); returns a batch of one row,
            with the columns `error` and `message` that `failure` makes.
        address: of a running Ray cluster; None starts one on this machine.
        watch: called with each row that comes back.

    Raises:
        ConfigError: the package ray is absent, or `workers` is below 1.
        ScoterError: what a task raised, once the others have ended.
    """
    check_engine(workers)
    if not tasks:
        return
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]

    started = not ray.is_initialized()
    if started:
        local: dict[str, Any] = (
            {"num_cpus": workers, "include_dashboard": False}
            if address is None
            else {"address": address}
        )
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **local)
    ray.data.DataContext.get_current().enable_progress_bars = (
        False  # the job says itself how far it is
    )
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    failed: Counter[tuple[str, str]] = Counter()
    try:
        blocks = ray.data.from_items(list(tasks), override_num_blocks=len(tasks))
        done = blocks.map_batches(
            worker,
            fn_constructor_args=given,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in done.iter_rows():
            watch(row)
            if row["error"]:
                failed[row["error"], row["message"]] += 1
    finally:
        if started:
            ray.shutdown()
    for name, message in failed:
        raise getattr(errors, name, ScoterError)(message)


def check_engine(workers: int) -> None:
    """Refuse what `run_on_ray` would refuse, before anything is written."""
    if find_spec("ray") is None:
        raise ConfigError(
            "the engine ray needs the package ray, which is absent; pip install 'scoter[ray]', "
            "or use --engine local"
        )
    if workers < 1:
        raise ConfigError(f"workers = {workers}; it must be 1 or more")


def failure(error: ScoterError | None) -> dict[str, list[str]]:
    """The columns that say how a task ended: empty without an error.

    Example:
        >>> failure(ConfigError("workers = 0")), failure(None)
        ({'error': ['ConfigError'], 'message': ['workers = 0']}, {'error': [''], 'message': ['']})
    """
    return {
        "error": [type(error).__name__ if error else ""],
        "message": [str(error) if error else ""],
    }
