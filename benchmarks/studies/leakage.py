"""How often each step names what is to be predicted, in training, validation and test: the evidence
that no chain leaks.

All roles of the hand-written pattern, every user. `results/leakage.json` holds the rows of
`scoter.reasoning.chains.leakage` for each dataset measured; `benchmarks.tables.leakage_page`
prints them.

The parts of one split are not equally informed: at a test target everybody's statistics lack two
events, at the last training target none. `equally_informed` splits the log anew for each part, so
that the statistics lack that event of everybody and what follows it, and nothing else; what then
differs between the parts is the shoppers' behaviour, or a leak.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.leakage_page import FILE, PARTS
from scoter.data.split import leave_one_out
from scoter.storage.store import git_commit
from scoter.types import InteractionLog, Split, Targets

BACK = {"last-train": 3, "valid": 2, "test": 1}
"""Each part's target, counted from the end of a log."""


def main(
    dataset: str,
    seed: int = 0,
    results: Path = RESULTS,
    shuffled: bool = False,
    equal: bool = False,
) -> dict[str, Any]:
    """Measure a dataset, put it beside the others in `results/leakage.json`, and return what was
    measured.

    `shuffled` puts each shopper's events of one time in random order first, and the measurement
    under a name of its own: where the order of ties is that of a file, the last event is no
    ordinary one. `equal` measures each part on a split of its own, in which its statistics are as
    fresh as every other part's.
    """
    from scoter.config import DataConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.split import shuffle_ties
    from scoter.reasoning.chains.leakage import mention_table
    from scoter.reasoning.chains.table import hand_written_pattern, write_chains
    from scoter.seeding import derive_seed

    began = time.process_time()
    found = open_dataset(DataConfig(dataset))
    log = shuffle_ties(found.log, seed) if shuffled else found.log
    pattern, measured_parts = hand_written_pattern(found.catalog), []
    for part, split in equally_informed(log).items() if equal else [("", leave_one_out(log))]:
        table = write_chains(split, found.catalog, pattern, derive_seed(seed, "folds"))
        parts = ("valid",) if equal else tuple(PARTS)
        found_rows = mention_table(
            table, split, found.catalog, seed, sample=split.train.user_count, parts=parts
        )
        measured_parts.append(found_rows.assign(part=part) if equal else found_rows)
    rows = pd.concat(measured_parts)
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
    name = dataset + ("-shuffled-ties" if shuffled else "") + ("-equally-informed" if equal else "")
    path.write_text(json.dumps({**kept, name: measured}, indent=1, sort_keys=True) + "\n")
    return measured


def equally_informed(log: InteractionLog) -> dict[str, Split]:
    """For each part a split whose validation target is that part's, and whose training log ends
    before it, for everybody.

    Example:
        >>> log = InteractionLog(np.array([4, 5, 6, 7]), np.array([0, 4]), ("ann",))
        >>> {
        ...     part: (split.train.items.tolist(), split.valid.items.tolist())
        ...     for part, split in equally_informed(log).items()
        ... }
        {'last-train': ([4], [5]), 'valid': ([4, 5], [6]), 'test': ([4, 5, 6], [7])}
    """
    splits, nobody = {}, Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
    place = np.arange(len(log.items)) - np.repeat(log.offsets[:-1], log.lengths)
    for part, back in BACK.items():
        kept = np.maximum(log.lengths - back, 0)
        users = np.flatnonzero(kept)
        times = None if log.times is None else log.times[place < np.repeat(kept, log.lengths)]
        items = log.items[place < np.repeat(kept, log.lengths)]
        train = InteractionLog(items, np.concatenate([[0], np.cumsum(kept)]), log.user_keys, times)
        splits[part] = Split(
            train, Targets(users, log.items[log.offsets[users] + kept[users]]), nobody
        )
    return splits
