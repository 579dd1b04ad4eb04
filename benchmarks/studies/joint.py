"""Patterns chosen by a short transfer, against patterns chosen by recall, at equal compute.

*Joint* trains the mined pattern and its best competitors by successive halving on held-in targets,
then the one that is left on all training targets (`scoter.stages.joint`). *Recall-only* trains the
mined pattern alone, for as many epochs as joint spent on all of them. Both then rank the test
targets of *fresh* shoppers, whose held-in targets had no part in mining or choosing. Validation and
test choose nothing. Compute is counted in target-steps (one target trained on once); it is equal up
to the held-in targets, which joint leaves out while it chooses. Joint's CPU-seconds include the
writing of its candidates' chains, by the catalogue reasoner in place of a language model.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks.studies import study
from benchmarks.studies.discovery import over_seeds
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from scoter.config import DiscoverConfig, Experiment, MethodConfig
from scoter.errors import ConfigError
from scoter.evaluation.metrics import mean_metrics, per_user
from scoter.evaluation.significance import paired_bootstrap
from scoter.types import ReasoningPattern, Split, UserMetrics

if TYPE_CHECKING:
    from scoter.stages.joint import Chosen
    from scoter.stages.transfer_probe import TransferProbe

FILE = "joint.json"
METRICS = ("recall@10", "ndcg@10")


@dataclass(frozen=True)
class Cell:
    """What is measured on a dataset; the last three fields are joint's `JointBudget`."""

    experiment: Experiment
    method_name: str
    method: MethodConfig  # the method that is trained
    candidates: int  # patterns that joint starts with
    first_epochs: int  # of each candidate, before the first half of them goes
    more_epochs: int  # of the pattern that is left, on all targets


def cell_of(dataset: str) -> Cell:
    """The simulated shop with its small TIGER, or all of Beauty with the benchmark's."""
    from scoter.experiments import experiment, methods, simulated

    if dataset == "simulated":
        shop = simulated(order=1.0)
        chosen = replace(shop, discover=replace(shop.discover, patterns=24, rounds=2))
        method = shop.methods["scoter"]
    elif dataset == "beauty":
        mined = DiscoverConfig(patterns=64, users=2000, fresh_users=2000, rounds=2)
        chosen = replace(experiment("beauty-scoter"), discover=mined, pattern=())
        method = methods()["scoter"]
    else:
        raise ConfigError(f"dataset = {dataset!r}; choose one of simulated, beauty")
    return Cell(chosen, "scoter", method, candidates=4, first_epochs=2, more_epochs=4)


def measure(dataset: str, seeds: Sequence[int], results: Path = RESULTS) -> Row:
    """Measure the seeds that are missing, and keep each row as soon as it is there."""
    chosen, path = cell_of(dataset), results / FILE
    config = json.loads(json.dumps(asdict(chosen)))
    outcome = study.read(path, {}).get(dataset, {"config": config, "rows": []})
    if outcome["config"] != config:
        raise ConfigError(f"{path} has another configuration; remove its {dataset!r}, then repeat")
    for seed in seeds:
        if seed not in [row["seed"] for row in outcome["rows"]]:
            rows = study.merged(outcome["rows"], [one_seed(chosen, seed)], ["seed"])
            gains = {name: [row["gains"][name] for row in rows] for name in METRICS}
            summary = {name: over_seeds(each) for name, each in gains.items()}
            outcome = {"config": config, "rows": rows, "summary": summary}
            study.put(path, dataset, outcome)
    return outcome


@dataclass(frozen=True, eq=False)
class Arm:
    """One arm, trained."""

    pattern: ReasoningPattern
    transfer: "TransferProbe"
    target_steps: int
    cpu_seconds: float  # after mining

    def row(self, ranks: UserMetrics) -> Row:
        from scoter.reasoning.discovery.generate import labels

        row: Row = {"pattern": list(labels(self.pattern)), "epochs": self.transfer.epochs}
        row |= {"target_steps": self.target_steps, "cpu_seconds_after_mining": self.cpu_seconds}
        return row | mean_metrics(ranks, METRICS)


def one_seed(cell: Cell, seed: int) -> Row:
    """Choices, costs and metrics of both arms, and their paired difference for fresh shoppers."""
    from scoter.reasoning.discovery.generate import labels
    from scoter.storage.store import git_commit

    chosen, split, arms = _trained(cell, seed)
    fresh = np.flatnonzero(~np.isin(split.test.users, chosen.users))
    histories, targets = split.histories("test").select(fresh), split.test.items[fresh]
    ranks = {
        name: UserMetrics(histories.users, arm.transfer.ranks(histories, targets, 10), depth=10)
        for name, arm in arms.items()
    }
    gains = {}
    for metric in METRICS:
        a, b = (per_user(ranks[name], metric) for name in ("joint", "recall-only"))
        gains[metric] = asdict(paired_bootstrap(a, b, seed=seed))
    return {
        "seed": seed,
        "commit": git_commit(),
        "fresh_users": len(fresh),
        "same_pattern": labels(chosen.pattern) == labels(chosen.mined),
        "arms": {name: arm.row(ranks[name]) for name, arm in arms.items()},
        "gains": gains,
        "choosing": chosen.as_json(),
    }


def _trained(cell: Cell, seed: int) -> "tuple[Chosen, Split, dict[str, Arm]]":
    from scoter.stages.context import Context
    from scoter.stages.data import codes_of, embed_items, make_semantic_ids, open_data, prepare
    from scoter.stages.joint import JointBudget, search, written
    from scoter.stages.transfer_probe import TransferProbe
    from scoter.storage.store import Store

    context, method = Context(cell.experiment, Store(), seed, lambda line: None), cell.method
    data, ids = prepare(context, None), None
    if method.model.kind == "tiger":
        ids = make_semantic_ids(context, embed_items(context, data))
    _, catalog, split = open_data(data)
    budget = JointBudget(cell.candidates, cell.first_epochs, cell.more_epochs)
    began = time.process_time()
    chosen = search(context, method, data, ids, budget)
    before = chosen.target_steps - chosen.transfer.target_steps
    chosen.transfer.train(split.train, budget.more_epochs)
    seconds = time.process_time() - began - chosen.cpu_seconds["mining"]
    steps = before + chosen.transfer.target_steps
    joint = Arm(chosen.pattern, chosen.transfer, steps, seconds)
    began, epochs = time.process_time(), budget.equal_budget()
    table = chosen.table if chosen.pattern is chosen.mined else written(context, data, chosen.mined)
    alone = TransferProbe(method, split, catalog, codes_of(ids), table, epochs, seed)
    alone.train(split.train, epochs)
    spent = time.process_time() - began
    arms = {"joint": joint, "recall-only": Arm(chosen.mined, alone, alone.target_steps, spent)}
    return chosen, split, arms


def as_text(dataset: str, outcome: Row) -> str:
    what = "patterns chosen by the transfer (joint) against recall-only"
    lines = [f"{dataset}: {what}, {len(outcome['rows'])} seeds"]
    for row in outcome["rows"]:
        seed, same = f"seed {row['seed']}", ", the same pattern" if row["same_pattern"] else ""
        for name, arm in row["arms"].items():
            cost = "{epochs} epochs, {target_steps:,} target-steps, "
            cost += "{cpu_seconds_after_mining:.0f} CPU-s  {pattern}"
            recall = f"recall@10 {arm['recall@10']:.4f}"
            lines.append(f"{seed} {name:12} {recall}, {cost.format(**arm)}")
        gain = study.interval(row["gains"]["recall@10"])
        lines.append(f"{seed} difference   {gain} of {row['fresh_users']:,} fresh users{same}")
    for metric, gain in outcome["summary"].items():
        lines.append(f"over seeds, {metric}: {study.interval(gain)}")
    return "\n".join(lines)


@click.command()
@study.shop_option
@study.seeds_option
@study.results_option
def command(dataset: str, seeds: tuple[int, ...], results: Path) -> None:
    click.echo(as_text(dataset, measure(dataset, seeds, results)))
