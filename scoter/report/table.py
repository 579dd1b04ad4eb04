"""A table of cells that are ready to read, as aligned text, Markdown or LaTeX.

Reports in HTML show `columns` and `rows` with their own template.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"[-+(<±]*[.\d]")  # how a cell begins that holds one


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
    align: str = ""  # "l" or "r" per column; "": all but the first to the right that hold numbers

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> "Table":
        """The table of some values, with the columns of all rows; numbers are set flush right.

        >>> print(Table.of([{"method": "tiger", "recall@10": 0.08125, "users": 12101}]).text())
        method  recall@10   users
        tiger      0.0813  12,101
        """
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        known = [[row.get(name) for row in rows] for name in columns]
        number = int | float | None
        numeric = [all(isinstance(value, number) for value in values) for values in known]
        cells = tuple(tuple(cell(row.get(name)) for name in columns) for row in rows)
        return cls(columns, cells, "".join("lr"[right] for right in numeric))

    @property
    def sides(self) -> str:
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        numeric = [all(map(_NUMBER.match, filter(None, column))) for column in columns]
        return self.align or "l" + "".join("lr"[right] for right in numeric[1:])

    def text(self, ruled: bool = False) -> str:
        """Columns padded with spaces; `ruled` draws a line below the head."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join(
                cell.rjust(width) if side == "r" else cell.ljust(width)
                for cell, width, side in zip(line, widths, self.sides, strict=True)
            ).rstrip()
            for line in lines
        ]
        rule = ["-" * (sum(widths) + 2 * (len(widths) - 1))] if ruled else []
        return "\n".join([padded[0], *rule, *padded[1:]])

    def markdown(self) -> str:
        """A pipe table, without a newline at its end."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in (self.columns, *self.rows)]
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        rule = "".join("---:|" if side == "r" else "---|" for side in self.sides)
        return "\n".join([lines[0], f"|{rule}", *lines[1:]])

    def latex(self) -> str:
        """A `tabular` with the rules of booktabs."""
        head, *body = [" & ".join(map(_latex, row)) + r" \\" for row in (self.columns, *self.rows)]
        above = [rf"\begin{{tabular}}{{{self.sides}}}", r"\toprule", head, r"\midrule"]
        return "\n".join([*above, *body, r"\bottomrule", r"\end{tabular}"])


def cell(value: object) -> str:
    """A value as a cell: four decimals, thousands marked, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(cell, value)) if isinstance(value, list | tuple) else str(value)


def _latex(cell: str) -> str:
    escaped = re.sub(r"([&%_#$])", r"\\\1", cell)
    return escaped.replace("-0.", "$-$0.").replace("(-", "($-$").replace("±", r"$\pm$")
