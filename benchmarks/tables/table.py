"""A table of cells that are ready to read, as text, Markdown or LaTeX; and pages of such tables.

Reports in HTML show `columns` and `rows` with their own template.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    r"""Rows of cells below the names of their columns.

    >>> print(Table(("arm", "users"), [("a|b", "3")]).markdown())
    | arm | users |
    |---|---:|
    | a\|b | 3 |
    """

    columns: Sequence[str]  # one name per column
    rows: Sequence[Sequence[str]]  # one cell per column; "" where nothing is known
    align: str = ""  # "l" or "r" per column; "": the first to the left, all others to the right

    @property
    def sides(self) -> str:
        return self.align or "l" + "r" * (len(self.columns) - 1)

    def markdown(self) -> str:
        """A pipe table, without a newline at its end."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in (self.columns, *self.rows)]
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        rule = "".join("---:|" if side == "r" else "---|" for side in self.sides)
        return "\n".join([lines[0], f"|{rule}", *lines[1:]])

    def text(self) -> str:
        """Columns padded with spaces, a rule below the head."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join(
                cell.rjust(width) if side == "r" else cell.ljust(width)
                for cell, width, side in zip(line, widths, self.sides, strict=True)
            ).rstrip()
            for line in lines
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([padded[0], rule, *padded[1:]])

    def latex(self) -> str:
        """A `tabular` with the rules of booktabs."""
        head, *body = [" & ".join(map(_latex, row)) + r" \\" for row in (self.columns, *self.rows)]
        above = [rf"\begin{{tabular}}{{{self.sides}}}", r"\toprule", head, r"\midrule"]
        return "\n".join([*above, *body, r"\bottomrule", r"\end{tabular}"])


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


def _latex(cell: str) -> str:
    escaped = re.sub(r"([&%_#$])", r"\\\1", cell)
    return escaped.replace("-0.", "$-$0.").replace("(-", "($-$").replace("±", r"$\pm$")
