"""Light things stay light: what a fresh process loads, and how long help takes."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = (
    "scoter",
    "scoter.evaluation",
    "scoter.data",
    "scoter.config",
    "scoter.storage.store",
    "scoter.cli.main",
    "benchmarks.tables.tables",
    "paper_figures",
)


def in_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_leave_torch_unloaded(module: str) -> None:
    code = f"import pkgutil, importlib, sys; m = importlib.import_module({module!r})\n"
    code += (
        "[importlib.import_module(m.__name__ + '.' + x.name) for x in "
        "pkgutil.iter_modules(getattr(m, '__path__', []))"
    )
    code += (
        f" if m.__name__ in ('scoter.evaluation', 'scoter.data', "
        f"'paper_figures')]\nprint('torch' in sys.modules)  # {module}"
    )
    assert in_fresh_process(code) == "False"


def fastest(arguments: list[str], repeats: int = 3) -> float:
    """CPU seconds: what a quiet machine takes, also where others keep this one busy."""
    times = []
    for _ in range(repeats):
        before = os.times()
        subprocess.run(arguments, capture_output=True, check=True)
        after = os.times()
        times.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return min(times)


def test_import_and_help_are_quick() -> None:
    bare = fastest([sys.executable, "-c", "pass"])
    assert fastest([sys.executable, "-c", "import scoter"]) - bare < 0.3
    assert fastest([sys.executable, "-m", "scoter.cli.main", "--help"]) - bare < 0.5


def test_public_names_resolve() -> None:
    import scoter

    assert scoter.run.__module__ == "scoter.runs"
    with pytest.raises(AttributeError, match="it offers"):
        _ = scoter.nothing


def test_dir_lists_what_there_is_and_type_checkers_see_the_same() -> None:
    import scoter

    assert sorted([*scoter.__all__, "__version__"]) == dir(scoter)
    assert all(hasattr(scoter, name) for name in dir(scoter))
    tree = ast.parse(Path(scoter.__file__).read_text())
    imported = {
        alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert imported == set(scoter.__all__)


def test_a_name_that_left_warns_with_the_new_one() -> None:
    import scoter

    with pytest.warns(FutureWarning, match=r"scoter\.TIGER fits and recommends"):
        _ = scoter.Tiger


def test_workers_do_not_compete_for_processors() -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = int(os.environ["OMP_NUM_THREADS"])
    fits = workers * threads <= max(workers, os.cpu_count() or 1)
    assert workers == 1 or fits, "unset OMP_NUM_THREADS"
