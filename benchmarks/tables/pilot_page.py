"""What recorded chains hold and add, from `results/pilot.json`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, interval
from scoter.report.table import Table

FILE = "pilot.json"
_COLUMNS = ("what is added", "users", "nats", "R@10", "N@10")
Row = dict[str, Any]


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The page of each table of chains, by its name."""
    return {name: page(made) for name, made in json.loads((results / FILE).read_text()).items()}


def page(made: Row) -> Page:
    """What the chains hold, then what they add."""
    held = [
        [row["role"], f"{row['chains']:,}", f"{row['words']:.1f}", f"{row['distinct']:.0%}"]
        for row in made["roles"]
    ]
    added: list[Sequence[str]] = [_added(row) for row in (*made["rows"], *made["by_last_item"])]
    names = made["grounded"]
    notes = (
        f"{made['chains_of_items']:,} of {made['items']:,} items have a chain. "
        f"Of {names['names']:,} named products {names['share']:.0%} mean an item of the catalogue, "
        f"{names['the item itself']:.0%} the item that was asked about.",
        f"Held-in users of {made['dataset']} whose last item has a chain; over "
        f"{made['recommender']}, 95 % intervals. Verdict: {made['verdict']}.",
        f"Measured at commit `{made['commit'][:12]}`, seed {made['seed']}, "
        f"{made['cpu_seconds'] / 60:.0f} CPU-minutes.",
    )
    columns = ("role", "chains", "words", "distinct texts")
    return Page([Table(columns, held, "lrrr"), Table(_COLUMNS, added, "lrrrr"), notes])


def _added(row: dict[str, Any]) -> list[str]:
    parts = [interval(row[part]) for part in ("nats", "recall", "ndcg")]
    return [row["what"], f"{row['users']:,}", *parts]
