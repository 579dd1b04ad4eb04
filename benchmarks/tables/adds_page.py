"""What a recommender adds to counted reasons, and reasons to it, as a Markdown table."""

from pathlib import Path

from benchmarks.suite.cells import DATASETS
from benchmarks.tables.comparisons import COMPARED, difference
from benchmarks.tables.table import Page, Table, interval
from benchmarks.tables.tables import mean_over_users
from scoter.evaluation.significance import Estimate

REASONS, ALONE, BOTH, ARM = "reasons-logit", "tiger", "control-mixed-reasons", "scoter"
_GAINS = ((BOTH, REASONS), (BOTH, ALONE), (ARM, REASONS), (ARM, BOTH))


def pages(results: Path) -> dict[str, Page]:
    """The table of every dataset whose reasons were measured, under the one name `recommender`."""
    rows = [
        [dataset, metric, *values, *gains]
        for dataset in DATASETS
        for metric in COMPARED
        if (values := _values(results, dataset, metric))
        and (gains := [_gain(results, dataset, pair, metric) for pair in _GAINS])
    ]
    heads = ["dataset", "metric", "reasons", "TIGER", "both mixed", "SCoTER"]
    gains = ["both - reasons", "both - TIGER", "SCoTER - reasons", "SCoTER - both"]
    return {"recommender": Page([Table([*heads, *gains], rows)])}


def _values(results: Path, dataset: str, metric: str) -> list[str]:
    """The means over test users and seeds; empty where the reasons were not measured."""
    means = [
        mean_over_users(results, dataset, method, metric) for method in (REASONS, ALONE, BOTH, ARM)
    ]
    return (
        [] if means[0] is None else ["" if mean is None else f"{mean.mean:.4f}" for mean in means]
    )


def _gain(results: Path, dataset: str, pair: tuple[str, str], metric: str) -> str:
    found: Estimate | None = difference(results, dataset, *pair, metric)
    return "" if found is None else interval(found.mean, found.low, found.high)
