"""Pages of tables, with words in Markdown between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scoter.evaluation.significance import Estimate
from scoter.report.table import Table

Notes = tuple[str, ...]  # items of a list below a table


@dataclass(frozen=True)
class Page:
    """What was measured of one thing: tables, and words in Markdown between them."""

    parts: Sequence[Table | Notes | str]  # in order; a string is a paragraph or a heading

    def markdown(self) -> str:
        """The parts with an empty line between two, and a newline at the end."""
        return "\n\n".join(map(_markdown, self.parts)) + "\n"


def interval(difference: Estimate | Mapping[str, Any], sign: str = "+") -> str:
    """A difference, or with the sign "" a mean, and the ends of its interval.

    >>> interval({"mean": 0.01, "low": -0.002, "high": 0.03})
    '+0.0100 [-0.0020, +0.0300]'
    """
    known = difference if isinstance(difference, Mapping) else vars(difference)
    mean, low, high = (f"{known[end]:{sign}.4f}" for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _markdown(part: Table | Notes | str) -> str:
    if isinstance(part, str):
        return part
    return part.markdown() if isinstance(part, Table) else "\n".join(f"- {note}" for note in part)
