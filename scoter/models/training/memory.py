"""How much memory this process has needed so far."""

import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory of this process, in MiB.

    Linux hands the peak that `getrusage` reports down to child processes, so a small child of a
    large parent would report its parent's; the high-water mark in `/proc` belongs to the process
    alone.

    Example:
        >>> peak_mib() > 1
        True
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            (line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None
        )
        if line is not None:
            return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
