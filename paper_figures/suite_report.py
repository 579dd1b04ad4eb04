"""The whole suite as one HTML file, from committed results alone.

Templates, style and script are those of a run's report (`scoter.report`).
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.claims import claims, verdict
from benchmarks.studies import reliability
from benchmarks.suite.cells import suite
from benchmarks.suite.collect import load_rows
from benchmarks.suite.plan import plan
from benchmarks.tables import discovery_page, leakage_page, sensitivity_page
from benchmarks.tables.comparisons import METRICS, compare
from benchmarks.tables.notes import notes
from benchmarks.tables.table import Page, Table
from benchmarks.tables.tables import cpu_hours, datasets, main_table, mean_over_users, sources
from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.style import dataset_name, method_name, style
from scoter.errors import DataError
from scoter.evaluation.significance import Estimate
from scoter.report.charts import colour, whiskers
from scoter.report.page import cpu_time, write_page
from scoter.report.run_report import compared, shoppers

PLOTTED = "recall@10"
FIRST = "lift"  # the figure that stands in the summary
SCALE = 1.4 * 4 / 3  # pixels to a point; a screen is read from further away than paper
_NOISE = re.compile(
    r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->|\s+(?=\n)", re.DOTALL
)


def write_suite_report(
    out: Path, results: Path = RESULTS, explored: Mapping[str, Path] | None = None
) -> None:
    """Write the report of everything in the folder `results` to `out`.

    `explored` has finished runs by name, each with its `explorer.json`. Committed results hold no
    histories, so without it the report shows no users.
    """
    rows, names = load_rows(results), datasets(results)
    figures = sorted(FIGURES, key=lambda name: name != FIRST)
    methods = {(row["dataset"], row["method"]) for row in rows}
    texts = {name: path.read_text(encoding="utf-8") for name, path in (explored or {}).items()}
    explorers = {name: shoppers(json.loads(text)) for name, text in texts.items()}
    write_page(
        out,
        "suite.html",
        Path(__file__).parent,
        metrics=METRICS,
        plotted=PLOTTED,
        datasets=[_dataset(results, name) for name in names],
        facts=[
            ("datasets", len(names)),
            ("methods, over all datasets", len(methods)),
            ("CPU-hours", f"{cpu_hours(results):.1f}"),
            ("commits", len({row["commit"] for row in rows})),
        ],
        headline=discovery_page.adds_pages(results)["headline"].parts[0],
        claims=list(_claims(results)),
        figures=[_figure(results, name) for name in figures],
        pages=list(_pages(results)),
        cells=_cells(results),
        explorers=explorers,
    )


def _claims(results: Path) -> Iterator[tuple[str, str]]:
    for each in claims("readme"):
        try:
            found = _plain(verdict(each, results))
        except DataError:  # the folder holds other results than the committed ones
            found = "not measured here"
        yield _plain(each["said"]), found


def _dataset(results: Path, dataset: str) -> dict[str, Any]:
    rows = []
    for row in main_table(results, dataset).to_dict("records"):
        measured = row["source"] == "measured"
        cells = {metric: _cell(results, dataset, row, metric, measured) for metric in METRICS}
        costs = [("seeds", "{:.0f}"), (f"deviation {PLOTTED}", "{:.4f}"), ("epochs", "{:.0f}")]
        shown = [(row[key], form) for key, form in costs]
        more = [("", "") if np.isnan(cost) else (form.format(cost), cost) for cost, form in shown]
        spent = cpu_time(3600 * row["cpu_hours"])
        more.append((spent, row["cpu_hours"] if spent else ""))
        name = row["method"]
        rows.append({"name": name, "colour": colour(name) if measured else None})
        rows[-1] |= {"about": method_name(name), "cells": cells, "more": more}
    intervals = [row["cells"][PLOTTED] for row in rows]
    known = [end if end is not None and np.isfinite(end.low) else None for end in intervals]
    made = sources(results, dataset).to_dict("records")
    return {
        "key": dataset,
        "name": dataset_name(dataset),
        "main": dataset in discovery_page.DATASETS,
        "methods": {"rows": rows, "whiskers": whiskers(known, 200)},
        "differences": _differences(results, dataset),
        "notes": notes(results, dataset),
        "sources": [(r["method"], r["seed"], r["run"][:16], r["commit"][:12]) for r in made],
    }


def _cell(
    results: Path, dataset: str, row: Mapping[Any, Any], metric: str, measured: bool
) -> Estimate | None:
    """A metric with its interval over users; NaN for ends without ranks, None without a number."""
    if np.isnan(row[metric]):
        return None
    mean = mean_over_users(results, dataset, row["method"], metric) if measured else None
    return Estimate(row[metric], *((mean.low, mean.high) if mean else (np.nan, np.nan)))


def _differences(results: Path, dataset: str) -> list[dict[str, Any]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for pair in compare(results, dataset):
        gap = pair.difference
        if gap is not None and pair.corrected is not None:
            row = {"better": pair.method, "worse": pair.baseline, "p": pair.corrected}
            row |= {"mean": gap.mean, "low": gap.low, "high": gap.high}
            rows.setdefault(pair.metric, []).append(row)
    metrics = sorted(rows, key=lambda metric: metric != PLOTTED)
    return [compared(metric, rows[metric]) for metric in metrics]


def _figure(results: Path, name: str) -> dict[str, Any]:
    entry = FIGURES[name]
    about = {"name": name, "title": entry.title, "caption": entry.caption}
    about["sources"] = entry.sources
    try:
        picture = draw(name, results)
    except NotMeasuredError as reason:
        return {**about, "svg": None, "reason": str(reason)}
    svg = inline_svg(picture.figure, f"figure-{name}", entry.caption)
    return {**about, "svg": svg, "numbers": picture.numbers()}


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an `<svg>` element, larger than in print, that refers to nothing elsewhere.

    `name` keeps its ids apart; `label` is what a screen reader says.

    >>> str(inline_svg(draw("beams").figure, "beams", "a <b>"))[:40]
    '<svg role="img" aria-label="a &lt;b&gt;"'
    """
    file = io.StringIO()
    with style(), rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = _NOISE.sub("", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'\b(?:xlink:)?href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    head = re.match(r'<svg[^>]*?viewBox="(?P<box>[^"]*)"[^>]*>', text)
    assert head is not None
    width = SCALE * float(head["box"].split()[2])
    size = f'style="width:{width:.0f}px" viewBox="{head["box"]}"'
    return Markup(f'<svg role="img" aria-label="{escape(label)}" {size}>' + text[head.end() :])


def _pages(results: Path) -> Iterator[dict[str, Any]]:
    """What was measured beside the tables: a heading, a source, tables and sentences of each."""
    kinds = {"Leakage": leakage_page, "Sensitivity": sensitivity_page, "Reliability": reliability}
    for kind, module in kinds.items():
        if (results / module.FILE).exists():
            for name, page in module.pages(results).items():
                heading = f"{kind}: {dataset_name(name)}"
                yield {"heading": heading, "source": module.FILE, "parts": list(_parts(page))}


def _parts(page: Page) -> Iterator[dict[str, Any]]:
    """Tables and sentences without their marks; the heading is above them already."""
    for part in page.parts:
        if isinstance(part, Table):
            columns, *rows = ([_plain(cell) for cell in row] for row in (part.columns, *part.rows))
            yield {"columns": columns, "rows": rows}
        elif not (text := part if isinstance(part, str) else " ".join(part)).startswith("#"):
            yield {"sentence": _plain(text)}


def _plain(text: str) -> str:
    return text.replace("`", "").replace("*", "")


def _cells(results: Path) -> list[tuple[Any, ...]]:
    """The seeds of each table and method that are done, of an older recipe, and missing."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for planned in plan(suite(), results):
        place = (planned.cell.table, planned.cell.method)
        counts.setdefault(place, Counter())[planned.state] += 1
    states = ("done", "older recipe", "missing")
    return [(*place, *(count[state] for state in states)) for place, count in counts.items()]
