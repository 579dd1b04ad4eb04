"""How much memory this process has needed so far."""

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory of this process, in MiB.

    On Linux, `getrusage` gives a child the peak of its parent; the high-water mark in `/proc`
    belongs to the process alone.
    """
    status = Path("/proc/self/status")
    mark = re.search(r"^VmHWM:\s+(\d+)", status.read_text() if status.exists() else "", re.M)
    if mark is not None:
        return int(mark[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
