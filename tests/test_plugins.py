"""The three ways in: a decorator, an entry point, a named file."""

import os
import sys

import pytest

from scoter.cli.settings import comments
from scoter.data.datasets import register_dataset
from scoter.errors import ConfigError
from scoter.models.backbones.item_scorer import ItemScorer
from scoter.plugins import VARIABLE, Plugins, load_plugins
from scoter.reasoning.language.registry import register_language_model


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
    ("name", "content", "message"),
    [
        ("missing.py", None, "FileNotFoundError"),
        ("no_such_module_x", None, "ModuleNotFoundError: No module named 'no_such_module_x'"),
        ("broken.py", "x = 1\n1 / 0", r"ZeroDivisionError in line 2: division by zero\); mend it"),
        ("leaves.py", "raise SystemExit(3)", r"SystemExit in line 1: 3\); mend it"),
        ("syntax.py", "import os\ndef f(:\n", r"SyntaxError.*line 2"),
        ("lacking.py", "import os\n\nimport no_such_x", "in line 3: No module named 'no_such_x'"),
        (
            "tiger.py",
            "import scoter\nscoter.register_backbone('tiger')(int)",
            "tiger.py': 'tiger' cannot be registered as a backbone .*; choose another than popul",
        ),
        (
            "empty.py",
            "import scoter\nscoter.register_fusion('empty')(int)",
            "'empty' cannot be a fusion .*<class 'int'> lacks ordered, slot_labels, .*; define",
        ),
    ],
)
def test_what_cannot_be_imported_or_registered_is_named(
    name, content, message, tmp_path, monkeypatch
):
    place = tmp_path / name
    if content:
        place.write_text(content)
    monkeypatch.setenv(VARIABLE, str(place) if name.endswith(".py") else name)
    with pytest.raises(ConfigError, match=f"the plug-in '.*{message}"):
        load_plugins()


def test_a_dataclass_with_postponed_annotations_is_found_by_its_module(tmp_path, monkeypatch):
    file = tmp_path / "postponed.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Config:\n    dim: int = 8  # width of states\n"
    )
    monkeypatch.setenv(VARIABLE, str(file))
    load_plugins()
    assert comments(sys.modules["scoter_plugin_postponed"].Config) == {"dim": "width of states"}


def test_names_of_our_own_are_taken_and_abstract_methods_must_be_defined(shapes):
    with pytest.raises(ConfigError, match="'path' cannot be registered as a shape: scoter uses"):
        shapes.register("path")
    taken = ((register_dataset, "simulated"), (register_language_model, "catalog"))
    for register, name in taken:
        with pytest.raises(ConfigError, match=f"'{name}' cannot be registered"):
            register(name)
    with pytest.raises(ConfigError, match="ItemScorer'> lacks states; define them"):
        Plugins("a backbone", "scoter.backbones", {}).register("half")(ItemScorer)


def test_an_entry_point_that_fails_is_named(shapes, tmp_path, monkeypatch):
    info = tmp_path / "broken_shapes-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[scoter.shapes]\nround = math:no_such\n")
    (info / "METADATA").write_text("Name: broken-shapes\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="'round' of the entry points scoter"):
        shapes.get("round")


def test_the_digest_of_a_plug_in_follows_the_file_that_defines_it(shapes, tmp_path, monkeypatch):
    digests = set()
    for name, number in (("first", 1), ("second", 1), ("third", 2)):
        file = tmp_path / f"{name}.py"
        file.write_text(f"class Shape:\n    number = {number}\n")
        monkeypatch.setenv(VARIABLE, str(file))
        load_plugins()
        shapes.register(name)(sys.modules[f"scoter_plugin_{name}"].Shape)
        digests.add(shapes.digest(name))
    assert len(digests) == 2
    assert shapes.digest("path") is None
    typed_in_a_console = type("Shape", (), {"__module__": "nowhere"})
    shapes.register("typed")(typed_in_a_console)
    assert shapes.digest("typed") == shapes.digest("typed") not in digests
