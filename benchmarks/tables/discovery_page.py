"""What discovery found on a dataset, and what a recommender adds to reasons, as Markdown tables."""

import json
from collections.abc import Mapping, Sequence
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

from benchmarks.suite.cells import DATASETS
from benchmarks.suite.collect import patterns_path
from benchmarks.tables.comparisons import COMPARED, difference
from benchmarks.tables.table import Page, Table, interval
from benchmarks.tables.tables import mean_over_users
from scoter.report.pattern import in_words

SOURCE, FILE = "patterns/, validation.json", "validation.json"
REASONS, ALONE, BOTH, ARM = "reasons-logit", "tiger", "control-mixed-reasons", "scoter"
POOL, COUNTS = "tiger-meanpool", "control-mixed-scores"


def page(results: Path, dataset: str) -> Page:
    """For each seed the steps with what each adds, and the rivals; then how alike the seeds are."""
    paths = sorted(patterns_path(results, dataset, 0).parent.glob(f"{dataset}-s*.json"))
    if not paths:
        missing = f"Nothing was mined here yet: `python -m benchmarks run --only {dataset}/scoter`."
        return Page([missing])
    mined = [json.loads(path.read_text()) for path in paths]
    later = json.loads((results / FILE).read_text()) if (results / FILE).exists() else {}
    shown: list[Table | str] = []
    for each, path in zip(mined, paths, strict=True):
        found = later.get(path.stem, {})
        shown += _of_seed(each, found if found.get("mined") == each["commit"] else {})
    return Page([*shown, *_between(mined)])


def _of_seed(mined: Mapping[str, Any], found: Mapping[str, Any]) -> list[Table | str]:
    """A mined pattern, and what was `found` of it on validation users, if anything was."""
    pattern, about = mined["pattern"], mined["provenance"]
    count, k, over = len(pattern["steps"]), about["top_k"], mined["recommender"]
    columns = [map(str, range(1, count + 1)), map(in_words, pattern["steps"])]
    columns += [map(interval, pattern["added"]), map(interval, found.get("added", ()))]
    columns += [[f"{vote:.2f}" for vote in pattern["votes"]]]
    steps = [list(row) for row in zip_longest(*columns, fillvalue="")]
    facts = (
        f"Seed {seed_of(mined)}, commit `{mined['commit'][:12]}`: {count} steps, distilled by "
        f"{pattern['distilled_by']}, support {pattern['support']:.2f}. At {about['fresh_users']:,} "
        f"fresh users ndcg@{k} is {interval(pattern['ndcg'], '')}, of {about['recommender']} alone "
        f"{interval(over['ndcg'], '')}."
    )
    if found:
        adds = interval(found["over_recommender"])
        facts += f" On {found['users']:,} validation users it adds {adds} to that recommender."
    rivals = []
    for name, rival in mined["rivals"].items():
        ends = interval(rival["ndcg"], ""), interval(rival["ndcg_gain_of_mined"])
        rivals.append([name, str(len(rival["steps"])), *ends])
        rivals[-1] += [interval(found["over_rivals"][name])] if found else [""]
    return [
        facts,
        Table(["step", "what it says", f"adds to ndcg@{k}", "on validation", "votes"], steps),
        Table(["rival", "steps", f"ndcg@{k}", "mined minus rival", "on validation"], rivals),
    ]


def _between(mined: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    """How many steps each two seeds share."""
    if len(mined) < 2:
        return []
    names = [{in_words(step) for step in each["pattern"]["steps"]} for each in mined]
    rows = [
        [f"{seed_of(mined[one])} and {seed_of(mined[two])}", f"{share(names[one], names[two]):.2f}"]
        for one in range(len(mined))
        for two in range(one + 1, len(mined))
    ]
    return [Table(["seeds", "steps shared, of all that either has"], rows)]


def share(one: set[str], other: set[str]) -> float:
    """The Jaccard index.

    >>> share({"a", "b"}, {"b"})
    0.5
    """
    return len(one & other) / max(1, len(one | other))


def seed_of(mined: Mapping[str, Any]) -> int:
    return mined["run_seed"]


def adds_pages(results: Path) -> dict[str, Page]:
    """Tables of all datasets: what a `recommender` adds to reasons, and the `headline`."""
    heads = ["reasons", "TIGER", "both mixed", "SCoTER"]
    gains = {"both - reasons": (BOTH, REASONS), "both - TIGER": (BOTH, ALONE)}
    gains |= {"SCoTER - reasons": (ARM, REASONS), "SCoTER - both": (ARM, BOTH)}
    adds = _beside(results, dict(zip(heads, (REASONS, ALONE, BOTH, ARM), strict=True)), gains)
    heads = ["TIGER", "mean-pooled chain", "transition counts", "SCoTER"]
    gains = {"SCoTER - TIGER": (ARM, ALONE), "SCoTER - counts": (ARM, COUNTS)}
    shown = dict(zip(heads, (ALONE, POOL, COUNTS, ARM), strict=True))
    return {"recommender": Page([adds]), "headline": Page([_beside(results, shown, gains)])}


def _beside(
    results: Path, methods: Mapping[str, str], gains: Mapping[str, tuple[str, str]]
) -> Table:
    """Means over test users and seeds, and paired differences; the first method must be there."""
    rows = []
    for dataset, metric in product(DATASETS, COMPARED):
        means = [mean_over_users(results, dataset, name, metric) for name in methods.values()]
        found = [difference(results, dataset, *pair, metric) for pair in gains.values()]
        if means[0] is not None:
            values = ["" if mean is None else f"{mean.mean:.4f}" for mean in means]
            values += [interval(gap) if gap else "" for gap in found]
            shown = metric.replace("recall", "Recall").replace("ndcg", "NDCG")
            rows.append([dataset.title(), shown, *values])
    return Table(["dataset", "metric", *methods, *gains], rows)
