"""Nothing that comes from outside is executed, written beyond its place, or told to anybody."""

import ast
import io
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import scoter
from scoter.reasoning.discovery.picture import draw
from theory.errors import PremiseError
from theory.npz import read_arrays

ROOT = Path(scoter.__file__).parents[1]
SOURCES = sorted(
    path
    for room in ("scoter", "theory", "benchmarks", "paper_figures")
    for path in (ROOT / room).rglob("*.py")
)

MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "xmlrpc",
    "tarfile",
}
BARE_CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("torch", "load"),
    ("torch", "save"),
    ("os", "system"),
    ("os", "popen"),
    ("yaml", "load"),
    ("pd", "read_pickle"),
}
UNPACKERS = {"extract", "extractall", "unpack_archive"}


def offences(tree: ast.AST) -> list[str]:
    """What in a source could run code of a file, unpack an archive to a place of its choice, or
    hand text to a shell."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module)] if str(node.module).partition(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            name = node.func
            if isinstance(name, ast.Name) and name.id in BARE_CALLS:
                found.append(name.id)
            if isinstance(name, ast.Attribute):
                owner = name.value.id if isinstance(name.value, ast.Name) else ""
                found += (
                    [name.attr]
                    if (owner, name.attr) in ATTRIBUTES or name.attr in UNPACKERS
                    else []
                )
                keywords = {keyword.arg: keyword.value for keyword in node.keywords}
                if (owner, name.attr) == ("np", "load") and not _is(
                    keywords.get("allow_pickle"), False
                ):
                    found.append("np.load without allow_pickle=False")
            found += [
                "shell=True"
                for keyword in node.keywords
                if keyword.arg == "shell" and not _is(keyword.value, False)
            ]
    return found


def _is(node: ast.AST | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_a_file_says(path: Path) -> None:
    assert offences(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval('1')", "torch.load('x')", "np.load('x')",
        "np.load(x, allow_pickle=1)",
        "subprocess.run('ls', shell=True)", "archive.extractall('.')", "os.system('ls')",
        "__import__('os')", "import tarfile",
    ],
)  # fmt: skip
def test_the_walk_sees_what_it_looks_for(source: str) -> None:
    assert offences(ast.parse(source))
    assert not offences(
        ast.parse(
            "model.eval(); np.load('x', allow_pickle=False); ast.literal_eval('1'); re.compile('a')"
        )
    )


def test_an_npz_with_pickled_objects_or_an_explosion_is_refused(tmp_path: Path) -> None:
    class Fires:
        def __reduce__(self) -> tuple:
            return (open, (str(tmp_path / "fired"), "w"))

    np.savez(tmp_path / "objects.npz", x=np.array([Fires()], object), y=np.zeros(1))
    with pytest.raises(PremiseError, match="cannot be read"):
        read_arrays(tmp_path / "objects.npz", ("x", "y"), ("x", "y"))
    assert not (tmp_path / "fired").exists()
    sink = io.BytesIO()
    with (
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("x.npy", "w") as member,
    ):
        for _ in range(300):
            member.write(b"\x00" * (1 << 20))
    (tmp_path / "bomb.npz").write_bytes(sink.getvalue())
    with pytest.raises(PremiseError, match="unpacks to 314,572,800 bytes"):
        read_arrays(tmp_path / "bomb.npz", ("x", "y"), ("x", "y"))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$\\frac{$", "a & b"])
def test_a_picture_of_a_hostile_name_shows_it_as_text(name: str, tmp_path: Path) -> None:
    points = [
        {"x": 0.0, "y": 1.0, "recall": 0.5, "cluster": 0},
        {"x": 1.0, "y": 0.0, "recall": 0.1, "cluster": -1},
    ]
    draw(points, name, tmp_path / "picture.svg")
    texts = [
        element.text
        for element in ElementTree.parse(tmp_path / "picture.svg").iter()
        if element.tag.endswith("}text")
    ]
    assert f"2 {name}" in texts
    assert "<script" not in (tmp_path / "picture.svg").read_text()
