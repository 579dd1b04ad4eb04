"""What SCoTER costs online and in training beside TIGER: paired measurements of two bundles and of
training steps.

Requests alternate between the bundles in one process, the same users for both, so that whatever
else the machine does meets both alike. Each request is one user, twenty beams, ten items, none of
them seen before. A latency is wall time; the processor time beside it moves less where processors
are shared. Peak memory is that of a process of its own. A request may not open a socket, and calls
of a language model are counted. Training alternates step by step on the same batches.

`results/latency.json` holds the last measurement; `results/training_cost.json` that of training
alone, which needs one run.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS
from scoter.config import MethodConfig
from scoter.seeding import derive_seed
from scoter.stages.finished import FinishedMethod, find_methods
from scoter.storage.store import git_commit

REQUESTS, WARM_UP, STEPS, DRAWS = 300, 30, 60, 2000


def measure(
    runs: Sequence[Path],
    arm: str = "scoter",
    requests: int = REQUESTS,
    steps: int = STEPS,
    threads: Sequence[int] = (1, 2),
    seed: int = 0,
    results: Path = RESULTS,
) -> dict[str, Any]:
    """Measure `arm` against `tiger` of the finished `runs`, write `results/latency.json` and return
    what stands in it."""
    methods = find_methods(runs, ("tiger", arm))
    with TemporaryDirectory() as folder:
        bundles = {name: _export(method, Path(folder) / name) for name, method in methods.items()}
        rows = [latencies(bundles, arm, requests, count, seed) for count in threads]
        memory = {name: _alone(path, threads[0]) for name, path in bundles.items()}
        sizes = {
            name: sum(file.stat().st_size for file in path.iterdir())
            for name, path in bundles.items()
        }
    first = methods[arm].run.outcome
    found = {
        "dataset": first["dataset"],
        "seed": first["seed"],
        "arm": arm,
        "runs": {name: method.run.artefact.key for name, method in methods.items()},
        "epochs": {
            name: method.run.outcome["methods"][name]["epochs"] for name, method in methods.items()
        },
        "commit": git_commit(),
        "beams": 20,
        "language_model_calls": sum(row["language_model_calls"] for row in rows),
        "latency": rows,
        "peak_mib": memory,
        "bundle_bytes": sizes,
        "training": training(methods[arm], steps, seed),
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "latency.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def latencies(
    bundles: dict[str, Path], arm: str, requests: int, threads: int, seed: int
) -> dict[str, Any]:
    """p50 and p99 of both bundles in milliseconds, and the ratio of their p50 with an interval over
    users."""
    import torch

    from scoter.serving.bundle_reader import open_bundle

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    opened = {name: open_bundle(path) for name, path in bundles.items()}
    users = np.random.default_rng(derive_seed(seed, "latency")).permutation(
        sorted(opened["tiger"].user_rows)
    )
    users = users[: requests + WARM_UP].tolist()
    calls, wall, spent = _counted(), {name: [] for name in opened}, {name: [] for name in opened}
    with calls:
        for number, user in enumerate(users):
            for name in sorted(opened, reverse=number % 2 == 1):
                began, spent_before = time.perf_counter(), time.process_time()
                opened[name].rank(user, 10)
                if number >= WARM_UP:
                    wall[name].append(1000 * (time.perf_counter() - began))
                    spent[name].append(1000 * (time.process_time() - spent_before))
    torch.set_num_threads(before)
    return {
        "threads": threads,
        "requests": len(users) - WARM_UP,
        "language_model_calls": calls.count,
        **{name: {**_quantiles(wall[name]), "cpu": _quantiles(spent[name])} for name in opened},
        "p50_ratio": ratio(wall[arm], wall["tiger"], np.median, seed),
        "p50_ratio_cpu": ratio(spent[arm], spent["tiger"], np.median, seed),
    }


def measure_training(
    run: Path, arm: str = "scoter", steps: int = STEPS, seed: int = 0, results: Path = RESULTS
) -> dict[str, Any]:
    """Training steps of `arm` of a finished run beside those of TIGER; write
    `results/training_cost.json` and return it."""
    from benchmarks.speed.timing import machine

    method = find_methods([run], (arm,))[arm]
    found = {
        "dataset": method.run.outcome["dataset"],
        "run": method.run.artefact.key,
        "machine": machine(1),
        "training": training(method, steps, seed),
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "training_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def training(method: FinishedMethod, steps: int, seed: int) -> dict[str, Any]:
    """Processor time of training steps on the same batches, one step in turn of the method and of
    the same without a chain."""
    from scoter.models.training.batches import cut_windows, training_batches
    from scoter.models.training.precision import resolve_precision

    split, config = method.run.split, method.config.training
    windows = cut_windows(split.train, method.config.model.max_items)  # pyright: ignore[reportAttributeAccessIssue]
    epoch = training_batches(
        split.train, windows, config.batch_targets, derive_seed(seed, "training")
    )
    advance = {
        "tiger": _stepper(method, replace(method.config, fusion=None)),
        method.name: _stepper(method, method.config),
    }
    spent: dict[str, list[float]] = {name: [] for name in advance}
    for number in range(-3, min(steps, len(epoch) - 3)):
        for name in sorted(advance, reverse=number % 2 == 1):
            began = time.process_time()
            advance[name](epoch[number])
            if number >= 0:
                spent[name].append(time.process_time() - began)
    return {
        "arm": method.name,
        "steps": len(spent["tiger"]),
        "batch_targets": config.batch_targets,
        "precision": resolve_precision(config.precision),
        **{name: {"cpu_seconds_a_step": float(np.mean(times))} for name, times in spent.items()},
        "cost_ratio": ratio(spent[method.name], spent["tiger"], np.mean, seed),
    }


def ratio(
    a: Sequence[float], b: Sequence[float], of: Callable[..., Any], seed: int
) -> dict[str, float]:
    """`of(a) / of(b)` with its 95 % interval, by a bootstrap that keeps what was measured together
    together.

    Example:
        >>> ratio([2.0, 4.0], [1.0, 2.0], np.mean, seed=0)
        {'mean': 2.0, 'low': 2.0, 'high': 2.0}
    """
    x, y = np.array(a), np.array(b)
    chosen = np.random.default_rng(seed).integers(0, len(x), (DRAWS, len(x)))
    draws = of(x[chosen], axis=1) / of(y[chosen], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(of(x) / of(y)), "low": float(low), "high": float(high)}


def as_text(found: dict[str, Any]) -> str:
    """The measurement in lines."""
    lines, arm = [], found["arm"]
    for row in found["latency"]:
        both = ", ".join(
            f"{name} p50 {row[name]['p50']:.2f} p99 {row[name]['p99']:.2f} ms"
            for name in ("tiger", arm)
        )
        lines.append(f"{row['threads']} thread(s), {row['requests']} requests each: {both}")
        for label in ("p50_ratio", "p50_ratio_cpu"):
            of = row[label]
            lines.append(f"  {label} {of['mean']:.3f} [{of['low']:.3f}, {of['high']:.3f}]")
    lines.append(training_as_text(found["training"]))
    sizes = found["bundle_bytes"]
    for name, mib in found["peak_mib"].items():
        lines.append(f"{name}: peak {mib:.0f} MiB, bundle {sizes[name] / 2**20:.1f} MiB")
    return "\n".join([*lines, f"language model calls: {found['language_model_calls']}"])


def training_as_text(found: dict[str, Any]) -> str:
    """The cost of a training step in a line."""
    cost = found["cost_ratio"]
    return (
        f"training step ({found['precision']}, {found['steps']} of each): {cost['mean']:.3f} "
        f"[{cost['low']:.3f}, {cost['high']:.3f}] times TIGER's processor time"
    )


class _counted:
    """While this is open, no socket can be, and calls of language models are counted."""

    count = 0

    def __enter__(self) -> "_counted":
        import socket

        from scoter.reasoning.language.openai_model import OpenAIModel

        self.kept = socket.socket, OpenAIModel.complete

        def complete(*arguments: Any) -> Any:
            self.count += 1
            return self.kept[1](*arguments)

        def denied(*arguments: Any, **options: Any) -> Any:
            raise AssertionError("a request wanted the network")

        socket.socket, OpenAIModel.complete = denied, complete  # type: ignore[assignment, misc, method-assign]
        return self

    def __exit__(self, *error: Any) -> None:
        import socket

        from scoter.reasoning.language.openai_model import OpenAIModel

        socket.socket, OpenAIModel.complete = self.kept  # type: ignore[misc, method-assign]


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.quantile(milliseconds, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99)}


def _export(method: FinishedMethod, out: Path) -> Path:
    from scoter.serving.bundle import export_run

    export_run(method.run.store, method.run.artefact, method.name, out, texts=False)
    return out


def _alone(bundle: Path, threads: int) -> float:
    """Peak resident memory in MiB of a process that opens the bundle and answers fifty requests."""
    code = (
        "import sys, torch\nfrom pathlib import Path\nfrom scoter.models.training.memory import "
        "peak_mib\n"
        "from scoter.serving.bundle_reader import open_bundle\n"
        f"torch.set_num_threads({threads})\nbundle = open_bundle(Path(sys.argv[1]))\n"
        "for user in list(bundle.user_rows)[:50]: bundle.rank(user)\n"
        "print(peak_mib())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _stepper(method: FinishedMethod, chosen: MethodConfig) -> Callable[[Any], float]:
    """A function that trains an untrained model on one batch of the run's data, as
    `scoter.models.training.loop.fit` does."""
    from scoter.models.training.loop import Descent
    from scoter.recommenders.fitting import total_loss

    model, reader, _ = method.untrained(chosen)
    model.train()
    descent = Descent(model, chosen.training, total_steps=1)
    return lambda batch: descent.step(
        0, lambda some: total_loss(model, some, reader, chosen.training.label_smoothing), batch
    )
