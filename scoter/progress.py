"""Bars on standard error for whoever waits; they show only where it is a terminal."""

import sys
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

Progress = Callable[[str, int, int], None]
"""Called with a part's name, how much of the part is done, and how much it has."""

SECONDS = 2  # what takes less needs no bar of what was counted


@contextmanager
def counting(
    what: str, total: int, unit: str, shown: bool = True
) -> Iterator[Callable[[Sized], None]]:
    """A function that takes what is done, piece by piece; a bar shows how much of `total` it is."""
    from tqdm import tqdm

    looks = {"unit": f" {unit}", "leave": False, "file": sys.stderr, "delay": SECONDS}
    with tqdm(desc=what, total=total, disable=None if shown else True, **looks) as bar:

        def note(done: Sized) -> None:
            bar.update(len(done))

        yield note


@contextmanager
def parts(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """A function that takes the name of each of `total` parts when it begins."""
    from tqdm import tqdm

    looks = {"unit": " part", "leave": False, "file": sys.stderr, "mininterval": 0}
    with tqdm(desc=title, total=total, disable=None, **looks) as bar:

        def begin(part: str) -> None:
            bar.set_description(f"{title}: {part}", refresh=False)
            bar.update()

        yield begin


@contextmanager
def under_way(what: str, shown: bool = True) -> Iterator[None]:
    """A line that says what is under way, until it is done."""
    from tqdm import tqdm

    looks = {"bar_format": "{desc} ...", "leave": False, "file": sys.stderr}
    with tqdm(desc=what, disable=None if shown else True, **looks):
        yield


def on_stderr(line: str) -> None:
    """Writes a line to standard error, above a bar where there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def silent(*_: object) -> None:
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
        from tqdm import tqdm

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
