"""`python -m paper_figures.notebooks`: run the notebooks again and write their outputs, with
metadata that says nothing.

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
_CODE = re.compile(r"0x[0-9a-f]{6,}|\b(?:array|tensor)\(|dtype=|\{'")
"""What a program prints for programmers: addresses, arrays, dictionaries."""
_PRIVATE = ("/home/", "/Users/", "/root/", "/tmp/", "/work/", "C:\\")


def sanitised(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with plain metadata: no times, no versions, ids by number, execution counts in
    order.

    >>> cell = {
    ...     "cell_type": "code",
    ...     "id": "x9",
    ...     "metadata": {"execution": {"t": 1}},
    ...     "execution_count": 7,
    ...     "outputs": [],
    ... }
    >>> sanitised({"cells": [cell | {"source": []}], "metadata": {"user": "me"}})["cells"][0][
    ...     "execution_count"
    ... ]
    1
    """
    cells, run = [], 0
    for number, cell in enumerate(notebook["cells"]):
        clean = {
            **cell,
            "id": f"cell-{number}",
            "metadata": {
                key: cell["metadata"][key] for key in ("tags",) if cell["metadata"].get(key)
            },
        }
        if cell["cell_type"] == "code":
            run += 1
            clean["execution_count"] = run
            clean["outputs"] = [
                {
                    **output,
                    **({"execution_count": run} if "execution_count" in output else {}),
                    **({"metadata": {}} if "metadata" in output else {}),
                }
                for output in cell["outputs"]
            ]
        cells.append(clean)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def complaints(path: Path) -> list[str]:
    """What must not be in a committed notebook.

    Foreign metadata, a path of some machine, a value printed as code, a cell without its run, an
    error.

    >>> complaints(FOLDER / "01_data.ipynb")
    []
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = []
    if notebook != sanitised(notebook):
        found.append(f"{path.name}: metadata, ids or counts are not plain")
    for number, cell in enumerate(notebook["cells"]):
        text = json.dumps(
            [
                cell["source"],
                [{**out, "data": _words(out.get("data"))} for out in cell.get("outputs", [])],
            ]
        )
        found += [
            f"{path.name}, cell {number}: names a path of a machine ({mark})"
            for mark in _PRIVATE
            if mark in text
        ]
        printed = "".join("".join(out.get("text", "")) for out in cell.get("outputs", []))
        if code := _CODE.search(printed):
            found.append(
                f"{path.name}, cell {number}: prints {code[0]!r}, which says nothing to a reader"
            )
        if any(output["output_type"] == "error" for output in cell.get("outputs", [])):
            found.append(f"{path.name}, cell {number}: ended in an error")
    if not any(cell.get("outputs") for cell in notebook["cells"]):
        found.append(
            f"{path.name}: has no outputs; run python -m paper_figures.notebooks {path.stem}"
        )
    return found


def run_again(path: Path) -> None:
    """Execute a notebook from its own folder and write it back, outputs and all."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    text = json.dumps(
        sanitised(_merged(json.loads(nbformat.writes(notebook)))), indent=1, ensure_ascii=False
    )
    path.write_text(text + "\n", encoding="utf-8")


def _merged(notebook: dict[str, Any]) -> dict[str, Any]:
    """Neighbouring pieces of one stream as one, as they came in pieces by chance."""
    for cell in notebook["cells"]:
        outputs: list[dict[str, Any]] = []
        for output in cell.get("outputs", []):
            last = outputs[-1] if outputs else {}
            if (
                output["output_type"] == last.get("output_type") == "stream"
                and output["name"] == last["name"]
            ):
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
@click.option(
    "--check", is_flag=True, help="Run nothing; fail where a notebook is not fit to be committed."
)
def main(names: tuple[str, ...], check: bool) -> None:
    """Run the notebooks (or those whose file name begins with one of NAMES) and write their
    outputs."""
    paths = [
        path for path in sorted(FOLDER.glob("*.ipynb")) if not names or path.name.startswith(names)
    ]
    if not paths:
        raise click.ClickException(f"no notebook begins with {', '.join(names)}")
    if check:
        if found := [line for path in paths for line in complaints(path)]:
            raise click.ClickException("\n".join(found))
        click.echo(f"{len(paths)} notebooks are fit to be committed")
        return
    for path in paths:
        run_again(path)
        click.echo(path.name)


if __name__ == "__main__":
    main()
