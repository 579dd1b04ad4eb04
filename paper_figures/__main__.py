"""`python -m paper_figures`: every figure of the paper as PDF and PNG, from committed results."""

from pathlib import Path

import click

from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.style import save
from scoter.cli.console import escape_what_cannot_be_shown

OUT = Path("artifacts/figures")
PRINTED = ("pdf", "png")
_PATH = click.Path(path_type=Path)
_NAMES, _FORMS = click.Choice(list(FIGURES)), click.Choice([*PRINTED, "svg"])


@click.command()
@click.option("--out", type=_PATH, default=OUT, show_default=True, help="Where the files go.")
@click.option("--only", multiple=True, type=_NAMES, help="One figure; repeatable.")
@click.option("--form", "forms", multiple=True, type=_FORMS, default=PRINTED, show_default=True)
@click.option("--results", type=_PATH, default=RESULTS, help="The folder of collected results.")
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
            click.echo(f"{path}  from {FIGURES[name].sources}")
    for line in absent:
        click.echo(line)


if __name__ == "__main__":
    escape_what_cannot_be_shown()
    main()
