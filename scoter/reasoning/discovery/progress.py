"""How far discovery is, for the person who waits: an estimate in words, and bars on a terminal."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

Progress = Callable[[str, int, int], None]
"""Called with a part's name, how much of the part is done, and how much it has."""


def silent(part: str, done: int, total: int) -> None:
    """Shows nothing."""


class ProgressBars:
    """Lines for `say`, and on a terminal a bar on stderr for each part of a discovery.

    Once `sample` are done, a line says how long all takes; each part that is done gets a line.

    >>> bars = ProgressBars(print, 64, "patterns")
    discover: about 64 patterns to try
    """

    def __init__(self, say: Callable[[str], None], planned: int, of: str, sample: int = 1) -> None:
        self._say, self._planned, self._of, self._sample = say, planned, of, sample
        self._bar: tqdm | None = None
        self._part, self._began, self._estimated = "", 0.0, False
        say(f"discover: about {planned:,} {of} to try")

    def __call__(self, part: str, done: int, total: int) -> None:
        if self._bar is None or part != self._part:
            # `disable=None` shows no bar where stderr is no terminal.
            unit, to = f" {self._of}", sys.stderr
            self._bar = tqdm(desc=part, total=total, unit=unit, leave=False, file=to, disable=None)
            self._part, self._began = part, time.monotonic()
        self._bar.update(done - self._bar.n)
        seconds = time.monotonic() - self._began
        if done and done >= min(self._sample, total) and not self._estimated:
            self._estimated = True
            self._say(f"discover: about {seconds / done * self._planned:,.0f} s in all")
        if done == total:
            self._bar.close()
            self._bar = None
            self._say(f"{part}: {total:,} {self._of}, {seconds:.0f} s")
