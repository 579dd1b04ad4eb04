"""`python -m paper_figures.paper`, which is `make paper`: every table and figure of README, docs
and theory.

All comes from committed results: nothing is computed that takes more than seconds and nothing is
fetched. At the end each file is listed with its sources.
"""

from pathlib import Path

import click

from benchmarks.documents import KINDS, ROOT, kinds, pages, renew
from benchmarks.tables.render import render
from benchmarks.tables.tables import datasets
from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.style import save
from paper_figures.suite_report import write_suite_report

OUT = ROOT / "artifacts" / "paper"
DRAWN = {"docs/method.svg": "method"}
"""Pictures of the documents, and the figures that they are."""


def make(out: Path = OUT, results: Path = RESULTS, root: Path = ROOT) -> list[tuple[str, str]]:
    """Write tables (Markdown, LaTeX, CSV, sources) and figures into `out`, renew the documents'
    tables in place.

    Returns each file with what it was made from; a figure that has not been measured has no file,
    and says so instead.
    """
    made = []
    for dataset in datasets(results):
        for form, ending in (
            ("markdown", "md"),
            ("latex", "tex"),
            ("csv", "csv"),
            ("sources", "sources.csv"),
        ):
            path = out / "tables" / f"{dataset}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(results, dataset, form), encoding="utf-8")
            made.append((_short(path, root), "main.parquet, ranks"))
    for page in pages(root):
        renew(page, results)
        made.append((_short(page, root), ", ".join(KINDS[kind].sources for kind in kinds(page))))
    for picture, name in DRAWN.items():
        (path,) = save(draw(name, results), (root / picture).parent, Path(picture).stem, ("svg",))
        made.append((_short(path, root), ", ".join(FIGURES[name].sources)))
    for name, entry in FIGURES.items():
        try:
            figure = draw(name, results)
        except NotMeasuredError:
            made.append((f"(no figure {name})", f"not measured yet: {', '.join(entry.sources)}"))
            continue
        made += [
            (_short(path, root), ", ".join(entry.sources))
            for path in save(figure, out / "figures", name)
        ]
    write_suite_report(out / "suite.html", results)
    return [*made, (_short(out / "suite.html", root), "benchmarks/results, theory")]


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=OUT, help="Where tables and figures go."
)
def main(out: Path) -> None:
    """Make every table and figure from committed results; list the files with their sources."""
    for path, source in make(out):
        click.echo(f"{path}  from {source}" if not path.startswith("(") else f"{path}  {source}")


if __name__ == "__main__":
    main()
