"""The report of the whole suite, read back: the numbers of the tables, the figures, and nothing
that reaches out."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from fake_run import HOSTILE, write_fake_explorer, write_fake_run
from page_reader import Page, allowed_scripts

from benchmarks.studies.reliability import FILE
from benchmarks.suite.collect import RESULTS
from benchmarks.tables import table
from benchmarks.tables.comparisons import METRICS, compare
from benchmarks.tables.tables import main_table, mean_over_users, sources
from paper_figures import suite_report
from paper_figures.figures import FIGURES
from paper_figures.style import dataset_name
from paper_figures.suite_report import write_suite_report

DATASET = "simulated-lambda-0"
DRAWN = ("method", "staleness", "latency")


@pytest.fixture
def small(monkeypatch):
    """One dataset and three figures; the whole of it is made in the browser's tests."""
    monkeypatch.setattr(suite_report, "datasets", lambda results: [DATASET])
    monkeypatch.setattr(suite_report, "FIGURES", {name: FIGURES[name] for name in DRAWN})


def read(path) -> tuple[str, Page]:
    raw = path.read_text(encoding="utf-8")
    page = Page(raw)
    assert page.open == []
    return raw, page


def test_every_number_of_a_table_stands_in_the_page_with_its_interval(small, tmp_path):
    write_suite_report(tmp_path / "suite.html")
    raw, page = read(tmp_path / "suite.html")
    for row in main_table(RESULTS, DATASET).to_dict("records"):
        for metric in METRICS:
            found = mean_over_users(RESULTS, DATASET, row["method"], metric)
            assert f"{row[metric]:.4f} [{found.low:.4f}, {found.high:.4f}]" in page.text
    for one in compare(RESULTS, DATASET):
        assert f"{one.method} \N{MINUS SIGN} {one.baseline}" in page.texts
        assert f"[{one.difference.low:+.4f}, {one.difference.high:+.4f}]" in page.texts
        assert f"{one.corrected:.2g}" in page.texts
    for run in sources(RESULTS, DATASET)["run"]:
        assert run[:16] in page.texts
    measured = json.loads((RESULTS / "leakage.json").read_text())
    for name in measured:
        assert f"Leakage: {dataset_name(name)}" in page.texts
    drawn = ("figure-method-", "figure-staleness-", "figure-latency-")
    assert raw.count('<figure class="drawn">') == sum(name in raw for name in drawn) == len(drawn)


def test_a_figure_that_nobody_has_measured_is_named(small, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("latency.json"))
    write_suite_report(tmp_path / "suite.html", tmp_path / "results")
    raw, page = read(tmp_path / "suite.html")
    assert "Not drawn: Latency of an answer." in page.text
    assert "figure-latency-" not in raw


def test_it_is_whole_by_itself_and_can_be_heard(small, tmp_path):
    run = write_fake_run(tmp_path / "run", titles=HOSTILE)
    explored = write_fake_explorer(run)
    write_suite_report(
        tmp_path / "suite.html", explored={HOSTILE[0]: explored, "another": explored}
    )
    raw, page = read(tmp_path / "suite.html")
    assert raw.count("<script") == 1
    assert page.scripts == allowed_scripts(raw)
    assert not re.search(r"https?:|@import|url\((?!#)", raw)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = {
        attributes["href"][1:]
        for _, attributes in page.tags
        if attributes.get("href", "").startswith("#")
    }
    assert links <= set(ids)
    assert len(page.of("caption")) == len(page.of("table"))
    assert all("scope" in attributes for attributes in page.of("th"))
    assert any(HOSTILE[0] in text for text in page.texts)
    for attributes in page.of("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes["aria-label"].strip()


def test_it_needs_no_torch(tmp_path):
    code = "import sys, paper_figures.suite_report; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


def test_parts_of_a_page_are_shown_without_their_marks(monkeypatch, tmp_path):
    shown = table.Table(("`a` | b", "n"), [("x", "**1,000**")])
    parts = ["# Heading", "Shares of `x`:", shown, ("One of `two`", "**and** more")]
    monkeypatch.setattr(
        suite_report.reliability, "pages", lambda results: {"kills": table.Page(parts)}
    )
    (page,) = (page for page in suite_report._pages(RESULTS) if page["source"] == FILE)
    assert page["parts"] == [
        {"sentence": "Shares of x:"},
        {"columns": ["a | b", "n"], "rows": [["x", "1,000"]]},
        {"sentence": "One of two and more"},
    ]
