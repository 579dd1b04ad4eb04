"""Latency and memory of a bundle of SCoTER beside one of TIGER, and the cost of a training step.

Requests alternate between the bundles in one process, for the same users, so that other load on the
machine slows both alike. Each request is one user, twenty beams and ten items that the user has not
seen. Latency is wall time; the processor time beside it varies less where processors are shared.
Peak memory is that of a process of its own. No request may open a socket, and calls of a language
model are counted. `results/latency.json` holds the last measurement.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn
from unittest.mock import patch

import click
import numpy as np
import torch

from benchmarks.studies import study, training_cost
from benchmarks.studies.buckets import described
from benchmarks.studies.study import Row
from benchmarks.studies.training_cost import STEPS, ratio, step_costs, steps_option
from benchmarks.suite.collect import RESULTS
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.openai_model import OpenAIModel
from scoter.seeding import derive_seed
from scoter.serving.bundle import export_run
from scoter.serving.bundle_reader import open_bundle
from scoter.stages.finished import find_methods
from scoter.storage.store import git_commit

FILE = "latency.json"
REQUESTS, WARM_UP, THREADS = 300, 30, (1, 2)

_PEAK = """
import sys, torch
from pathlib import Path
from scoter.models.training.memory import peak_mib
from scoter.serving.bundle_reader import open_bundle
torch.set_num_threads(1)
bundle = open_bundle(Path(sys.argv[1]))
for user in list(bundle.user_rows)[:50]: bundle.rank(user)
print(peak_mib())
"""


def measure(
    runs: Sequence[Path],
    arm: str = "scoter",
    requests: int = REQUESTS,
    steps: int = STEPS,
    results: Path = RESULTS,
) -> Row:
    """Measure `arm` against `tiger` of the finished `runs`; write `latency.json` and return it."""
    methods = find_methods(runs, ("tiger", arm))
    with TemporaryDirectory() as folder:
        bundles = {name: Path(folder) / name for name in methods}
        for name, method in methods.items():
            export_run(method.run.store, method.run.artefact, name, bundles[name], texts=False)
        rows = [latencies(bundles, arm, requests, count) for count in THREADS]
        memory = {name: _peak_mib(path) for name, path in bundles.items()}
        sizes = {
            name: sum(file.stat().st_size for file in path.iterdir())
            for name, path in bundles.items()
        }
    measured = {
        **described(methods, arm),
        "commit": git_commit(),
        "beams": 20,
        "language_model_calls": sum(row["language_model_calls"] for row in rows),
        "latency": rows,
        "peak_mib": memory,
        "bundle_bytes": sizes,
        "training": step_costs(methods[arm], steps),
    }
    study.write(results / FILE, measured)
    return measured


def latencies(bundles: Mapping[str, Path], arm: str, requests: int, threads: int) -> Row:
    """Median and 99th percentile of both bundles in milliseconds, and the ratio of the medians."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    opened = {name: open_bundle(path) for name, path in bundles.items()}
    everybody, order = sorted(opened["tiger"].user_rows), derive_seed(0, "latency")
    users = np.random.default_rng(order).permutation(everybody)[: requests + WARM_UP].tolist()
    wall: dict[str, list[float]] = {name: [] for name in opened}
    spent: dict[str, list[float]] = {name: [] for name in opened}
    with _offline() as calls:
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
        "language_model_calls": len(calls),
        **{name: {**_quantiles(wall[name]), "cpu": _quantiles(spent[name])} for name in opened},
        "p50_ratio": ratio(wall[arm], wall["tiger"], np.median),
        "p50_ratio_cpu": ratio(spent[arm], spent["tiger"], np.median),
    }


@contextmanager
def _offline() -> Iterator[list[CompletionRequest]]:
    calls, complete = [], OpenAIModel.complete

    def counted(model: OpenAIModel, request: CompletionRequest) -> Completion:
        calls.append(request)
        return complete(model, request)

    def denied(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("a request wanted the network")

    with patch("socket.socket", denied), patch.object(OpenAIModel, "complete", counted):
        yield calls


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.quantile(milliseconds, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99)}


def _peak_mib(bundle: Path) -> float:
    command = [sys.executable, "-c", _PEAK, str(bundle)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def as_text(measured: Row) -> str:
    lines, sizes = [], measured["bundle_bytes"]
    for row in measured["latency"]:
        quantiles = "{} p50 {p50:.2f} p99 {p99:.2f} ms"
        both = ", ".join(quantiles.format(name, **row[name]) for name in ("tiger", measured["arm"]))
        lines.append(f"{row['threads']} thread(s), {row['requests']} requests each: {both}")
        ratios = {label: row[label] for label in ("p50_ratio", "p50_ratio_cpu")}
        lines += [f"  {label} {training_cost.spread(of)}" for label, of in ratios.items()]
    lines.append(training_cost.as_text(measured["training"]))
    for name, mib in measured["peak_mib"].items():
        lines.append(f"{name}: peak {mib:.0f} MiB, bundle {sizes[name] / 2**20:.1f} MiB")
    return "\n".join([*lines, f"language model calls: {measured['language_model_calls']}"])


@click.command()
@study.runs_argument
@study.arm_option
@study.option("--requests", type=click.IntRange(1), default=REQUESTS)
@steps_option
@study.results_option
def command(runs: tuple[Path, ...], arm: str, requests: int, steps: int, results: Path) -> None:
    click.echo(as_text(measure(runs, arm, requests, steps, results=results)))
