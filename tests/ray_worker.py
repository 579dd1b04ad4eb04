"""A command in a process of its own, since Ray keeps threads and sockets for its own time; one of
its workers may be killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

PATIENT = {  # on a busy machine, Ray's own processes take long to come up
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_worker_register_timeout_seconds": "600",
}


def on_ray(arguments: list[str], begun: Callable[[], bool] | None = None) -> str:
    """Run `python ARGUMENTS`; once `begun()`, kill one of its Ray workers. Standard output, or the
    error where it failed."""
    quiet = {**os.environ, **PATIENT, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet
    ) as process:
        if begun is not None:
            _kill_worker(process, begun)
        out, error = process.communicate(timeout=900)
    return out if process.returncode == 0 else error


def _kill_worker(process: subprocess.Popen[str], begun: Callable[[], bool]) -> None:
    while not begun():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    workers = [
        child
        for child in family
        if child.name().startswith("ray::") and "MapWorker" in "".join(child.cmdline())
    ]
    assert workers, [child.cmdline() for child in family]
    assert process.poll() is None, "the job ended before a worker could be killed"
    workers[0].kill()
