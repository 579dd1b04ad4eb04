"""Where SCoTER helps: users with short histories, rare targets, and missing or old chains.

Groups of test users give paired differences to TIGER, from the ranks of finished runs; they were
fixed before any result was seen. Ages: the trained arm ranks a sample of test users again, each
time with the chain of an older prefix of the same user. Users whose history is too short for the
oldest chain are left out, so that ages differ in nothing else. `without` reads the learned null
alone, as for an unseen user. Intervals are bootstraps over users; the models are of one seed.

`results/buckets.json` holds the last measurement under each label, so that an arm can be trained in
several ways; `docs/cold-and-stale.md` shows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from jaxtyping import Bool, Int

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.buckets_page import FILE, page
from scoter.evaluation.evaluator import Evaluator, load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import paired_bootstrap
from scoter.models.quantised_steps import NoSteps
from scoter.models.step_reader import Redirected
from scoter.protocols import StepSource
from scoter.seeding import derive_seed
from scoter.stages.finished import FinishedMethod, find_methods
from scoter.stages.reasoning import open_steps
from scoter.storage.store import git_commit
from scoter.types import Split, Targets, UserMetrics

METRICS = ("recall@10", "ndcg@10")
AGES = (0, 1, 2, 5)
LENGTHS = {"2 to 5": (0, 5), "6 to 10": (6, 10), "11 to 20": (11, 20), "21 and more": (21, 10**9)}
COUNTS = {"0 to 4": (0, 4), "5 to 19": (5, 19), "20 and more": (20, 10**9)}

Members = Bool[np.ndarray, " users"]  # which test users belong to a group


def measure(
    runs: Sequence[Path],
    arm: str = "scoter",
    users: int = 2000,
    results: Path = RESULTS,
    label: str = "",
) -> Row:
    """Measure `arm` against `tiger` of the finished `runs`; keep and return it.

    It replaces what `buckets.json` holds under the same `label`, by default the arm's name.
    """
    methods = find_methods(runs, ("tiger", arm))
    valid = methods[arm].run.outcome["methods"][arm]["metrics"]["valid"]
    measured = {
        **described(methods, arm),
        "valid": {metric: valid[metric] for metric in METRICS},
        "commit": git_commit(),
        "groups": list(group_differences(methods, arm)),
        "ages": age_rows(methods[arm], users, methods["tiger"]),
    }
    study.put(results / FILE, label or arm, measured, sort_keys=False)
    return measured


def described(methods: Mapping[str, FinishedMethod], arm: str) -> Row:
    """What the arm and TIGER were trained on, in which runs, and how long."""
    runs = {name: method.run for name, method in methods.items()}
    return {
        "dataset": runs[arm].outcome["dataset"],
        "seed": runs[arm].outcome["seed"],
        "arm": arm,
        "runs": {name: run.artefact.key for name, run in runs.items()},
        "epochs": {name: run.outcome["methods"][name]["epochs"] for name, run in runs.items()},
    }


def group_differences(methods: Mapping[str, FinishedMethod], arm: str) -> Iterator[Row]:
    """One row per group and metric: both means, and the paired difference with its interval."""
    ours, theirs = _test_ranks(methods[arm]), _test_ranks(methods["tiger"])
    groups = {"all": {"all": np.ones(len(ours.users), bool)}, **_groups(methods[arm])}
    for kind, members in groups.items():
        for label, chosen in members.items():
            for metric in METRICS if chosen.any() else ():
                draws = derive_seed(0, kind, label, metric)
                a, b = (per_user(ranks, metric)[chosen] for ranks in (ours, theirs))
                row = {"kind": kind, "group": label, "users": int(chosen.sum()), "metric": metric}
                row |= {arm: float(a.mean()), "tiger": float(b.mean())}
                yield row | asdict(paired_bootstrap(a, b, seed=draws))


def age_rows(method: FinishedMethod, users: int, tiger: FinishedMethod) -> list[Row]:
    """One row per age and metric: the mean with chains so old, and its difference to fresh ones.

    The last age, `tiger`, is what TIGER reaches for the same users.
    """
    lengths = method.run.split.histories("test").lengths
    able = np.flatnonzero(lengths > max(AGES))
    chosen = np.sort(np.random.default_rng(derive_seed(0, "ages")).permutation(able)[:users])
    by_age = _metrics_by_age(method, chosen)
    ranks = _test_ranks(tiger)
    by_age["tiger"] = {metric: per_user(ranks, metric)[chosen] for metric in METRICS}
    rows = []
    for age, measured in by_age.items():
        for metric, values in measured.items():
            draws = derive_seed(0, "age", age, metric)
            row = {"age": age, "users": len(chosen), "metric": metric, "value": values.mean()}
            rows.append(row | asdict(paired_bootstrap(values, by_age["0"][metric], seed=draws)))
    return rows


def _metrics_by_age(method: FinishedMethod, chosen: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    model, reader, table = method.trained()
    assert reader is not None
    assert table is not None
    targets = method.run.split.targets("test")
    sampled = method.run.split.histories("test").select(chosen)
    wanted = Targets(targets.users[chosen], targets.items[chosen])
    readers: dict[str, StepSource] = {str(age): older(reader, age) for age in AGES}
    readers["without"] = NoSteps(table.step_count, table.dim)
    by_age = {}
    for age, source in readers.items():
        measured = Evaluator().evaluate(model.recommend(sampled, 20, source), wanted)
        by_age[age] = {metric: per_user(measured, metric) for metric in METRICS}
    return by_age


def older(reader: StepSource, age: int) -> StepSource:
    """A reader of the chains written `age` interactions ago; shorter histories have none."""
    return Redirected(reader, lambda users, lengths: (users, lengths - age))


def by_length(split: Split) -> dict[str, Members]:
    """Test users by how many items the recommender may see."""
    return _ranges(split.histories("test").lengths, LENGTHS)


def by_popularity(split: Split) -> dict[str, Members]:
    """Test users by the training interactions of their target."""
    targets = split.targets("test").items
    counts = np.bincount(split.train.items, minlength=int(targets.max()) + 1)
    return _ranges(counts[targets], COUNTS)


def _test_ranks(method: FinishedMethod) -> UserMetrics:
    return load_user_metrics(method.run.artefact.file(f"ranks/{method.name}-test.parquet"))


def _groups(method: FinishedMethod) -> dict[str, dict[str, Members]]:
    split = method.run.split
    histories, table = split.histories("test"), open_steps(method.run.made_from("chains"))
    chains = table.chain_rows(histories.users, histories.lengths)
    sentences = np.diff(table.offsets).reshape(-1, table.step_count)[np.maximum(chains, 0)]
    missing = (sentences * (chains >= 0)[:, None] == 0).all(axis=1)
    return {
        "history length": by_length(split),
        "target bought in training": by_popularity(split),
        "chain": {"there": ~missing, "missing": missing},
    }


def _ranges(
    values: Int[np.ndarray, " users"], named: Mapping[str, tuple[int, int]]
) -> dict[str, Members]:
    return {label: (low <= values) & (values <= high) for label, (low, high) in named.items()}


@click.command()
@study.runs_argument
@study.arm_option
@study.users_option(2000)
@click.option("--label", default="", help="Name to keep it under [default: the arm].")
@study.results_option
def command(runs: tuple[Path, ...], arm: str, users: int, label: str, results: Path) -> None:
    measured = measure(runs, arm, users, results=results, label=label)
    click.echo(page({label or arm: measured}).markdown())
