"""Pages of tables, with words in Markdown between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from scoter.report.table import Table

Notes = tuple[str, ...]  # items of a list below a table


@dataclass(frozen=True)
class Page:
    """What was measured of one thing: tables, and words in Markdown between them."""

    parts: Sequence[Table | Notes | str]  # in order; a string is a paragraph or a heading

    def markdown(self) -> str:
        """The parts with an empty line between two, and a newline at the end."""
        return "\n\n".join(map(_markdown, self.parts)) + "\n"


def interval(mean: float, low: float, high: float) -> str:
    """A difference with the ends of its interval.

    >>> interval(0.01, -0.002, 0.03)
    '+0.0100 [-0.0020, +0.0300]'
    """
    return f"{float(mean):+.4f} [{float(low):+.4f}, {float(high):+.4f}]"


def _markdown(part: Table | Notes | str) -> str:
    if isinstance(part, str):
        return part
    return part.markdown() if isinstance(part, Table) else "\n".join(f"- {note}" for note in part)
