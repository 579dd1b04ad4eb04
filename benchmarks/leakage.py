"""How often each step names what is to be predicted, in training, validation and test: the evidence that no chain leaks.

All roles of the hand-written pattern, every user. `results/leakage.json` holds the rows of `scoter.reasoning.leakage`
for each dataset measured; `docs/leakage.md` prints them.
"""

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.collect import RESULTS
from scoter.store import git_commit

FILE = "leakage.json"
PARTS = {"train": "training", "last-train": "last training item", "valid": "validation", "test": "test"}


def main(dataset: str, seed: int = 0, results: Path = RESULTS, shuffled: bool = False) -> dict[str, Any]:
    """Measure a dataset, put it beside the others in `results/leakage.json`, and return what was measured.

    `shuffled` puts each shopper's events of one time in random order first, and the measurement under a name of its own:
    where the order of ties is that of a file, the last event is no ordinary one.
    """
    from scoter.config import DataConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.split import leave_one_out, shuffle_ties
    from scoter.reasoning.chains import hand_written_pattern, write_chains
    from scoter.reasoning.leakage import mention_table
    from scoter.seeding import derive_seed

    began = time.process_time()
    found = open_dataset(DataConfig(dataset))
    split = leave_one_out(shuffle_ties(found.log, seed) if shuffled else found.log)
    table = write_chains(split, found.catalog, hand_written_pattern(found.catalog), derive_seed(seed, "folds"))
    rows = mention_table(table, split, found.catalog, seed, sample=split.train.user_count)
    measured = {
        "commit": git_commit(),
        "seed": seed,
        "reasoner": "catalog-reasoner (symbolic)",
        "rows": json.loads(rows.to_json(orient="records", double_precision=6) or "[]"),
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / FILE
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(
        json.dumps({**kept, f"{dataset}-shuffled-ties" if shuffled else dataset: measured}, indent=1, sort_keys=True) + "\n"
    )
    return measured


def as_markdown(measured: dict[str, Any]) -> str:
    """Three tables: the item, the item for one mix of frequent and rare items, and the category, each by part.

    Example:
        >>> row = {"step": "final", "item": 0.25, "item_alike": None, "category": 0.5}
        >>> errors = {"item_error": 0.01, "item_alike_error": None, "category_error": 0.02}
        >>> lines = as_markdown({"rows": [{**row, **errors, "part": part} for part in PARTS]}).splitlines()
        >>> lines[4]
        '| final | .250 ± .010 | .250 ± .010 | .250 ± .010 | .250 ± .010 |'
    """
    steps = list(dict.fromkeys(row["step"] for row in measured["rows"]))
    cells = {(row["step"], row["part"]): row for row in measured["rows"]}
    meanings = {
        "item": "item",
        "item_alike": "item, reweighted to one mix of frequent and rare items",
        "category": "finest category",
    }
    lines = []
    for column, meaning in meanings.items():
        lines += [f"Share of chains whose step names the target's {meaning} (± one standard error):", ""]
        lines += ["| step | " + " | ".join(PARTS.values()) + " |", "|---|" + "---:|" * len(PARTS)]
        lines += [f"| {step} | " + " | ".join(_cell(cells[step, part], column) for part in PARTS) + " |" for step in steps]
        lines.append("")
    return "\n".join(lines)


def tables_of(results: Path = RESULTS) -> dict[str, str]:
    """The tables of every dataset measured."""
    return {dataset: as_markdown(measured) for dataset, measured in json.loads((results / FILE).read_text()).items()}


def document(text: str, results: Path = RESULTS) -> str:
    """`text` with what stands between each pair of markers `<!-- leakage:DATASET -->` and `<!-- /leakage -->` made anew."""
    for dataset, table in tables_of(results).items():
        begin, end = f"<!-- leakage:{dataset} -->", "<!-- /leakage -->"
        if begin in text:
            head, rest = text.split(begin, 1)
            text = head + begin + "\n" + table + end + rest.split(end, 1)[1]
    return text


def _cell(row: dict[str, Any], column: str) -> str:
    return " ± ".join("" if value is None else f"{value:.3f}".lstrip("0") for value in (row[column], row[f"{column}_error"]))
