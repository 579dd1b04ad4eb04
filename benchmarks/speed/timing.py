"""Repeats in turn, their medians and spreads, and the machine that they were measured on."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from scoter.storage.store import git_commit

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
PACKAGES = ("scoter", "torch", "transformers", "numpy")


@dataclass(frozen=True)
class Sample:
    """One repeat."""

    units: int  # of work
    cpu_seconds: float  # of all threads
    wall_seconds: float

    @property
    def rate(self) -> float:
        """Units per CPU-second."""
        return self.units / self.cpu_seconds


Contender = Callable[[int], Sample]  # the repeat's number to what it took


class Clock:
    """CPU and wall time since it was made."""

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def stop(self, units: int) -> Sample:
        return Sample(units, time.process_time() - self.cpu, time.perf_counter() - self.wall)


def alternate(contenders: Mapping[str, Contender], repeats: int) -> dict[str, list[Sample]]:
    """Every contender in turn, `repeats` times, so that other load slows all alike.

    >>> turns = alternate({"a": lambda repeat: Sample(2 * repeat, 1.0, 1.0)}, 2)
    >>> [sample.units for sample in turns["a"]]
    [0, 2]
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name, work in contenders.items():
            samples[name].append(work(repeat))
    return samples


def summary(samples: Sequence[Sample]) -> dict[str, float | int]:
    """Median, least and greatest rates of a contender's repeats."""
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


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> dict[str, float]:
    """Ratio of the median rates, and the least and greatest ratio of one repeat."""
    paired = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
    value = median(sample.rate for sample in ours) / median(sample.rate for sample in theirs)
    return {"value": value, "min": min(paired), "max": max(paired)}


def machine(threads: int) -> dict[str, Any]:
    """The processor and what it multiplies natively, threads, load, versions and the commit."""
    facts, info = dict[str, str](), Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    flags = facts.get("flags", "").split()
    commit, _, dirty = git_commit().partition("+")
    return {
        "cpu": facts.get("model name", platform.processor() or platform.machine()),
        "cpu_family_model": f"{facts.get('cpu family', '?')}/{facts.get('model', '?')}",
        "flags": {flag: flag in flags for flag in FLAGS},
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit,
        "dirty": bool(dirty),
    }
