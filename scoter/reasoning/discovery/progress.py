"""How far discovery is, for the person who waits: bars on a terminal, and an estimate in words."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

Progress = Callable[[str, int, int], None]
"""Called with a part's name, how much of the part is done, and how much it has."""


def silent(part: str, done: int, total: int) -> None:
    """Shows nothing."""


class ProgressBars:
    """A bar for each part of a discovery on a terminal's stderr, and lines for `say`.

    The first line says what is planned, the second, once `sample` of them are done, how long all of
    it will take here; then a line for each part that is done.

    Example:
        >>> bars = ProgressBars(print, 64, "patterns")
        discover: 64 patterns are planned
    """

    def __init__(self, say: Callable[[str], None], planned: int, of: str, sample: int = 1) -> None:
        self._say, self._planned, self._of, self._sample = say, planned, of, sample
        self._bar: tqdm | None = None
        self._part, self._began, self._estimated = "", 0.0, False
        say(f"discover: {planned:,} {of} are planned")

    def __call__(self, part: str, done: int, total: int) -> None:
        if self._bar is None or part != self._part:
            self.close()
            # `disable=None` leaves the bar out where stderr is no terminal.
            settings = {"desc": part, "unit": f" {self._of}", "leave": False, "disable": None}
            self._bar = tqdm(total=total, file=sys.stderr, **settings)
            self._part, self._began = part, time.monotonic()
        self._bar.update(done - self._bar.n)
        seconds = time.monotonic() - self._began
        if not self._estimated and done >= min(self._sample, total) and done:
            self._estimated = True
            self._say(f"discover: about {seconds / done * self._planned:,.0f} s on this machine")
        if done == total:
            self.close()
            self._say(f"{part}: {total:,} {self._of}, {seconds:.0f} s")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
