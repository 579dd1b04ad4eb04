"""The main table of a dataset as text, Markdown, LaTeX or CSV."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.comparisons import COMPARED, LEVEL, METRICS
from benchmarks.tables.notes import notes
from benchmarks.tables.table import Page, Table, interval
from benchmarks.tables.tables import main_table, sources
from scoter.errors import ConfigError
from scoter.report.page import cpu_time

FORMS = ("text", "markdown", "latex", "csv", "sources")
_COLUMNS = (
    *("method", "R@5", "N@5", "R@10", "N@10", "seeds", "epochs", "CPU time"),
    *("R@10 - tiger", "N@10 - tiger"),
)


def render(results: Path | str = RESULTS, dataset: str = "beauty", form: str = "text") -> str:
    """The main table of a dataset in one of the `FORMS`, ending in a newline.

    `text`, `markdown` and `latex` are rounded and carry the notes. `csv` has every column in full
    precision; `sources`, also comma-separated, has the run and commit of each measured row.
    """
    if form not in FORMS:
        raise ConfigError(f"format {form!r} is unknown; choose from: {', '.join(FORMS)}")
    if form in ("csv", "sources"):
        frame = (sources if form == "sources" else main_table)(results, dataset)
        return frame.to_csv(index=False, lineterminator="\n")
    table = Table(_COLUMNS, _cells(main_table(results, dataset)))
    lines = notes(results, dataset)
    if form == "markdown":
        return Page([table, tuple(lines)]).markdown()
    if form == "latex":
        return "\n".join([*(f"% {note}" for note in lines), table.latex(), ""])
    return "\n".join([table.text(ruled=True), "", *lines, ""])


def _cells(table: pd.DataFrame) -> list[list[str]]:
    rows = []
    for row in table.to_dict("records"):
        values = [
            _number(row[metric], "{:.4f}") + _number(row[f"deviation {metric}"], " ± {:.4f}")
            for metric in METRICS
        ]
        counts = [_number(row[name], "{:.0f}") for name in ("seeds", "epochs")]
        compared = [_compared(row, metric) for metric in COMPARED]
        rows.append([row["method"], *values, *counts, cpu_time(3600 * row["cpu_hours"]), *compared])
    return rows


def _compared(row: Mapping[str, float], metric: str) -> str:
    lift = _number(row[f"lift {metric}"], "({:+.1f} %)")
    if pd.isna(row[f"difference {metric}"]):
        return lift
    kinds = {"mean": "difference", "low": "low", "high": "high"}
    ends = interval({end: row[f"{kind} {metric}"] for end, kind in kinds.items()})
    return f"{ends}{'*' if row[f'corrected p {metric}'] < LEVEL else ''} {lift}"


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else form.format(value)
