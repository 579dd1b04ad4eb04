"""Notebooks are fit to be committed, and a digit that is wrong in a results file is noticed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paper_figures.notebook import SIZES, VARIABLE, chosen_size
from paper_figures.notebooks import FOLDER, complaints, run_again, sanitised
from scoter.errors import ConfigError

ROOT = Path(__file__).parents[2]
EVERY = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)


@EVERY
def test_committed_notebooks_are_clean_and_have_run(path):
    assert complaints(path) == []


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def shown(path: Path) -> list[str]:
    """What each cell of a notebook prints or shows, as text."""
    texts = []
    for cell in cells(path):
        parts = [
            output.get("text") or output["data"]["text/plain"] for output in cell.get("outputs", [])
        ]
        texts.append("\n".join("".join(part) for part in parts))
    return texts


@EVERY
def test_a_notebook_asks_answers_and_shows(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path))
    assert text.index("**Question.**") < text.index("**Answer.**")
    first = next(cell for cell in cells(path) if cell["cell_type"] == "code")
    assert first["metadata"] == {"tags": ["parameters"]}
    assert re.search(r"^SIZE = \"results\"", "".join(first["source"]), re.M)
    kinds = [
        kind for cell in cells(path) for o in cell.get("outputs", []) for kind in o.get("data", ())
    ]
    assert {"image/png", "text/html"} <= set(kinds)
    assert max(len(line) for text in shown(path) for line in text.splitlines()) <= 100


@pytest.mark.parametrize(
    ("name", "dataset", "of_dataset", "of_seed"),
    [
        ("01_data", "yelp", "coverage = ", "a history"),
        ("09_information_in_real_chains", "beauty-shuffled-ties", "by_step =", "chao_shen"),
    ],
)
def test_edited_parameters_reach_the_results(tmp_path, name, dataset, of_dataset, of_seed):
    path = tmp_path / f"{name}.ipynb"
    text = (FOLDER / path.name).read_text()
    for old, new in (
        ('DATASET = \\"beauty\\"', f'DATASET = \\"{dataset}\\"'),
        ("SEED = 0", "SEED = 3"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    run_again(path)
    sources = ["".join(cell["source"]) for cell in cells(path)]
    for part in (of_dataset, of_seed):
        (number,) = (number for number, source in enumerate(sources) if part in source)
        before, after = (shown(folder / path.name)[number] for folder in (FOLDER, tmp_path))
        assert before
        assert after
        assert before != after


def test_what_must_not_be_committed_is_named(tmp_path):
    notebook = json.loads((FOLDER / "01_data.ipynb").read_text())
    notebook["metadata"]["authors"] = [{"name": "somebody"}]
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["/home/somebody/data"]}]
    (tmp_path / "bad.ipynb").write_text(json.dumps(notebook))
    found = "\n".join(complaints(tmp_path / "bad.ipynb"))
    assert "metadata, ids or counts are not plain" in found
    assert "names a path of a machine (/home/)" in found
    assert "authors" not in sanitised(notebook)["metadata"]


@pytest.mark.parametrize(
    "text", ["<Axes at 0x7fbbc99d4220>", "array([1., 2.])", "{'recall@5': 0.35}", "tensor(3)"]
)
def test_what_is_printed_as_code_is_named(tmp_path, text):
    notebook = json.loads((FOLDER / "01_data.ipynb").read_text())
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": ["recall -0.05\n", text]}
    ]
    (tmp_path / "bad.ipynb").write_text(json.dumps(notebook))
    (found,) = complaints(tmp_path / "bad.ipynb")
    assert "bad.ipynb, cell 1: prints" in found
    assert "which says nothing to a reader" in found


def test_the_switch_is_the_environments_word(monkeypatch, capsys):
    assert chosen_size("results") == "results"
    monkeypatch.setenv(VARIABLE, "smoke")
    assert chosen_size("results") == "smoke"
    assert capsys.readouterr().out.splitlines() == [
        "from committed results",
        "computed again, at smoke size",
    ]
    monkeypatch.setenv(VARIABLE, "huge")
    with pytest.raises(ConfigError, match=f"huge.*choose one of {', '.join(SIZES)}"):
        chosen_size("results")


def validate(copy: Path, notebook: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "--nbval",
        f"notebooks/{notebook}",
    ]
    environment = {
        "PYTHONPATH": str(copy),
        "PATH": "/usr/bin:/bin",
        "HOME": str(copy),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_planted_wrong_digit_makes_validation_fail(tmp_path):
    for name in ("benchmarks", "paper_figures", "scoter", "theory", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert validate(tmp_path, "01_data.ipynb").returncode == 0
    path = tmp_path / "benchmarks" / "results" / "inputs.json"
    text = path.read_text()
    assert "22363" in text
    path.write_text(text.replace("22363", "22364", 1))
    failed = validate(tmp_path, "01_data.ipynb")
    assert failed.returncode == 1
    assert "22364" in failed.stdout
