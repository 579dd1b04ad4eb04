"""The measured groups of users and ages of chains as Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS

FILE = "buckets.json"


def tables_of(results: Path = RESULTS) -> dict[str, str]:
    """The tables of every dataset measured, all labels of it."""
    labels: dict[str, dict[str, Any]] = {}
    for label, found in json.loads((results / FILE).read_text()).items():
        labels.setdefault(found["dataset"], {})[label] = found
    return {dataset: as_markdown(measured) for dataset, measured in labels.items()}


def as_markdown(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Two tables for each label: groups of test users, and ages of chains."""
    parts = []
    for label, found in measured.items():
        valid = " and ".join(f"{metric} {value:.4f}" for metric, value in found["valid"].items())
        what = (
            f"{found['dataset']}, seed {found['seed']}, measured at commit "
            f"`{found['commit'][:12]}`; on validation, {valid}"
        )
        groups = [
            "| group | users | metric | tiger | arm | difference |",
            "|---|---:|---|---:|---:|---:|",
        ]
        for row in found["groups"]:
            means = f"{row['tiger']:.4f} | {row[found['arm']]:.4f}"
            where = "all" if row["kind"] == "all" else f"{row['kind']}: {row['group']}"
            groups.append(
                f"| {where} | {row['users']:,} | {row['metric']} | {means} | {interval(row)} |"
            )
        ages = [
            "| chain | users | metric | value | minus a fresh chain |",
            "|---|---:|---|---:|---:|",
        ]
        for row in found["ages"]:
            differs = "" if row["age"] == "0" else interval(row)
            ages.append(
                f"| {spoken(row['age'])} | {row['users']:,} | {row['metric']} | "
                f"{row['value']:.4f} | {differs} |"
            )
        parts += [
            f"### {label}",
            f"{what[0].upper()}{what[1:]}.",
            "\n".join(groups),
            "\n".join(ages),
        ]
    return "\n\n".join(parts) + "\n"


def spoken(age: str) -> str:
    """An age of a chain in words."""
    known = {
        "0": "fresh",
        "1": "1 purchase old",
        "without": "missing",
        "tiger": "none: TIGER itself",
    }
    return known.get(age, f"{age} purchases old")


def interval(row: Mapping[str, Any]) -> str:
    """A mean with the ends of its interval."""
    return f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
