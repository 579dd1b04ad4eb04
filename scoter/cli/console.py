"""What a console is given to show."""

import io
import sys


def escape_what_cannot_be_shown() -> None:
    """Escape each character that the console's encoding lacks, so that no title ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what a notebook puts in its place
            stream.reconfigure(errors="backslashreplace")
