"""A table of chains that anybody can write: parquet, one chain a row (`docs/chains.md`).

A chain is of an item, named by the catalogue's own `key`, or of a user's first items: `user`,
`prefix` (how many) and `history`, their digest (`folder.history_digests`). A row lists its steps
in any order; a role of the pattern that it lacks is a missing step.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from scoter.errors import DataError
from scoter.reasoning.chains.requests import RECOMMENDATION
from scoter.reasoning.writing.job import VisibleItems, recommending
from scoter.storage.untrusted import parse_json, read_parquet
from scoter.types import Catalog, Json, ReasoningPattern, Split

_TEXT = pa.string()
_OWNERS = {"item": {"key": _TEXT}, "user": {"user": _TEXT, "prefix": pa.int64(), "history": _TEXT}}
_STEPS = pa.list_(pa.struct([("role", _TEXT), ("text", _TEXT)]))
_ORIGIN = ("pattern", "model", "revision", "sampling", "prompt_hash", "written", "licence")
_SHARED = {"steps": _STEPS, "recommendations": pa.list_(_TEXT), **dict.fromkeys(_ORIGIN, _TEXT)}
_ONE = ("pattern", "model", "revision", "prompt_hash")  # of one value in a table


@dataclass
class Checked:
    """The chains of a table that fit the data, and what became of the others."""

    rows: list[tuple[int, int, list[list[str]]]] = field(default_factory=list)
    unknown: int = 0  # rows whose item or user the data lack
    refused: list[str] = field(default_factory=list)  # why rows cannot be used


def about(path: Path) -> dict[str, Json]:
    """What a table says of how its chains were written, as `reader.Written` has it."""
    table, by = _open(path)
    values = {name: table[name].unique().to_pylist() for name in _ONE}
    for name, several in values.items():
        if len(several) != 1 or several[0] is None:
            listed = ", ".join(map(repr, several[:3])) or "no row"
            raise DataError(f"{path} has {listed} as its {name}; write one value into each row")
    one = {name: several[0] for name, several in values.items()}
    revision = f"@{one['revision'][:12]}" if one["revision"] else ""
    try:
        stated = ReasoningPattern.from_json(parse_json(one["pattern"].encode()))
        stated.distinct_labels()
    except (ValueError, DataError) as error:
        wanted = '[{"role": "use"}, {"role": "next"}], for example'
        raise DataError(f"{path}: its pattern is {error}; write it as {wanted}") from None
    pattern = stated.to_json()
    if pattern[-1:] != [{"role": RECOMMENDATION, "parameters": {}}]:
        pattern.append({"role": RECOMMENDATION, "parameters": {}})
    model = f"{one['model']}{revision}"
    return {"pattern": pattern, "model": model, "prompt_version": one["prompt_hash"], "by": by}


def read(path: Path, split: Split, catalog: Catalog) -> Checked:
    """The chains of a table; a `DataError` where a row cannot be used."""
    checked = check(path, split, catalog)
    if checked.refused:
        count = f"{len(checked.refused):,} rows of {path} cannot be used"
        raise DataError(f"{count}; the first: {checked.refused[0]}. Write them again, or leave out")
    return checked


def check(path: Path, split: Split, catalog: Catalog) -> Checked:
    """Each row against the data: its owner, its history and its steps."""
    table, by = _open(path)
    pattern = ReasoningPattern.from_json(about(path)["pattern"])
    roles = [step.label() for step in pattern.steps[:-1]]
    keys = catalog.keys if by == "item" else split.train.user_keys
    numbers = {key: number for number, key in enumerate(keys)}
    visible = VisibleItems(split, catalog)
    checked, seen = Checked(), Counter[tuple[str, int]]()
    for row in table.to_pylist():
        key, prefix = row["key" if by == "item" else "user"], row.get("prefix") or 1
        seen[key, prefix] += 1
        owner, name = numbers.get(key), f"{by} {key!r} at prefix {prefix}"
        texts = {role: [] for role in roles}
        steps = row["steps"] or ()
        strange = [step for step in steps if not (step and step["text"] and step["role"] in texts)]
        if owner is None:
            checked.unknown += 1
        elif seen[key, prefix] > 1:
            checked.refused.append(f"{name} has a second chain")
        elif by == "user" and not visible.fits(owner, prefix, row["history"]):
            checked.refused.append(f"{name} was not written from that user's first items here")
        elif strange and strange[0] and strange[0]["role"] in texts:
            checked.refused.append(f"{name} has no text at its step {strange[0]['role']!r}")
        elif strange:
            checked.refused.append(f"{name} has the step {strange[0]}, which is not of {roles}")
        else:
            for step in steps:
                texts[step["role"]].append(step["text"])
            names = [name for name in row["recommendations"] or () if name]
            checked.rows.append((owner, prefix, [*texts.values(), list(recommending(names))]))
    return checked


def _open(path: Path) -> tuple[pa.Table, str]:
    try:
        table = read_parquet(path)
        by = "item" if "key" in table.column_names else "user"
        wanted = {**_OWNERS[by], **_SHARED}
        if absent := [name for name in wanted if name not in table.column_names]:
            raise ValueError(f"it lacks the columns {', '.join(absent)}")
        return table.select([*wanted]).cast(pa.schema(wanted)), by
    except (OSError, ValueError, pa.ArrowException) as error:
        problem = f"is no table of chains ({error})"
        raise DataError(f"{path} {problem}; docs/chains.md has its columns") from None
