"""Where SCoTER helps: cold shoppers, rare targets, missing chains and chains that are some
purchases old.

Groups of test users: paired differences to TIGER, from the ranks of finished runs. Ages: a sample
of test users is ranked again by the trained arm, each time with the chain of an older prefix of the
same user; whoever has too short a history for the oldest is left out, so that ages differ in
nothing else. `without` has the learned null alone, as an unseen shopper does. Intervals are
bootstraps over users; the models are one seed's. The groups say what a shopper or a target is like,
and were fixed before any result was seen; nothing is chosen by them.

`results/buckets.json` holds the last measurement under each label, so that an arm can be trained in
several ways, and `docs/cold-and-stale.md` shows them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.buckets_page import FILE, interval, spoken
from scoter.seeding import derive_seed
from scoter.stages.finished import FinishedMethod, find_methods
from scoter.storage.store import git_commit
from scoter.types import Split

if TYPE_CHECKING:
    from scoter.protocols import StepSource

METRICS = ("recall@10", "ndcg@10")
AGES = (0, 1, 2, 5)
LENGTHS = {"2 to 5": (0, 5), "6 to 10": (6, 10), "11 to 20": (11, 20), "21 and more": (21, 10**9)}
COUNTS = {"0 to 4": (0, 4), "5 to 19": (5, 19), "20 and more": (20, 10**9)}


def measure(
    runs: Sequence[Path],
    arm: str = "scoter",
    users: int = 2000,
    seed: int = 0,
    results: Path = RESULTS,
    label: str = "",
) -> dict[str, Any]:
    """Measure `arm` against `tiger` of the finished `runs`, keep it in `results/buckets.json` and
    return it.

    What was measured before under the same `label`, by default the arm's name, is replaced.
    """
    methods = find_methods(runs, ("tiger", arm))
    trained = methods[arm]
    found = {
        "dataset": trained.run.outcome["dataset"],
        "seed": trained.run.outcome["seed"],
        "arm": arm,
        "runs": {name: method.run.artefact.key for name, method in methods.items()},
        "epochs": {
            name: method.run.outcome["methods"][name]["epochs"] for name, method in methods.items()
        },
        "valid": {
            metric: trained.run.outcome["methods"][arm]["metrics"]["valid"][metric]
            for metric in METRICS
        },
        "commit": git_commit(),
        "groups": group_differences(methods, arm, seed),
        "ages": age_rows(trained, users, seed, methods["tiger"]),
    }
    results.mkdir(parents=True, exist_ok=True)
    kept = json.loads((results / FILE).read_text()) if (results / FILE).exists() else {}
    (results / FILE).write_text(json.dumps({**kept, label or arm: found}, indent=1) + "\n")
    return found


def group_differences(
    methods: dict[str, FinishedMethod], arm: str, seed: int
) -> list[dict[str, Any]]:
    """One row per group and metric: both means, and the paired difference with its interval."""
    from scoter.evaluation.evaluator import load_user_metrics
    from scoter.evaluation.metrics import per_user
    from scoter.evaluation.significance import paired_bootstrap

    ranks = {
        name: load_user_metrics(method.run.artefact.file(f"ranks/{name}-test.parquet"))
        for name, method in methods.items()
    }
    groups = {"all": {"all": np.ones(len(ranks[arm].users), bool)}, **_groups(methods[arm])}
    rows = []
    for kind, members in groups.items():
        for label, chosen in members.items():
            for metric in METRICS if chosen.any() else ():
                ours, theirs = (per_user(ranks[name], metric)[chosen] for name in (arm, "tiger"))
                differs = paired_bootstrap(
                    ours, theirs, seed=derive_seed(seed, kind, label, metric)
                )
                means = {arm: float(ours.mean()), "tiger": float(theirs.mean())}
                rows.append(
                    {
                        "kind": kind,
                        "group": label,
                        "users": int(chosen.sum()),
                        "metric": metric,
                        **means,
                        **asdict(differs),
                    }
                )
    return rows


def age_rows(
    method: FinishedMethod, users: int, seed: int, tiger: FinishedMethod | None = None
) -> list[dict[str, Any]]:
    """One row per age and metric: the arm's mean with chains so old, and the paired difference to
    fresh ones.

    With `tiger`, a last age of that name: what TIGER reaches for the same users, minus fresh
    chains.
    """
    from scoter.evaluation.evaluator import Evaluator, load_user_metrics
    from scoter.evaluation.metrics import per_user
    from scoter.evaluation.significance import paired_bootstrap
    from scoter.models.quantised_steps import NoSteps
    from scoter.types import Targets

    split, (model, reader, table) = method.run.split, method.trained()
    assert table is not None
    assert reader is not None
    histories, targets = split.histories("test"), split.targets("test")
    able = np.flatnonzero(histories.lengths > max(AGES))
    chosen = np.sort(np.random.default_rng(derive_seed(seed, "ages")).permutation(able)[:users])
    some, wanted = histories.select(chosen), Targets(targets.users[chosen], targets.items[chosen])
    readers: dict[str, Any] = {str(age): older(reader, age) for age in AGES}
    readers["without"] = NoSteps(table.step_count, table.dim)
    metrics = {
        age: Evaluator().evaluate(model.recommend(some, 20, found), wanted)
        for age, found in readers.items()
    }
    found = {
        age: {metric: per_user(measured, metric) for metric in METRICS}
        for age, measured in metrics.items()
    }
    if tiger is not None:
        ranks = load_user_metrics(tiger.run.artefact.file("ranks/tiger-test.parquet"))
        found["tiger"] = {metric: per_user(ranks, metric)[chosen] for metric in METRICS}
    rows = []
    for age, measured in found.items():
        for metric, values in measured.items():
            fresh = found["0"][metric]
            differs = asdict(
                paired_bootstrap(values, fresh, seed=derive_seed(seed, "age", age, metric))
            )
            rows.append(
                {
                    "age": age,
                    "users": len(some),
                    "metric": metric,
                    "value": float(values.mean()),
                    **differs,
                }
            )
    return rows


def older(reader: "StepSource", age: int) -> "StepSource":
    """A reader of chains written `age` interactions ago; who had none then has no chain."""
    from scoter.models.step_reader import Redirected

    return Redirected(reader, lambda users, lengths: (users, lengths - age))


def by_length(split: Split) -> dict[str, Bool[np.ndarray, " users"]]:
    """Test users by how many items the recommender may see."""
    return _ranges(split.histories("test").lengths, LENGTHS)


def by_popularity(split: Split) -> dict[str, Bool[np.ndarray, " users"]]:
    """Test users by how often their target was bought in training."""
    targets = split.targets("test").items
    counts = np.bincount(split.train.items, minlength=int(targets.max()) + 1)
    return _ranges(counts[targets], COUNTS)


def _groups(method: FinishedMethod) -> dict[str, dict[str, Bool[np.ndarray, " users"]]]:
    from scoter.stages.reasoning import open_steps

    split = method.run.split
    histories, table = split.histories("test"), open_steps(method.run.made_from("chains"))
    chains = table.chain_rows(histories.users, histories.lengths)
    said = (
        np.diff(table.offsets).reshape(-1, table.step_count)[np.maximum(chains, 0)]
        * (chains >= 0)[:, None]
    )
    missing = (said == 0).all(axis=1)
    return {
        "history length": by_length(split),
        "target bought in training": by_popularity(split),
        "chain": {"there": ~missing, "missing": missing},
    }


def _ranges(
    values: Int[np.ndarray, " users"], named: dict[str, tuple[int, int]]
) -> dict[str, Bool[np.ndarray, " users"]]:
    return {label: (low <= values) & (values <= high) for label, (low, high) in named.items()}


def as_text(found: dict[str, Any]) -> str:
    """The measurement in lines."""
    arm, lines = found["arm"], []
    for row in found["groups"]:
        where = f"{row['kind']}, {row['group']} ({row['users']:,} users)"
        lines.append(
            f"{where:52} {row['metric']:10} {row['tiger']:.4f} -> {row[arm]:.4f}  {interval(row)}"
        )
    for row in found["ages"]:
        where = f"{spoken(row['age'])} ({row['users']:,} users)"
        lines.append(f"{where:52} {row['metric']:10} {row['value']:.4f}  {interval(row)} to fresh")
    return "\n".join(lines)
