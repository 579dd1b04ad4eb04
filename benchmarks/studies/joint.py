"""`python -m benchmarks joint`: does it pay to let the transfer choose the pattern, at equal
compute?

Two arms start from the same mining. *Joint* trains the mined pattern and its best competitors by
successive halving on held-in targets, then the one left over on all training targets
(`scoter.stages.joint`). *Recall-only* trains the mined pattern alone for as many epochs as joint
spent on all of them. Both are then asked for the test targets of *fresh* shoppers: those whose
held-in targets had no part in mining or choosing. No epoch and no setting is chosen by validation
or test.

Compute is counted in target-steps (a target trained on once is one step) and is equal up to the
held-in targets, which joint leaves out while it chooses; CPU-seconds stand beside them, and joint's
also hold the writing of its candidates' chains. The chains are the catalogue reasoner's, a symbolic
stand-in for a language model.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.discovery import over_seeds
from benchmarks.suite.collect import RESULTS
from scoter.config import DiscoverConfig, Experiment, MethodConfig
from scoter.errors import ConfigError

FILE = "joint.json"
METRICS = ("recall@10", "ndcg@10")


@dataclass(frozen=True)
class Cell:
    """What is measured on a dataset: the data, the method that is trained, and epochs for joint
    (see `JointBudget`)."""

    experiment: Experiment
    method_name: str
    method: MethodConfig
    candidates: int
    first_epochs: int
    more_epochs: int


def cell_of(dataset: str) -> Cell:
    """The simulated shop with its small TIGER, or all of Beauty with the benchmark's; steps are
    vectors, without votes."""
    from scoter.experiments import experiment, methods, simulated

    if dataset == "simulated":
        shop = simulated(order=1.0)
        shop = replace(shop, discover=replace(shop.discover, patterns=24, rounds=2))
        return Cell(
            shop, "scoter", shop.methods["scoter"], candidates=4, first_epochs=2, more_epochs=4
        )
    if dataset == "beauty":
        mined = DiscoverConfig(patterns=64, users=2000, fresh_users=2000, rounds=2)
        found = replace(experiment("beauty-scoter"), discover=mined, pattern=())
        return Cell(
            found, "scoter", methods()["scoter"], candidates=4, first_epochs=2, more_epochs=4
        )
    raise ConfigError(f"dataset = {dataset!r}; choose one of simulated, beauty")


def measure(
    dataset: str, seeds: list[int], results: Path = RESULTS, cell: Cell | None = None
) -> dict[str, Any]:
    """Measure what is missing, seed by seed, and keep each seed's row as soon as it is there; a
    rerun goes on.

    Raises:
        ConfigError: an unknown dataset, or rows of another configuration in `results`.
    """
    chosen = cell or cell_of(dataset)
    path = results / FILE
    kept = json.loads(path.read_text()) if path.exists() else {}
    config = json.loads(json.dumps(asdict(chosen)))
    outcome = kept.get(dataset, {"config": config, "rows": []})
    if outcome["config"] != config:
        raise ConfigError(
            f"{path} holds rows of {dataset} with another configuration; remove its {dataset!r} "
            f"to measure again"
        )
    for seed in seeds:
        if seed in [row["seed"] for row in outcome["rows"]]:
            continue
        rows = sorted([*outcome["rows"], one_seed(chosen, seed)], key=lambda row: row["seed"])
        outcome = {"config": config, "rows": rows, "summary": summarise(rows)}
        path.parent.mkdir(parents=True, exist_ok=True)
        latest = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**latest, dataset: outcome}, indent=1, sort_keys=True) + "\n")
    return outcome


def one_seed(cell: Cell, seed: int) -> dict[str, Any]:
    """Both arms on one seed: what was chosen, what it cost, and the paired difference at fresh
    shoppers' test targets."""
    from scoter.reasoning.discovery.generate import labels
    from scoter.stages.context import Context
    from scoter.stages.data import codes_of, embed_items, make_semantic_ids, open_data, prepare
    from scoter.stages.joint import JointBudget, search, written
    from scoter.stages.transfer_probe import TransferProbe
    from scoter.storage.store import Store, git_commit

    context = Context(cell.experiment, Store(), seed, lambda line: None)
    data = prepare(context, None)
    ids = (
        make_semantic_ids(context, embed_items(context, data))
        if cell.method.model.kind == "tiger"
        else None
    )
    _, catalog, split = open_data(data)
    budget = JointBudget(cell.candidates, cell.first_epochs, cell.more_epochs)
    began = time.process_time()
    chosen = search(context, cell.method, data, ids, budget)
    steps = chosen.target_steps - chosen.transfer.target_steps
    chosen.transfer.train(split.train, budget.more_epochs)
    joint_seconds = time.process_time() - began - chosen.cpu_seconds["mining"]
    began = time.process_time()
    table = chosen.table if chosen.pattern is chosen.mined else written(context, data, chosen.mined)
    epochs = budget.equal_budget()
    alone = TransferProbe(cell.method, split, catalog, codes_of(ids), table, epochs, seed)
    alone.train(split.train, epochs)
    alone_seconds = time.process_time() - began

    fresh = np.flatnonzero(~np.isin(split.test.users, chosen.users))
    histories, targets = split.histories("test").select(fresh), split.test.items[fresh]
    ranks = {
        "joint": chosen.transfer.ranks(histories, targets, 10),
        "recall-only": alone.ranks(histories, targets, 10),
    }
    paid = {
        "joint": (steps + chosen.transfer.target_steps, joint_seconds),
        "recall-only": (alone.target_steps, alone_seconds),
    }
    patterns = {"joint": chosen.pattern, "recall-only": chosen.mined}
    trained = {"joint": chosen.transfer.epochs, "recall-only": alone.epochs}
    return {
        "seed": seed,
        "commit": git_commit(),
        "fresh_users": len(fresh),
        "same_pattern": labels(chosen.pattern) == labels(chosen.mined),
        "arms": {
            name: {
                "pattern": list(labels(patterns[name])),
                "epochs": trained[name],
                "target_steps": paid[name][0],
                "cpu_seconds_after_mining": paid[name][1],
                **{
                    metric: float(values.mean()) for metric, values in per_user(ranks[name]).items()
                },
            }
            for name in ranks
        },
        "gains": gains(ranks["joint"], ranks["recall-only"], seed),
        "choosing": chosen.as_json(),
    }


def per_user(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Recall@10 and NDCG@10 of each user, from ranks that are 0 for a miss.

    Example:
        >>> {name: values.tolist() for name, values in per_user(np.array([1, 0, 3])).items()}
        {'recall@10': [1.0, 0.0, 1.0], 'ndcg@10': [1.0, 0.0, 0.5]}
    """
    hit = ranks > 0
    return {
        "recall@10": hit.astype(float),
        "ndcg@10": np.where(hit, 1 / np.log2(1.0 + np.maximum(ranks, 1)), 0.0),
    }


def gains(joint: np.ndarray, alone: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Joint minus recall-only with paired 95 % bootstrap intervals over users."""
    from scoter.evaluation.significance import paired_bootstrap

    left, right = per_user(joint), per_user(alone)
    return {
        metric: asdict(paired_bootstrap(left[metric], right[metric], seed=seed))
        for metric in METRICS
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds: the mean gain with Student's interval, or of one seed its own interval over
    users."""
    return {metric: over_seeds([row["gains"][metric] for row in rows]) for metric in METRICS}


def as_text(dataset: str, outcome: dict[str, Any]) -> str:
    """The outcome for people."""
    lines = [
        f"{dataset}: patterns chosen by the transfer (joint) against recall-only, "
        f"{len(outcome['rows'])} seeds"
    ]
    for row in outcome["rows"]:
        for name, arm in row["arms"].items():
            told = (
                f"recall@10 {arm['recall@10']:.4f}, {arm['epochs']} epochs, "
                f"{arm['target_steps']:,} target-steps"
            )
            lines.append(
                f"seed {row['seed']} {name:12} {told}, {arm['cpu_seconds_after_mining']:.0f} "
                f"CPU-s  {arm['pattern']}"
            )
        gain = row["gains"]["recall@10"]
        lines.append(
            f"seed {row['seed']} difference   {gain['mean']:+.4f} [{gain['low']:+.4f}, "
            f"{gain['high']:+.4f}] of {row['fresh_users']:,} fresh "
            f"users{', the same pattern' if row['same_pattern'] else ''}"
        )
    for metric, gain in outcome["summary"].items():
        lines.append(
            f"over seeds, {metric}: {gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
        )
    return "\n".join(lines)
