"""How often each step of a chain names the target in training, validation and test.

A chain that leaks would name validation or test targets more often than training targets. All roles
of the hand-written pattern and every user take part; `scoter.reasoning.chains.leakage` explains the
rows. The parts of one split are not equally informed: at a test target everybody's statistics lack
two interactions, at the last training target none. `equally_informed` splits the log anew for each
part, so that the statistics lack that interaction of everybody and all later ones. A difference
that is left between the parts is the users' behaviour, or a leak.
"""

import json
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.leakage_page import FILE, PARTS, pages
from scoter.config import DataConfig
from scoter.data.datasets import open_dataset
from scoter.data.split import leave_one_out, shuffle_ties
from scoter.reasoning.chains.leakage import mention_table
from scoter.reasoning.chains.table import hand_written_pattern, write_chains
from scoter.seeding import derive_seed
from scoter.storage.store import git_commit
from scoter.types import InteractionLog, Split, Targets

BACK = {"last-train": 3, "valid": 2, "test": 1}  # each part's target, from a history's end


def measure(
    dataset: str,
    seed: int = 0,
    results: Path = RESULTS,
    shuffled: bool = False,
    equal: bool = False,
) -> Row:
    """Measure a dataset and put it beside the others in `leakage.json`.

    `shuffled` first puts each user's interactions of one time in random order; `equal` measures
    each part on a split of its own. Either has a name of its own in the file.
    """
    began = time.process_time()
    data = open_dataset(DataConfig(dataset))
    log = shuffle_ties(data.log, seed) if shuffled else data.log
    pattern, tables = hand_written_pattern(data.catalog), []
    parts = ("valid",) if equal else tuple(PARTS)
    for part, split in (equally_informed(log) if equal else {"": leave_one_out(log)}).items():
        chains = write_chains(split, data.catalog, pattern, derive_seed(seed, "folds"))
        users = split.train.user_count
        table = mention_table(chains, split, data.catalog, seed, sample=users, parts=parts)
        tables.append(table.assign(part=part) if equal else table)
    rows = pd.concat(tables).to_json(orient="records", double_precision=6)
    measured = {
        "commit": git_commit(),
        "seed": seed,
        "reasoner": study.REASONER,
        "rows": json.loads(rows or "[]"),
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    name = dataset + "-shuffled-ties" * shuffled + "-equally-informed" * equal
    study.put(results / FILE, name, measured)
    return measured


def equally_informed(log: InteractionLog) -> dict[str, Split]:
    """For each part a split whose validation target is that part's, and which ends before it.

    >>> log = InteractionLog(np.array([4, 5, 6, 7]), np.array([0, 4]), ("ann",))
    >>> splits = equally_informed(log)
    >>> {part: split.train.items.tolist() for part, split in splits.items()}
    {'last-train': [4], 'valid': [4, 5], 'test': [4, 5, 6]}
    >>> {part: split.valid.items.tolist() for part, split in splits.items()}
    {'last-train': [5], 'valid': [6], 'test': [7]}
    """
    splits, nobody = {}, Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
    place = np.arange(len(log.items)) - np.repeat(log.offsets[:-1], log.lengths)
    for part, back in BACK.items():
        kept = np.maximum(log.lengths - back, 0)
        users, inside = np.flatnonzero(kept), place < np.repeat(kept, log.lengths)
        times = None if log.times is None else log.times[inside]
        offsets = np.concatenate([[0], np.cumsum(kept)])
        train = InteractionLog(log.items[inside], offsets, log.user_keys, times)
        targets = Targets(users, log.items[log.offsets[users] + kept[users]])
        splits[part] = Split(train, targets, nobody)
    return splits


@click.command()
@click.option("--dataset", "measured", multiple=True, help="Measure it; repeatable.")
@study.seed_option
@click.option("--shuffle-ties", is_flag=True, help="First shuffle interactions of one time.")
@click.option("--equally-informed", is_flag=True, help="Give all parts equally fresh statistics.")
@study.results_option
def command(
    measured: tuple[str, ...], seed: int, shuffle_ties: bool, equally_informed: bool, results: Path
) -> None:
    for dataset in measured:
        measure(dataset, seed, results, shuffle_ties, equally_informed)
    for dataset, page in pages(results).items():
        click.echo(f"{dataset}\n\n{page.markdown()}")
