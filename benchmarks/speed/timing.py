"""Alternating repeats, medians and spreads; and what the numbers were measured on."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
PACKAGES = ("scoter", "torch", "transformers", "numpy")


@dataclass(frozen=True)
class Sample:
    """One repeat: how many units of work, and the seconds they took (CPU seconds are those of all
    threads)."""

    units: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def rate(self) -> float:
        """Units per CPU-second."""
        return self.units / self.cpu_seconds


class Clock:
    """CPU and wall time since it was made.

    Example:
        >>> Clock().stop(3).units
        3
    """

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def stop(self, units: int) -> Sample:
        return Sample(units, time.process_time() - self.cpu, time.perf_counter() - self.wall)


def alternate(
    contenders: Mapping[str, Callable[[int], Sample]], repeats: int
) -> dict[str, list[Sample]]:
    """Every contender in turn, `repeats` times over, so that a busy minute hurts all alike.
    Contenders get the repeat's number.

    Example:
        >>> turns = alternate(
        ...     {"a": lambda r: Sample(r, 1.0, 1.0), "b": lambda r: Sample(2 * r, 1.0, 1.0)}, 2
        ... )
        >>> [sample.units for sample in turns["b"]]
        [0, 2]
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name, work in contenders.items():
            samples[name].append(work(repeat))
    return samples


def summary(samples: list[Sample]) -> dict[str, float | int]:
    """Median, least and greatest rates of a contender's repeats.

    Example:
        >>> summary([Sample(10, 1.0, 2.0), Sample(30, 1.0, 2.0), Sample(20, 1.0, 2.0)])[
        ...     "per_cpu_second"
        ... ]
        20.0
    """
    rates = [sample.rate for sample in samples]
    return {
        "per_cpu_second": median(rates),
        "per_cpu_second_min": min(rates),
        "per_cpu_second_max": max(rates),
        "per_wall_second": median(sample.units / sample.wall_seconds for sample in samples),
        "cpu_seconds": sum(sample.cpu_seconds for sample in samples),
        "wall_seconds": sum(sample.wall_seconds for sample in samples),
        "units": sum(sample.units for sample in samples),
        "repeats": len(samples),
    }


def ratio(ours: list[Sample], theirs: list[Sample]) -> dict[str, float]:
    """How many times as much work a CPU-second does: ratio of medians, and the least and greatest
    ratio of one repeat."""
    paired = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
    value = median(sample.rate for sample in ours) / median(sample.rate for sample in theirs)
    return {"value": value, "min": min(paired), "max": max(paired)}


def machine(threads: int) -> dict[str, Any]:
    """The processor, what it can multiply natively, threads, load, versions and the commit."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    present = set(told.get("flags", "").split())
    return {
        "cpu": told.get("model name", platform.processor() or platform.machine()),
        "cpu_family_model": f"{told.get('cpu family', '?')}/{told.get('model', '?')}",
        "flags": {flag: flag in present for flag in FLAGS},
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        **commit(),
    }


def commit() -> dict[str, Any]:
    """The commit, and whether files of the package differ from it."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parents[2]
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        ).stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(git("status", "--porcelain", "--", "scoter", "benchmarks")),
    }
