"""The differences that a dataset's table shows, paired by user and corrected for their number."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS, load_rows, ranks_path
from benchmarks.suite.recipes import equal_budget
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import Estimate, holm, paired_bootstrap, paired_p_value

METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
COMPARED = ("recall@10", "ndcg@10")
BASELINE, ARM, COLLAPSED = "tiger", "scoter", "tiger-meanpool"
# They know what the arm knows: without its steps apart, or without reading them.
RIVALS = (COLLAPSED, "control-mixed-scores")
# Arms with a chain, and the same backbone without.
BACKBONES = {"sasrec-ce-scoter": "sasrec-ce", "gru4rec-scoter": "gru4rec"}
LEVEL = 0.05

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A method against a baseline in one metric, on the test users at the seeds of both."""

    method: str
    baseline: str
    metric: str
    lift: float  # relative gain, percent
    difference: Estimate | None = None  # in the metric's unit; None: the two share no seed
    p_value: float | None = None  # of a paired t-test over users
    corrected: float | None = None  # Holm's p-value over all comparisons of the dataset

    @property
    def marked(self) -> bool:
        return self.corrected is not None and self.corrected < LEVEL


def compare(results: Path | str = RESULTS, dataset: str = "beauty") -> list[Comparison]:
    """All that the table of a dataset compares, which is the family that is corrected for.

    Every method against TIGER in `COMPARED`; SCoTER against TIGER and its `RIVALS`, and chains in
    other `BACKBONES` against these, in all of `METRICS`. Arms of TIGER that do not share its recipe
    are not compared.
    """
    rows = rows_of_split(results, dataset)
    methods = sorted({row["method"] for row in rows})
    pairs = [(name, BASELINE) for name in methods if name != BASELINE]
    pairs += [*((ARM, rival) for rival in RIVALS), *BACKBONES.items()]
    family = [
        _comparison(Path(results), dataset, rows, method, baseline, metric)
        for method, baseline in pairs
        if {method, baseline} <= set(methods) and equal_budget(rows, method, baseline)
        for metric in (COMPARED if baseline == BASELINE and method != ARM else METRICS)
    ]
    corrected = iter(holm([pair.p_value for pair in family if pair.p_value is not None]))
    return [
        pair if pair.p_value is None else replace(pair, corrected=next(corrected))
        for pair in family
    ]


def difference(
    results: Path | str, dataset: str, method: str, baseline: str, metric: str
) -> Estimate | None:
    """`method` minus `baseline` at the seeds of both; None where they cannot be compared."""
    rows = rows_of_split(results, dataset)
    shared = sorted(seeds_of(rows, method, metric) & seeds_of(rows, baseline, metric))
    if method == baseline or not shared or not equal_budget(rows, method, baseline):
        return None
    measured = paired(Path(results), dataset, method, baseline, metric, shared)
    return None if measured is None else measured[0]


def rows_of_split(results: Path | str, dataset: str, split: str = "test") -> list[dict[str, Any]]:
    """The collected rows of one dataset and split."""
    return [row for row in load_rows(results) if (row["dataset"], row["split"]) == (dataset, split)]


def mean_over_seeds(
    rows: Sequence[Row], method: str, metric: str, seeds: Collection[int] | None = None
) -> float:
    """A method's mean over these seeds, or over all that it has; NaN where there is none."""
    mine = [row for row in rows if (row["method"], row["metric"]) == (method, metric)]
    values = [row["value"] for row in mine if seeds is None or row["seed"] in seeds]
    return float(np.mean(values)) if values else np.nan


def _comparison(
    results: Path, dataset: str, rows: Sequence[Row], method: str, baseline: str, metric: str
) -> Comparison:
    shared = sorted(seeds_of(rows, method, metric) & seeds_of(rows, baseline, metric))
    means = (mean_over_seeds(rows, name, metric, shared or None) for name in (method, baseline))
    ours, theirs = means
    measured = paired(results, dataset, method, baseline, metric, shared)
    lift = 100 * (ours / theirs - 1) if theirs else np.nan
    return Comparison(method, baseline, metric, lift, *(measured or (None, None)))


def seeds_of(rows: Sequence[Row], method: str, metric: str) -> set[int]:
    """The seeds of a method that have the metric; older results lack those among unseen items."""
    wanted = method, metric
    return {row["seed"] for row in rows if (row["method"], row["metric"]) == wanted}


def paired(
    results: Path, dataset: str, method: str, baseline: str, metric: str, seeds: Sequence[int]
) -> tuple[Estimate, float] | None:
    """Method minus baseline over users, whatever their budgets; None without shared ranks.

    And the p value of it.
    """
    pairs = [
        [ranks_path(results, dataset, name, seed, "test") for name in (method, baseline)]
        for seed in seeds
    ]
    files = [path for pair in pairs if all(path.exists() for path in pair) for path in pair]
    states = [(path, path.stat()) for path in files]
    known = tuple((path, state.st_mtime_ns, state.st_size) for path, state in states)
    return _measured(known, metric) if known else None


@lru_cache(maxsize=4096)
def _measured(files: tuple[tuple[Path, int, int], ...], metric: str) -> tuple[Estimate, float]:
    paths, values = [path for path, _, _ in files], []
    for pair in zip(paths[::2], paths[1::2], strict=True):
        ours, theirs = (load_user_metrics(path) for path in pair)
        if not np.array_equal(ours.users, theirs.users):
            both = " and ".join(map(str, pair))
            raise DataError(f"{both} rank different users; collect both methods from one split")
        values.append((per_user(ours, metric), per_user(theirs, metric)))
    mine, other = np.mean(values, axis=0)
    return paired_bootstrap(mine, other, seed=0), paired_p_value(mine, other)
