"""A table of the collected results as text, Markdown, LaTeX or CSV."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.comparisons import COMPARED, LEVEL, METRICS
from benchmarks.tables.tables import main_table, notes, sources
from scoter.errors import ConfigError
from scoter.report.page import cpu_time

FORMS = ("text", "markdown", "latex", "csv", "sources")
_HEADINGS = (
    "method",
    "R@5",
    "N@5",
    "R@10",
    "N@10",
    "seeds",
    "epochs",
    "CPU time",
    "R@10 - tiger",
    "N@10 - tiger",
)


def render(results: Path | str = RESULTS, dataset: str = "beauty", form: str = "text") -> str:
    """The main table of a dataset as `text`, `markdown`, `latex` or `csv`, ending in a newline.

    The first three are rounded for reading and carry the notes; `csv` holds every column in full
    precision, and `sources` (also comma-separated) says which run and commit each measured row
    comes from.
    """
    if form not in FORMS:
        raise ConfigError(f"format {form!r} is unknown; choose from: {', '.join(FORMS)}")
    table = sources(results, dataset) if form == "sources" else main_table(results, dataset)
    if form in ("csv", "sources"):
        return table.to_csv(index=False, lineterminator="\n")
    return _BODIES[form](_cells(table), notes(results, dataset))


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """The rounded cells of the body; an empty cell says that the number is not known."""
    rows = []
    for row in table.to_dict("records"):
        values = [
            _number(row[metric], "{:.4f}") + _number(row[f"deviation {metric}"], " ± {:.4f}")
            for metric in METRICS
        ]
        cost = [
            _number(row["seeds"], "{:.0f}"),
            _number(row["epochs"], "{:.0f}"),
            cpu_time(3600 * row["cpu_hours"]),
        ]
        rows.append(
            [row["method"], *values, *cost, *(_compared(row, metric) for metric in COMPARED)]
        )
    return rows


def _compared(row: Mapping[Any, Any], metric: str) -> str:
    lift = _number(row[f"lift {metric}"], "({:+.1f} %)")
    if pd.isna(row[f"difference {metric}"]):
        return lift
    found = "{:+.4f} [{:+.4f}, {:+.4f}]".format(
        *(row[f"{kind} {metric}"] for kind in ("difference", "low", "high"))
    )
    return f"{found}{'*' if row[f'corrected p {metric}'] < LEVEL else ''} {lift}"


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else form.format(value)


def _text(rows: list[list[str]], lines: list[str]) -> str:
    widths = [
        max(len(row[column]) for row in [list(_HEADINGS), *rows])
        for column in range(len(_HEADINGS))
    ]

    def line(cells: list[str]) -> str:
        placed = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "  ".join([cells[0].ljust(widths[0]), *placed]).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(list(_HEADINGS)), rule, *(line(row) for row in rows), "", *lines]) + "\n"


def _markdown(rows: list[list[str]], lines: list[str]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(_HEADINGS) - 1)
    return (
        "\n".join(
            [
                line(list(_HEADINGS)),
                rule,
                *(line(row) for row in rows),
                "",
                *(f"- {note}" for note in lines),
            ]
        )
        + "\n"
    )


def _latex(rows: list[list[str]], lines: list[str]) -> str:
    def line(cells: list[str]) -> str:
        return (
            " & ".join(
                re.sub(r"([&%_#$])", r"\\\1", cell)
                .replace("-0.", "$-$0.")
                .replace("(-", "($-$")
                .replace("±", r"$\pm$")
                for cell in cells
            )
            + r" \\"
        )

    head = [f"% {note}" for note in lines] + [
        r"\begin{tabular}{l" + "r" * (len(_HEADINGS) - 1) + "}",
        r"\toprule",
    ]
    return (
        "\n".join(
            [
                *head,
                line(list(_HEADINGS)),
                r"\midrule",
                *(line(row) for row in rows),
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


_BODIES: dict[str, Callable[[list[list[str]], list[str]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
}
