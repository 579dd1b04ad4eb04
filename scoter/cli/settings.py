"""The values of a config as paths that `--set` takes, with the comments beside its fields."""

import ast
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from textwrap import dedent
from typing import TypedDict

from scoter.types import Json


class Setting(TypedDict):
    """One value of a config."""

    path: str
    value: Json
    comment: str


def settings(value: object, path: str = "", comment: str = "") -> Iterator[Setting]:
    """Every value in a config class, nested ones by dotted path, in the order of the fields.

    >>> from scoter.config import DataConfig
    >>> [setting["path"] for setting in settings(DataConfig())]
    ['name', 'max_users', 'simulated', 'protocol']
    """
    before = f"{path}." if path else ""
    if is_dataclass(value) and not isinstance(value, type):
        beside = comments(type(value))
        for spec in fields(value):
            inside = getattr(value, spec.name)
            yield from settings(inside, before + spec.name, beside.get(spec.name, ""))
    elif isinstance(value, Mapping):
        for name, inside in value.items():
            yield from settings(inside, f"{before}{name}", comment)
    else:
        plain = json.loads(json.dumps(value, default=asdict))
        yield {"path": path, "value": plain, "comment": comment}


def shared(rows: Sequence[Setting], methods: Sequence[str]) -> list[Setting]:
    """The same with `methods.*` once where every method has an equal value."""
    values = {row["path"]: json.dumps(row["value"]) for row in rows}
    short: dict[str, Setting] = {}
    for row in rows:
        head, _, rest = row["path"].partition(".")
        method = next((name for name in methods if rest.startswith(f"{name}.")), None)
        if head == "methods" and method is not None:
            inside = rest[len(method) + 1 :]
            everywhere = {values.get(f"methods.{name}.{inside}") for name in methods}
            if len(everywhere) == 1 and len(methods) > 1:
                row = Setting({**row, "path": f"methods.*.{inside}"})
        short.setdefault(row["path"], row)
    return list(short.values())


@cache
def comments(kind: type) -> dict[str, str]:
    """The comment at the end of each field of a class and its bases, else the one above it."""
    inherited = [comments(base) for base in kind.__bases__ if is_dataclass(base)]
    source = dedent(inspect.getsource(kind))
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    own = {
        line.target.id: lines[line.end_lineno - 1][line.end_col_offset :].strip(" #")
        or _comment(lines[line.lineno - 2])
        for line in ast.walk(body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if line.end_lineno is not None and line.end_col_offset is not None
    }
    return {name: text for texts in (*inherited, own) for name, text in texts.items()}


def _comment(line: str) -> str:
    text = line.strip()
    return text.strip(" #") if text.startswith("#") else ""
