"""One cell in its own process, so that peak memory and CPU seconds are those of the cell.

`python -m benchmarks.suite.cell JSON` prints the folder of the finished run as a JSON string, since
any encoding can hold one.
"""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.suite.cells import Budget, Cell, experiment_of
from scoter.errors import ConfigError, ScoterError
from scoter.storage.store import Store, git_commit

Say = Callable[[str], None]


def main(text: str) -> None:
    """Run the cell that `loop.in_process_of_its_own` describes."""
    job = json.loads(text)
    cell = Cell(**{**job["cell"], "budget": Budget(**job["cell"]["budget"])})
    data, store = (Path(job[name]) if job[name] else None for name in ("data", "store"))
    from scoter.cli.options import say, use_threads

    # Recorded as it is now: what is trained is the code that is loaded, not a later commit.
    git_commit()
    use_threads(job["threads"])
    folder = run_cell(cell, data, Store(store), say, job["device"])
    print(json.dumps(str(folder)), flush=True)


def run_cell(cell: Cell, data: Path | None, store: Store, say: Say, device: str = "cpu") -> Path:
    """The folder of the finished run."""
    if not cell.own:
        from scoter import pipeline

        options: dict[str, Any] = {"store": store, "data_dir": data, "device": device}
        return pipeline.run(experiment_of(cell), seed=cell.seed, say=say, **options).path
    if device != "cpu":
        why = f"is for the suite's methods; {cell.own} chooses its device by itself"
        raise ConfigError(f"--device {device} {why}")
    from benchmarks.suite.own_method import run_own
    from scoter.config import Experiment
    from scoter.stages.context import Context
    from scoter.stages.data import prepare

    experiment = Experiment(f"{cell.table}-{cell.method}", cell.data, {})
    context = Context(experiment, store, cell.seed, say)
    return run_own(cell.own, context, prepare(context, data)).path


if __name__ == "__main__":
    for received in (signal.SIGTERM, signal.SIGINT):
        signal.signal(received, signal.default_int_handler)
    try:
        main(sys.argv[1])
    except ScoterError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
