"""Bars on standard error for whoever waits; they show only where it is a terminal."""

import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager

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


def silent(part: str) -> None:
    """Shows nothing."""
