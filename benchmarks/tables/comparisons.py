"""Which differences a dataset's table shows, each with its interval, and the correction for looking
at all of them."""

from collections.abc import Mapping, Sequence
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
from scoter.evaluation.significance import Difference, holm, paired_bootstrap, paired_p_value

METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
COMPARED = ("recall@10", "ndcg@10")
BASELINE, ARM, COLLAPSED = "tiger", "scoter", "tiger-meanpool"
RIVALS = (
    COLLAPSED,
    "control-mixed-scores",
)  # what knows what the arm knows, without its steps apart, or without reading them
BACKBONES = {
    "sasrec-ce-scoter": "sasrec-ce",
    "gru4rec-scoter": "gru4rec",
}  # arms with a chain, and the same without
LEVEL = 0.05

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A method against a baseline in one metric, on the test users at the seeds of both.

    `lift` is the relative gain in percent. `difference` is in the metric's unit; it and the
    p-values are None where the two share no seed. `corrected` is Holm's p-value over all
    comparisons of the dataset.
    """

    method: str
    baseline: str
    metric: str
    lift: float
    difference: Difference | None = None
    p_value: float | None = None
    corrected: float | None = None

    @property
    def marked(self) -> bool:
        return self.corrected is not None and self.corrected < LEVEL


def compare(results: Path | str = RESULTS, dataset: str = "beauty") -> list[Comparison]:
    """All that the table of a dataset compares, which is the family that is corrected for.

    Every method against TIGER in `COMPARED`; SCoTER against TIGER and its `RIVALS`, and chains in
    other `BACKBONES` against these, in all of `METRICS`. Arms of TIGER that do not share its recipe
    are not compared.
    """
    rows = [
        row for row in load_rows(results) if row["dataset"] == dataset and row["split"] == "test"
    ]
    methods = sorted({row["method"] for row in rows})
    pairs = [
        (name, BASELINE, METRICS if name == ARM else COMPARED)
        for name in methods
        if name != BASELINE
    ]
    pairs += [
        *((ARM, rival, METRICS) for rival in RIVALS),
        *((arm, plain, METRICS) for arm, plain in BACKBONES.items()),
    ]
    found = []
    for method, baseline, metrics in pairs:
        if {method, baseline} <= set(methods) and equal_budget(rows, method, baseline):
            found += [
                _comparison(Path(results), dataset, rows, method, baseline, metric)
                for metric in metrics
            ]
    tested = [one.p_value for one in found if one.p_value is not None]
    corrected = iter(holm(tested))
    return [
        one if one.p_value is None else replace(one, corrected=next(corrected)) for one in found
    ]


def difference(
    results: Path | str, dataset: str, method: str, baseline: str, metric: str
) -> Difference | None:
    """`method` minus `baseline` at the seeds of both, paired by user; None where they may not or
    cannot be compared."""
    rows = [
        row for row in load_rows(results) if row["dataset"] == dataset and row["split"] == "test"
    ]
    shared = sorted(_seeds(rows, method) & _seeds(rows, baseline))
    if not shared or not equal_budget(rows, method, baseline):
        return None
    found = _paired(Path(results), dataset, method, baseline, metric, shared)
    return None if found is None else found[0]


def _comparison(
    results: Path, dataset: str, rows: Sequence[Row], method: str, baseline: str, metric: str
) -> Comparison:
    shared = _seeds(rows, method) & _seeds(rows, baseline)
    ours, theirs = (
        _mean(rows, name, metric, shared or _seeds(rows, name)) for name in (method, baseline)
    )
    found = _paired(results, dataset, method, baseline, metric, sorted(shared)) if shared else None
    lift = 100 * (ours / theirs - 1) if theirs else np.nan
    return Comparison(method, baseline, metric, lift, *(found or (None, None)))


def _seeds(rows: Sequence[Row], method: str) -> set[int]:
    return {row["seed"] for row in rows if row["method"] == method}


def _mean(rows: Sequence[Row], method: str, metric: str, seeds: set[int]) -> float:
    found = [
        row["value"]
        for row in rows
        if (row["method"], row["metric"]) == (method, metric) and row["seed"] in seeds
    ]
    return float(np.mean(found)) if found else np.nan


def _paired(
    results: Path, dataset: str, method: str, baseline: str, metric: str, seeds: Sequence[int]
) -> tuple[Difference, float] | None:
    """Method minus baseline over users, from the seeds that both have ranks of; None where there is
    no such seed."""
    pairs = [
        [ranks_path(results, dataset, name, seed, "test") for name in (method, baseline)]
        for seed in seeds
    ]
    there = [path for pair in pairs if all(path.exists() for path in pair) for path in pair]
    if not there:
        return None
    return _measured(
        tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in there), metric
    )


@lru_cache(maxsize=4096)
def _measured(files: tuple[tuple[Path, int, int], ...], metric: str) -> tuple[Difference, float]:
    """The difference and its p-value, from the ranks of method and baseline seed by seed."""
    paths = [path for path, _, _ in files]
    values = []
    for pair in zip(paths[::2], paths[1::2], strict=True):
        ours, theirs = (load_user_metrics(path) for path in pair)
        if not np.array_equal(ours.users, theirs.users):
            raise DataError(
                f"{pair[0]} and {pair[1]} rank different users; collect both methods from one split"
            )
        values.append((per_user(ours, metric), per_user(theirs, metric)))
    mine, other = np.mean(values, axis=0)
    return paired_bootstrap(mine, other, seed=0), paired_p_value(mine, other)
