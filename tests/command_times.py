"""`python tests/command_times.py COMMAND ...`: what commands cost, into results/times.json.

Wall time depends on what else the machine does; CPU time and memory hardly do. The memory is that
of the largest process.
"""

import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "times.json"


def measure(command: str) -> dict[str, object]:
    """One run of a command, in a process that forgets the children of earlier ones."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(shlex.split(command), check=True, cwd=RESULT.parents[2], stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(spent, 1),
        "peak_mib": round(after.ru_maxrss / 2**10, 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


if __name__ == "__main__":
    if len(sys.argv) > 2:  # peak memory is over all children of a process, so one process for each
        for command in sys.argv[1:]:
            subprocess.run([sys.executable, __file__, command], check=True)
    else:
        (command,) = sys.argv[1:]
        known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        known[command] = measure(command)
        RESULT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
