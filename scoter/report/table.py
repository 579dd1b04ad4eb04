"""A table of texts, made from rows of values: shown by commands and by the pages of reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Texts under column names; `numeric` columns are set flush right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> "Table":
        """The table of some rows, whose columns are those of all rows, in order.

        >>> print(Table.of([{"method": "tiger", "recall@10": 0.08125, "users": 12101}]).text())
        method  recall@10   users
        tiger      0.0813  12,101
        """
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        known = [[row.get(name) for row in rows] for name in columns]
        number = int | float | None
        numeric = tuple(all(isinstance(value, number) for value in values) for values in known)
        cells = tuple(tuple(cell(row.get(name)) for name in columns) for row in rows)
        return cls(columns, cells, numeric)

    def text(self) -> str:
        """Lines of aligned columns, the names first."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(self._placed(line, widths)).rstrip() for line in lines)

    def _placed(self, line: Sequence[str], widths: Sequence[int]) -> list[str]:
        return [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, self.numeric, strict=True)
        ]


def cell(value: object) -> str:
    """A value as a cell: four decimals, thousands marked, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(cell, value)) if isinstance(value, list | tuple) else str(value)
