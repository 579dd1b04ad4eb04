"""`make paper`: every table and figure of README, docs and theory, from committed results.

Nothing is fetched. At the end each file is listed with its sources.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

import click

from benchmarks.documents import KINDS, ROOT, kinds, pages, renew
from benchmarks.tables.comparisons import COMPARED
from benchmarks.tables.render import render
from benchmarks.tables.tables import datasets, mean_over_users
from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.style import save
from paper_figures.suite_report import write_suite_report
from scoter.experiments import quickstart

OUT = ROOT / "artifacts" / "paper"
DRAWN = {f"docs/figures/{name}.svg": name for name in FIGURES}  # documents' pictures
GALLERY = "docs/figures.md"
BESIDE_QUICKSTART = "scoter/cli/whole_beauty.json"
_PATH = click.Path(path_type=Path)
_ENDINGS = {"markdown": "md", "latex": "tex", "csv": "csv", "sources": "sources.csv"}


def make(out: Path = OUT, results: Path = RESULTS, root: Path = ROOT) -> list[tuple[str, str]]:
    """Write tables and figures into `out`; renew the documents' tables in place.

    Returns each file with its sources; a figure that is not measured says so and has no file.
    """
    made = [*_tables(out / "tables", results), *_documents(root, results)]
    made += _figures(out / "figures", results)
    write_suite_report(out / "suite.html", results)
    made.append((str(out / "suite.html"), "benchmarks/results, theory"))
    return [(path.removeprefix(f"{root}/"), sources) for path, sources in made]


def _tables(out: Path, results: Path) -> Iterator[tuple[str, str]]:
    out.mkdir(parents=True, exist_ok=True)
    for dataset in datasets(results):
        for form, ending in _ENDINGS.items():
            path = out / f"{dataset}.{ending}"
            path.write_text(render(results, dataset, form), encoding="utf-8")
            yield str(path), "main.parquet, ranks"


def _documents(root: Path, results: Path) -> Iterator[tuple[str, str]]:
    for page in pages(root):
        renew(page, results)
        yield str(page), ", ".join(KINDS[kind].sources for kind in kinds(page))
    (root / GALLERY).write_text(gallery(), encoding="utf-8")
    yield str(root / GALLERY), "paper_figures/figures.py"
    (root / BESIDE_QUICKSTART).write_text(beside_quickstart(results), encoding="utf-8")
    yield str(root / BESIDE_QUICKSTART), "main.parquet, ranks"
    for picture, name in DRAWN.items():
        path = root / picture
        save(draw(name, results).figure, path.parent, path.stem, ("svg",))
        yield str(path), FIGURES[name].sources


def gallery() -> str:
    """The page of all figures with their captions."""
    parts = ["# Figures", "Made by `make paper` from committed results; not to be edited by hand."]
    for name, entry in FIGURES.items():
        parts += [f"## {name}", f"![{entry.title}](figures/{name}.svg)"]
        text = f"**{entry.title}** {entry.finding} From {entry.sources}."
        parts.append(fill(text, 100, break_on_hyphens=False))
    return "\n\n".join(parts) + "\n"


def beside_quickstart(results: Path = RESULTS) -> str:
    """The quickstart's methods on all of Beauty, which it prints below its own small table."""
    methods = {
        name: {metric: _mean(results, name, metric) for metric in COMPARED}
        for name in quickstart().methods
    }
    return json.dumps(methods, indent=1) + "\n"


def _mean(results: Path, method: str, metric: str) -> float | None:
    found = mean_over_users(results, "beauty", method, metric)
    return None if found is None else round(found.mean, 4)


def _figures(out: Path, results: Path) -> Iterator[tuple[str, str]]:
    for name, entry in FIGURES.items():
        try:
            figure = draw(name, results).figure
        except NotMeasuredError:
            yield f"(no figure {name})", f"not measured yet: {entry.sources}"
            continue
        yield from ((str(path), entry.sources) for path in save(figure, out, name))
        caption = out / f"{name}.tex"
        caption.write_text(entry.caption.replace("%", r"\%"), encoding="utf-8")
        yield str(caption), "paper_figures/figures.py"


@click.command()
@click.option("--out", type=_PATH, default=OUT, help="Where tables and figures go.")
def main(out: Path) -> None:
    """Make every table and figure from committed results; list the files with their sources."""
    for path, source in make(out):
        click.echo(f"{path}  {'' if path.startswith('(') else 'from '}{source}")


if __name__ == "__main__":
    main()
