"""The first step of a killable child, which loads nothing: the modules were loaded where it was forked from."""

import os
import time


def run(root: str, raw: str, tree: str, announced: str) -> None:
    """Do the work of `killable`, announcing each piece with the time in the file `announced`."""
    from benchmarks.faults import killable

    descriptor = os.open(announced, os.O_WRONLY | os.O_APPEND)
    killable.run(root, raw, tree, lambda line: os.write(descriptor, f"{time.monotonic()} {line}\n".encode()))
