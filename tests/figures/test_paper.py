"""`make paper`: every file named with its sources, documents unchanged where they were true, LaTeX
that compiles."""

import json
import re
import shutil
import subprocess

import pytest

from benchmarks.documents import ROOT, pages
from benchmarks.tables.tables import datasets, main_table
from paper_figures.figures import FIGURES
from paper_figures.paper import BESIDE_QUICKSTART, DRAWN, GALLERY, beside_quickstart, gallery, make
from scoter.cli.lesson import WHOLE

TEX = ROOT / "paper_figures" / "paper.tex"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A copy of the documents, and what was made from them."""
    folder = tmp_path_factory.mktemp("paper")
    for path in [*pages(), *(ROOT / made for made in (*DRAWN, GALLERY, BESIDE_QUICKSTART))]:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder, make(folder / "out", root=folder)


@pytest.mark.slow
def test_every_figure_and_table_is_there_or_said_to_be_missing(made):
    folder, files = made
    named = [path for path, _ in files]
    for name, entry in FIGURES.items():
        if f"(no figure {name})" in named:
            assert not (folder / "out" / "figures" / f"{name}.pdf").exists()
        else:
            assert (folder / "out" / "figures" / f"{name}.pdf").stat().st_size > 2000, entry.sources
    for dataset in datasets():
        assert f"out/tables/{dataset}.tex" in named
    assert all(source for _, source in files)
    assert files[-1][0] == "out/suite.html"
    listed = {folder / path for path, _ in files}
    assert {path for path in (folder / "out").rglob("*") if path.is_file()} <= listed


@pytest.mark.slow
def test_committed_documents_hold_what_the_results_say(made):
    folder, files = made
    assert {path.relative_to(ROOT).as_posix() for path in pages()} <= {path for path, _ in files}
    for path in [*pages(), *(ROOT / made for made in (*DRAWN, GALLERY, BESIDE_QUICKSTART))]:
        assert (folder / path.relative_to(ROOT)).read_text() == path.read_text()


def test_the_page_of_figures_is_made_from_the_captions():
    assert (ROOT / GALLERY).read_text() == gallery()
    assert all((ROOT / picture).exists() for picture in DRAWN)


def test_what_the_quickstart_prints_beside_its_run_is_what_was_collected():
    assert (ROOT / BESIDE_QUICKSTART).read_text() == beside_quickstart()
    table = main_table(dataset="beauty").set_index("method")
    for name, found in json.loads(WHOLE.read_text()).items():
        for metric, value in found.items():
            assert value == pytest.approx(table.loc[name, metric], abs=6e-5)


def test_the_paper_names_every_figure():
    assert set(re.findall(r"\\fig\{([a-z]+)\}", TEX.read_text())) == set(FIGURES)


@pytest.mark.slow
def test_the_paper_compiles(made, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip(
            "no pdflatex here; Debian packages texlive-latex-base and texlive-latex-recommended "
            "have it"
        )
    folder, _ = made
    command = [
        "pdflatex",
        "-interaction=nonstopmode",
        "-halt-on-error",
        rf"\def\made{{{folder / 'out'}}}\input{{{TEX}}}",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    (pdf,) = tmp_path.glob("*.pdf")
    assert pdf.stat().st_size > 50_000
