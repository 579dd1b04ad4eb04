"""`python -m paper_figures`: every figure of the paper as PDF and PNG, from committed results."""

from pathlib import Path

import click

from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.style import save
from scoter.cli.console import escape_what_cannot_be_shown

OUT = Path("artifacts/figures")


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=OUT,
    show_default=True,
    help="Where the files go.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(list(FIGURES)), help="One figure; repeatable."
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice(["pdf", "png", "svg"]),
    default=("pdf", "png"),
    show_default=True,
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=RESULTS,
    help="The folder of collected results.",
)
def main(out: Path, only: tuple[str, ...], forms: tuple[str, ...], results: Path) -> None:
    """Draw the paper's figures; what has not been measured is listed and not drawn."""
    absent = []
    for name in only or FIGURES:
        try:
            figure = draw(name, results).figure
        except NotMeasuredError as reason:
            absent.append(str(reason))
            continue
        for path in save(figure, out, name, forms):
            click.echo(f"{path}  from {', '.join(FIGURES[name].sources)}")
    for line in absent:
        click.echo(line)


if __name__ == "__main__":
    escape_what_cannot_be_shown()
    main()
