"""Collected results to tables. Every function is pure in the results folder and loads no torch.

Rows are methods in a fixed order, then published rows. Metrics are test-set means over seeds; the
difference to TIGER is paired by user (each user's metric averaged over the seeds that both methods
have), with a bootstrap interval over users, so it says nothing of what another seed's model would
do.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.suite.collect import RESULTS, gpu_of, load_rows, ranks_path
from benchmarks.suite.recipes import equal_budget, mixes_scores, one_recipe
from benchmarks.tables.comparisons import (
    ARM,
    BACKBONES,
    BASELINE,
    COLLAPSED,
    COMPARED,
    LEVEL,
    METRICS,
    RIVALS,
    Comparison,
    compare,
)
from benchmarks.tables.comparisons import difference as difference
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import Estimate, bootstrap_mean
from scoter.report.page import cpu_time

ORDER = (
    *("popularity", "gru4rec", "sasrec-bce", "sasrec-ce", "gru4rec-scoter", "sasrec-ce-scoter"),
    *(BASELINE, COLLAPSED, ARM),
)
COLUMNS = (
    *(
        "method",
        "seeds",
        *METRICS,
        *(f"deviation {metric}" for metric in METRICS),
        "epochs",
        "cpu_hours",
    ),
    *(
        f"{kind} {metric}"
        for metric in COMPARED
        for kind in ("lift", "difference", "low", "high", "corrected p")
    ),
    "source",
)
PAPER_VALUES = Path(__file__).parents[1] / "paper_values.toml"


def main_table(results: Path | str = RESULTS, dataset: str = "beauty") -> pd.DataFrame:
    """One row per method, measured then published, with the columns of `COLUMNS`; NaN where nothing
    is known.

    `seeds` is their number, `epochs` (those that were trained) and `cpu_hours` are one seed's mean,
    `deviation` is the standard deviation over seeds. `lift` is the relative gain over our own TIGER
    in percent, at the seeds that both have where there are any; `difference`, `low` and `high` are
    paired, in the metric's unit; `corrected p` is Holm's over all that the table and its notes
    compare. A published row has none of these, since its users' ranks are not known; nor has an arm
    of TIGER whose model, training budget or semantic IDs are not those of TIGER itself, since that
    would say nothing of the arm.

    Raises:
        DataError: no results, or none of this dataset.
    """
    tests = _tests(results, dataset)
    if not tests:
        raise DataError(
            f"dataset {dataset!r} has no collected results; choose from: "
            f"{', '.join(datasets(results))}"
        )
    methods = sorted({row["method"] for row in tests}, key=_place)
    table = {
        method: _measured(method, [row for row in tests if row["method"] == method])
        for method in methods
    }
    for one in compare(results, dataset):
        if one.baseline == BASELINE:
            table[one.method] |= _columns(one)
    rows = [*table.values(), *_published(dataset)]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in COLUMNS} for row in rows])


def mean_over_users(results: Path | str, dataset: str, method: str, metric: str) -> Estimate | None:
    """A method's metric over its seeds with a 95 % bootstrap interval over users; None where no
    ranks were kept."""
    rows = [
        row for row in load_rows(results) if (row["dataset"], row["method"]) == (dataset, method)
    ]
    paths = [
        ranks_path(results, dataset, method, seed, "test")
        for seed in sorted({row["seed"] for row in rows})
    ]
    values = [per_user(load_user_metrics(path), metric) for path in paths if path.exists()]
    return bootstrap_mean(np.mean(values, axis=0), seed=0) if values else None


def datasets(results: Path | str = RESULTS) -> list[str]:
    """The datasets that have collected results."""
    return sorted({row["dataset"] for row in load_rows(results)})


def sources(results: Path | str = RESULTS, dataset: str = "beauty") -> pd.DataFrame:
    """Which run and commit each measured row comes from: method, seed, run, commit."""
    names = ("method", "seed", "run", "commit")
    found = {
        tuple(row[name] for name in names)
        for row in load_rows(results)
        if row["dataset"] == dataset
    }
    return pd.DataFrame(
        [
            dict(zip(names, one, strict=True))
            for one in sorted(found, key=lambda one: (_place(one[0]), one[1]))
        ]
    )


def cpu_hours(results: Path | str = RESULTS, dataset: str | None = None) -> float:
    """CPU-hours that training and validating all collected cells took, of one dataset or of all;
    mixed scores train nothing."""
    rows = [
        row
        for row in load_rows(results)
        if dataset in (None, row["dataset"]) and not mixes_scores(json.loads(row["config"]))
    ]
    spent = {(row["dataset"], row["method"], row["seed"]): row["cpu_hours"] for row in rows}
    return float(np.nansum(list(spent.values())))


def notes(results: Path | str = RESULTS, dataset: str = "beauty") -> list[str]:
    """What must be read beside the table: SCoTER against its collapse and TIGER, the columns, the
    sources of published rows."""
    family = compare(results, dataset)
    pairs = [*((ARM, baseline) for baseline in (*RIVALS, BASELINE)), *BACKBONES.items()]
    lines = [line for pair in pairs if (line := _headline(family, *pair))]
    lines += [_how_to_read(family), *_unequal(_tests(results, dataset))]
    lines += [*budgets(results, dataset), *_stored_chains(results, dataset)]
    spent = cpu_time(3600 * cpu_hours(results, dataset)) or "no time worth counting"
    trained = on_gpu(row for row in load_rows(results) if row["dataset"] == dataset)
    lines.append(
        f"Training and validation of all rows of this table: {spent} of a processor.{trained}"
    )
    return lines + _citations(dataset)


def on_gpu(rows: Iterable[Mapping[str, Any]]) -> str:
    """Which methods a GPU trained: their hours are those of its host's processor."""
    found = {(gpu, row["method"]) for row in rows if (gpu := gpu_of(row))}
    gpus, methods = (
        " or ".join(sorted({gpu for gpu, _ in found})),
        ", ".join(sorted({method for _, method in found}, key=_place)),
    )
    return (
        f" Trained on one {gpus}, whose host's processor alone is counted: {methods}."
        if found
        else ""
    )


def _headline(family: Sequence[Comparison], arm: str, baseline: str) -> str | None:
    """An arm minus its baseline in every metric; None where that was not compared."""
    found = [
        one
        for one in family
        if (one.method, one.baseline) == (arm, baseline) and one.difference is not None
    ]
    parts = [
        f"{one.metric} {one.difference.mean:+.4f} [{one.difference.low:+.4f}, "
        f"{one.difference.high:+.4f}]{'*' if one.marked else ''} ({one.lift:+.1f} %)"
        for one in found
        if one.difference is not None
    ]
    return (
        f"{arm} minus {baseline}, paired by user with 95 % intervals: {', '.join(parts)}."
        if parts
        else None
    )


def _how_to_read(family: Sequence[Comparison]) -> str:
    tested = sum(one.corrected is not None for one in family)
    star = (
        " A star: the p-value of a paired t-test over users, corrected by Holm for the "
        f"{tested} comparisons shown here, is below {LEVEL:g}."
    )
    return (
        "Test split, leave-one-out, full ranking, seen items not filtered. Means over seeds, "
        "with their standard deviation where there are several. Differences to our own TIGER are "
        "paired by user, with 95 % bootstrap intervals over users; the relative gain stands in "
        "brackets." + (star if tested else "")
    )


def _unequal(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which arms may not be compared with TIGER, and which methods' seeds were not trained
    alike."""
    methods = sorted({row["method"] for row in tests}, key=_place)
    others = [
        name
        for name in methods
        if BASELINE in methods and name != BASELINE and not equal_budget(tests, name, BASELINE)
    ]
    mixed = [name for name in methods if not one_recipe(tests, name)]
    lines = []
    if others:
        why = "model, training budget or semantic IDs differ"
        lines = [
            f"Not of {BASELINE}'s recipe ({why}), so not compared with it: {', '.join(others)}."
        ]
    return lines + [
        f"{name}: its seeds were trained by different recipes; their mean is of neither."
        for name in mixed
    ]


def budgets(results: Path | str, dataset: str) -> list[str]:
    """What runs note of themselves, such as a smaller budget: each note once, with those that it
    concerns."""
    concerned: dict[str, set[str]] = {}
    rows = [row for row in load_rows(results) if row["dataset"] == dataset]
    for method, config in {(row["method"], row["config"]) for row in rows}:
        told = json.loads(config)
        if told.get("note") and not told.get("chains"):
            concerned.setdefault(told["note"], set()).add(method)
    everybody = {row["method"] for row in rows}
    return [
        f"{'All methods' if names == everybody else ', '.join(sorted(names, key=_place))}: {note}."
        for note, names in sorted(concerned.items())
    ]


def _citations(dataset: str) -> list[str]:
    paper = tomllib.loads(PAPER_VALUES.read_text())
    shown = {row["source"] for row in paper["row"] if row["dataset"] == dataset}
    lines = []
    for one in paper["source"]:
        if one["name"] in shown:
            paper_id = f" (arXiv {one['arxiv']})" if "arxiv" in one else ""
            lines += [f"{one['label']}: {one['citation']}{paper_id}, read in {one['read_at']}."]
    lift = paper["lift"]
    if shown:
        lines += [
            f"{lift['label']} reports gains of {lift['low_percent']} % to {lift['high_percent']} "
            f"% over {lift['baseline']} on {lift['datasets']} ({lift['citation']}, arXiv "
            f"{lift['arxiv']} {lift['versions']}), read in {lift['read_at']}. No cell of its "
            "tables could be read; this project's four are Beauty, Sports, Toys and Yelp."
        ]
    return lines


def _stored_chains(results: Path | str, dataset: str) -> list[str]:
    """Who wrote the chains of the methods that read them from a folder, with what the run notes."""
    found = {
        row["method"]: json.loads(row["config"]).get("chains")
        for row in load_rows(results)
        if row["dataset"] == dataset
    }
    return [
        f"{method}: chains by {chains['model']}; {chains['note']}."
        for method, chains in sorted(found.items())
        if chains
    ]


def _tests(results: Path | str, dataset: str) -> list[dict[str, Any]]:
    return [
        row for row in load_rows(results) if row["dataset"] == dataset and row["split"] == "test"
    ]


def _place(method: str) -> tuple[int, str]:
    return (ORDER.index(method) if method in ORDER else len(ORDER), method)


def _measured(method: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = {
        metric: [row["value"] for row in rows if row["metric"] == metric] for metric in METRICS
    }
    hours = {row["seed"]: row["cpu_hours"] for row in rows}
    epochs = {row["seed"]: row["epochs"] for row in rows}
    return {
        "method": method,
        "seeds": len(hours),
        "epochs": float(np.mean(list(epochs.values()))),
        "cpu_hours": float(np.mean(list(hours.values()))),
        "source": "measured",
        **{metric: float(np.mean(found)) if found else np.nan for metric, found in values.items()},
        **{
            f"deviation {metric}": float(np.std(found, ddof=1))
            for metric, found in values.items()
            if len(found) > 1
        },
    }


def _columns(one: Comparison) -> dict[str, float]:
    """The cells of a comparison with TIGER; those of metrics that have no column are left out
    later."""
    cells = {f"lift {one.metric}": one.lift}
    if one.difference is not None and one.corrected is not None:
        found = {
            "difference": one.difference.mean,
            "low": one.difference.low,
            "high": one.difference.high,
        }
        cells |= {
            f"{kind} {one.metric}": value
            for kind, value in {**found, "corrected p": one.corrected}.items()
        }
    return cells


def _published(dataset: str) -> list[dict[str, Any]]:
    paper = tomllib.loads(PAPER_VALUES.read_text())
    about = {one["name"]: one for one in paper["source"]}
    read = {
        name: f"arXiv {one['arxiv']}" if "arxiv" in one else one["citation"]
        for name, one in about.items()
    }
    return [
        {**row, "method": about[row["source"]]["label"], "source": read[row["source"]]}
        for row in paper["row"]
        if row["dataset"] == dataset
    ]
