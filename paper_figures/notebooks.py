"""`python -m paper_figures.notebooks`: run the notebooks again and write their outputs.

`--check` runs nothing: it fails where a notebook holds metadata of a person or a machine, or has no
outputs.
"""

import json
import re
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What a program prints for programmers: addresses, arrays, dictionaries.
_CODE = re.compile(r"0x[0-9a-f]{6,}|\b(?:array|tensor)\(|dtype=|\{'")
_PRIVATE = ("/home/", "/Users/", "/root/", "/tmp/", "/work/", "C:\\")


def sanitised(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without times and versions; ids and execution counts are numbers in order.

    >>> cell = {"cell_type": "code", "id": "x9", "metadata": {}, "outputs": [], "source": []}
    >>> made = sanitised({"cells": [cell | {"execution_count": 7}], "metadata": {"user": "me"}})
    >>> made["cells"][0]["execution_count"], "user" in made["metadata"]
    (1, False)
    """
    cells, run = [], 0
    for number, cell in enumerate(notebook["cells"]):
        tags = cell["metadata"].get("tags")
        clean = {**cell, "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}}
        if cell["cell_type"] == "code":
            run += 1
            plain = {"execution_count": run, "metadata": {}}
            clean["execution_count"] = run
            clean["outputs"] = [
                {**output, **{key: plain[key] for key in plain if key in output}}
                for output in cell["outputs"]
            ]
        cells.append(clean)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def complaints(path: Path) -> list[str]:
    """One line for each thing in the notebook that must not be committed."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    if notebook != sanitised(notebook):
        lines.append(f"{path.name}: metadata, ids or counts are not plain")
    for number, cell in enumerate(notebook["cells"]):
        where, outputs = f"{path.name}, cell {number}", cell.get("outputs", [])
        words = [{**output, "data": _words(output.get("data"))} for output in outputs]
        text = json.dumps([cell["source"], words])
        marks = [mark for mark in _PRIVATE if mark in text]
        lines += [f"{where}: names a path of a machine ({mark})" for mark in marks]
        printed = "".join("".join(output.get("text", "")) for output in outputs)
        if code := _CODE.search(printed):
            lines.append(f"{where}: prints {code[0]!r}, which says nothing to a reader")
        if any(output["output_type"] == "error" for output in outputs):
            lines.append(f"{where}: ended in an error")
    if not any(cell.get("outputs") for cell in notebook["cells"]):
        remedy = f"run python -m paper_figures.notebooks {path.stem}"
        lines.append(f"{path.name}: has no outputs; {remedy}")
    return lines


def run_again(path: Path) -> None:
    """Execute a notebook from its own folder and write it back, outputs and all."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    made = sanitised(_merged(json.loads(nbformat.writes(notebook))))
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _merged(notebook: dict[str, Any]) -> dict[str, Any]:
    """Neighbouring pieces of one stream as one, as they came in pieces by chance."""
    for cell in notebook["cells"]:
        outputs: list[dict[str, Any]] = []
        for output in cell.get("outputs", []):
            last = outputs[-1] if outputs else {}
            streams = output["output_type"] == last.get("output_type") == "stream"
            if streams and output["name"] == last["name"]:
                last["text"] = [*last["text"], *output["text"]]
            else:
                outputs.append(output)
        if cell["cell_type"] == "code":
            cell["outputs"] = outputs
    return notebook


def _words(data: dict[str, Any] | None) -> dict[str, Any]:
    return {kind: value for kind, value in (data or {}).items() if not kind.startswith("image/")}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--check", is_flag=True, help="Run nothing; fail where one cannot be committed.")
def main(names: tuple[str, ...], check: bool) -> None:
    """Run the notebooks, or those whose file name begins with one of NAMES; write their outputs."""
    every = sorted(FOLDER.glob("*.ipynb"))
    paths = [path for path in every if not names or path.name.startswith(names)]
    if not paths:
        raise click.ClickException(f"no notebook begins with {', '.join(names)}")
    if check:
        if lines := [line for path in paths for line in complaints(path)]:
            raise click.ClickException("\n".join(lines))
        click.echo(f"{len(paths)} notebooks are fit to be committed")
        return
    for path in paths:
        run_again(path)
        click.echo(path.name)


if __name__ == "__main__":
    main()
