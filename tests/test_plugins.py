"""The three ways in: a decorator, an entry point, a named file."""

import os

import pytest

from scoter.errors import ConfigError
from scoter.plugins import VARIABLE, Plugins, load_plugins


@pytest.fixture
def shapes() -> Plugins:
    return Plugins("a shape", "scoter.shapes", {"path": "pathlib:Path"})


def test_registered_built_in_and_entry_points_are_found(shapes, tmp_path, monkeypatch):
    from pathlib import Path

    info = tmp_path / "more_shapes-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[scoter.shapes]\nround = math:sqrt\n")
    (info / "METADATA").write_text("Name: more-shapes\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    shapes.register("square")(len)
    assert shapes.names() == ["path", "square", "round"]
    assert shapes.get("path") is Path
    assert shapes.get("square")([1, 2]) == 2
    assert shapes.get("round")(9) == 3


def test_an_unknown_name_lists_the_nearest(shapes):
    shapes.register("square")(len)
    with pytest.raises(ConfigError, match=r"'sqare' is not a shape; choose from: path, square.*"):
        shapes.get("sqare")


def test_a_file_named_in_the_environment_is_imported_once(tmp_path, monkeypatch):
    file, counter = tmp_path / "mine.py", tmp_path / "count"
    file.write_text(f"with open({str(counter)!r}, 'a') as f: f.write('x')\n")
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(file), "json"]))
    load_plugins()
    load_plugins()
    assert counter.read_text() == "x"


@pytest.mark.parametrize(
    ("place", "content"), [("missing.py", None), ("broken.py", "1 / 0"), ("no_such_module_x", None)]
)
def test_what_cannot_be_imported_is_named(place, content, tmp_path, monkeypatch):
    place = str(tmp_path / place) if place.endswith(".py") else place
    if content:
        (tmp_path / "broken.py").write_text(content)
    monkeypatch.setenv(VARIABLE, place)
    with pytest.raises(ConfigError, match="cannot be imported"):
        load_plugins()
