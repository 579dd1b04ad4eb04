"""What must be read beside a dataset's table: headline differences, budgets, sources."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.cells import protocol_of
from benchmarks.suite.collect import RESULTS, gpu_of, load_rows
from benchmarks.suite.recipes import equal_budget, one_recipe, stored_recipe
from benchmarks.tables import comparisons
from benchmarks.tables.comparisons import ARM, BACKBONES, BASELINE, LEVEL, Comparison
from benchmarks.tables.table import interval
from benchmarks.tables.tables import cpu_hours, paper_values, place_of
from scoter.config import REASONS, to_json
from scoter.experiments import DISCOVERY
from scoter.report.page import cpu_time

Rows = Sequence[Mapping[str, Any]]

_PROTOCOLS = {
    "A": "Test split, leave-one-out, full ranking, seen items not filtered.",
    "B": "Protocol B: test split, leave-one-out, full ranking, items of the user's history "
    "filtered; trained on all that is before the test item, for the epochs that protocol A chose.",
}
_SPENT = {"A": "Training and validation", "B": "The last training, after protocol A's,"}


def notes(results: Path | str = RESULTS, dataset: str = "beauty") -> list[str]:
    """The notes of a dataset's table, one sentence or more each."""
    rows = [row for row in load_rows(results) if row["dataset"] == dataset]
    if not rows:
        missing = f"Nothing was measured here yet: `python -m benchmarks run --only {dataset}`."
        return [missing, _PROTOCOLS[protocol_of(dataset)], *_citations(dataset)]
    family = comparisons.compare(results, dataset)
    rivals = (*comparisons.RIVALS, BASELINE)
    pairs = [*((ARM, rival) for rival in rivals), *BACKBONES.items()]
    spent = cpu_time(3600 * cpu_hours(results, dataset)) or "no time worth counting"
    return [
        *(line for pair in pairs if (line := _headline(family, *pair))),
        _PROTOCOLS[protocol_of(dataset)] + _how_to_read(family),
        *_unequal([row for row in rows if row["split"] == "test"]),
        *budgets(results, dataset),
        *_earlier(rows),
        *_stored_chains(rows),
        f"{_SPENT[protocol_of(dataset)]} of all rows of this table: {spent} of a processor."
        + on_gpu(rows),
        *_citations(dataset),
    ]


def on_gpu(rows: Iterable[Mapping[str, Any]]) -> str:
    """Which methods a GPU trained: their hours are those of its host's processor."""
    trained = {(gpu, row["method"]) for row in rows if (gpu := gpu_of(row))}
    if not trained:
        return ""
    gpus = " or ".join(sorted({gpu for gpu, _ in trained}))
    methods = ", ".join(sorted({method for _, method in trained}, key=place_of))
    return f" Trained on one {gpus}, whose host's processor alone is counted: {methods}."


def budgets(results: Path | str, dataset: str) -> list[str]:
    """What runs note of themselves, such as a smaller budget: each note once, with its methods."""
    rows = [row for row in load_rows(results) if row["dataset"] == dataset]
    methods_of: dict[str, set[str]] = {}
    for method, text in {(row["method"], row["config"]) for row in rows}:
        config = json.loads(text)
        if config.get("note") and not config.get("chains"):
            methods_of.setdefault(config["note"], set()).add(method)
    everybody = {row["method"] for row in rows}
    return [
        f"{'All methods' if names == everybody else ', '.join(sorted(names, key=place_of))}: "
        f"{note}."
        for note, names in sorted(methods_of.items())
    ]


def _earlier(rows: Rows) -> list[str]:
    """Which methods read chains of a pattern that was not mined, or that count as they once did."""
    configs = {row["method"]: json.loads(row["config"]) for row in rows}
    by_hand = {n for n, c in configs.items() if c.get("pattern")}
    older = {n for n, c in configs.items() if stored_recipe(c).get("reasons", REASONS) != REASONS}
    what = {"Chains follow a pattern written by hand, by an earlier recipe": by_hand}
    what["Of an earlier version of what chains count (reproduce.md)"] = older
    whole = to_json(DISCOVERY)
    mined = {n: c["discover"] for n, c in configs.items() if c.get("discover") and n not in older}
    judged = {n for n, config in mined.items() if to_json(config) != whole}
    what["With a pattern that an earlier reader judged (log.md, 12-01, later)"] = judged
    return [f"{said}: {', '.join(sorted(n, key=place_of))}." for said, n in what.items() if n]


def _headline(family: Sequence[Comparison], arm: str, baseline: str) -> str | None:
    parts = [
        f"{each.metric} {interval(gap)}{'*' if each.marked else ''} ({each.lift:+.1f} %)"
        for each in family
        if (each.method, each.baseline) == (arm, baseline) and (gap := each.difference) is not None
    ]
    if not parts:
        return None
    return f"{arm} minus {baseline}, paired by user with 95 % intervals: {', '.join(parts)}."


def _how_to_read(family: Sequence[Comparison]) -> str:
    tested = sum(each.corrected is not None for each in family)
    star = (
        " A star: the p-value of a paired t-test over users, corrected by Holm for the "
        f"{tested} comparisons shown here, is below {LEVEL:g}."
    )
    return (
        " Means over seeds, with their standard deviation where there are several. Differences to "
        "our own TIGER are paired by user, with 95 % bootstrap intervals over users; the relative "
        "gain stands in brackets." + (star if tested else "")
    )


def _unequal(tests: Rows) -> list[str]:
    """Arms that may not be compared with TIGER, and methods whose seeds were not trained alike."""
    methods = sorted({row["method"] for row in tests}, key=place_of)
    arms = [name for name in methods if name != BASELINE] if BASELINE in methods else []
    others = [name for name in arms if not equal_budget(tests, name, BASELINE)]
    why = "model, training budget or semantic IDs differ"
    lines = [f"Not of {BASELINE}'s recipe ({why}), so not compared with it: {', '.join(others)}."]
    return lines[: bool(others)] + [
        f"{name}: its seeds were trained by different recipes; their mean is of neither."
        for name in methods
        if not one_recipe(tests, name)
    ]


def _stored_chains(rows: Rows) -> list[str]:
    """Who wrote the chains of the methods that read them from a folder, with what the run notes."""
    origins = {row["method"]: json.loads(row["config"]).get("chains") for row in rows}
    return [
        f"{method}: chains by {chains['model']}; {chains['note']}."
        for method, chains in sorted(origins.items())
        if chains
    ]


def _citations(dataset: str) -> list[str]:
    paper = paper_values()
    shown = {row["source"] for row in paper["row"] if row["dataset"] == dataset}
    lines = []
    for source in paper["source"]:
        if source["name"] in shown:
            number = f" (arXiv {source['arxiv']})" if "arxiv" in source else ""
            cited = f"{source['citation']}{number}, read in {source['read_at']}"
            lines.append(f"{source['label']}: {cited}.")
    lift = paper["lift"]
    if shown and protocol_of(dataset) == "A":
        lines.append(
            f"{lift['label']} reports gains of {lift['low_percent']} % to {lift['high_percent']} "
            f"% over {lift['baseline']} on {lift['datasets']} ({lift['citation']}, arXiv "
            f"{lift['arxiv']} {lift['versions']}), read in {lift['read_at']}. No cell of its "
            "tables could be read; this project's four are Beauty, Sports, Toys and Yelp."
        )
    return lines
