"""The last stage: metrics, paired differences, readings and examples as one run folder."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shutil import copyfile
from typing import NotRequired, TypedDict

import numpy as np

from scoter.config import to_json
from scoter.reasoning.catalogue.facets import item_names
from scoter.seeding import derive_seed
from scoter.stages.context import Context
from scoter.stages.data import open_data
from scoter.stages.networks import Inputs, open_rankings
from scoter.stages.reasoning import open_pattern, open_steps, open_table
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.run_files import POINTS_FILE, RUN_FILE, Difference, MethodOutcome, outcome_of
from scoter.storage.store import Artefact, Store, git_commit
from scoter.types import Catalog, Part, Rankings, Split, UserMetrics

EXAMPLE_USERS = 6
NEWEST = 20  # newest items of a history that an example shows


@dataclass(frozen=True)
class Made:
    """What the stages made of one method."""

    trained: Artefact
    ranked: Artefact


class ListedItem(TypedDict):
    """An item of a list that an example shows; the last two in the explorer alone."""

    title: str
    score: float  # nats
    truth: NotRequired[bool]  # whether it is the held-out item
    contributions: NotRequired[list[float]]  # nats, of each step of the chain


class Example(TypedDict):
    """A test user: history, chain, what each method recommends, and the truth."""

    user: str
    history: list[str]  # titles, oldest first
    steps: list[dict[str, object]]  # `role` and `sentences` of each step of the chain
    truth: str
    recommendations: dict[str, list[ListedItem]]  # by method, best first
    read: NotRequired[dict[str, dict[str, object]]]  # by method, in the explorer alone


def summarise(context: Context, inputs: Inputs, made: Mapping[str, Made]) -> Artefact:
    """All that tables and reports need: `run.json`, `ranks/`, `attention/`, `examples.json`.

    And the points of the mined pattern's picture, if it was mined: `points.json`.
    """
    config = json.loads(to_json(context.experiment))

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(inputs.data)
        rankings: dict[str, dict[Part, Rankings]] = {}
        for name, method in made.items():
            rankings[name] = {part: open_rankings(method.ranked, part) for part in split.parts}
        metrics = {name: measure(rankings[name], split, out / "ranks", name) for name in rankings}
        _save_readings(context, inputs, made, out / "attention")
        tests = {name: parts["test"] for name, parts in rankings.items()}
        few = evenly(len(split.targets("test")), EXAMPLE_USERS)
        shown = examples(tests, split, catalog, inputs.steps, few)
        (out / "examples.json").write_text(json.dumps(shown, indent=1))
        reached = {name: parts["test"] for name, parts in metrics.items()}
        outcome = {
            **described(context, inputs.data),
            "methods": {
                name: _method(context, name, made[name].trained, metrics[name]) for name in metrics
            },
            "differences": differences(reached, context.seed),
            **_origins(inputs),
            "versions": versions(),
            "config": config,
            "artefacts": _keys(inputs, made),
        }
        (out / RUN_FILE).write_text(json.dumps(outcome, indent=1))
        if inputs.pattern is not None and POINTS_FILE in inputs.pattern.manifest()["files"]:
            copyfile(inputs.pattern.file(POINTS_FILE), out / POINTS_FILE)

    trained = [method.trained for method in made.values()]
    ranked = [method.ranked for method in made.values()]
    needed = [inputs.data, inputs.ids, *trained, *ranked, inputs.pattern, inputs.steps]
    given = [artefact for artefact in needed if artefact is not None]
    return context.stage("run", {"experiment": config, "seed": context.seed}, given, build)


def described(context: Context, data: Artefact) -> dict[str, object]:
    """What a finished run says of its experiment and its data."""
    experiment, (log, catalog, _) = context.experiment, open_data(data)
    return {
        "experiment": experiment.name,
        "dataset": experiment.data.label,
        "seed": context.seed,
        "commit": git_commit(),
        "users": log.user_count,
        "items": catalog.item_count,
        "note": experiment.note,
        "full_data": experiment.data.max_users == 0 and experiment.data.simulated is None,
    }


def _origins(inputs: Inputs) -> dict[str, object]:
    """How semantic IDs, pattern and chains came about; None for what the run did without."""
    ids, pattern, steps = inputs.ids, inputs.pattern, inputs.steps
    report = None if ids is None else json.loads(ids.file("report.json").read_text())
    mined = None if pattern is None else json.loads(pattern.file("pattern.json").read_text())
    writer = reasoner = None
    if steps is not None:
        writer = open_table(steps).model
        encoder = json.loads(steps.file("encoder.json").read_text())["encoder"]
        reasoner = f"{writer}, embedded by {encoder}"
    chains = {"reasoner": reasoner, "chains_model": writer}
    return {"semantic_ids": report, "pattern": mined, **chains}


def _keys(inputs: Inputs, made: Mapping[str, Made]) -> dict[str, str | dict[str, str]]:
    shared = {"discover": inputs.pattern, "chains": inputs.steps}
    return {
        "prepare": inputs.data.key,
        **({} if inputs.ids is None else {"semantic-ids": inputs.ids.key}),
        "train": {name: method.trained.key for name, method in made.items()},
        **{stage: artefact.key for stage, artefact in shared.items() if artefact is not None},
    }


def measured_rankings(store: Store, run: Artefact) -> dict[str, Artefact]:
    """The rankings of each method that a run was made from, wherever they were computed."""
    outcome = outcome_of(run)
    names = list(outcome["methods"])
    before = 1 + ("semantic-ids" in outcome["artefacts"]) + len(names)  # data, IDs, weights
    keys = run.manifest()["inputs"][before:]
    return {name: store.find("rank", key) for name, key in zip(names, keys, strict=False)}


def measure(
    rankings: Mapping[Part, Rankings], split: Split, folder: Path, name: str
) -> dict[Part, UserMetrics]:
    """Each user's rank in every part that was ranked, also written to `folder`."""
    from scoter.evaluation.evaluator import Evaluator, save_user_metrics

    folder.mkdir(exist_ok=True)
    metrics: dict[Part, UserMetrics] = {}
    for part, ranked in rankings.items():
        targets, histories = split.targets(part), split.histories(part)
        metrics[part] = Evaluator().evaluate(ranked, targets, histories)
        save_user_metrics(metrics[part], folder / f"{name}-{part}.parquet")
    return metrics


def _method(
    context: Context, name: str, trained: Artefact, metrics: Mapping[Part, UserMetrics]
) -> MethodOutcome:
    from scoter.evaluation.metrics import mean_metrics

    outcome: MethodOutcome = json.loads(trained.file("training.json").read_text())
    outcome["metrics"] = {part: mean_metrics(found) for part, found in metrics.items()}
    outcome["config"] = json.loads(to_json(context.experiment.methods[name]))
    outcome["train"], outcome["trained_at"] = trained.key, trained.manifest()["commit"]
    return outcome


def differences(metrics: Mapping[str, UserMetrics], seed: int) -> list[Difference]:
    """Paired bootstrap intervals of every later method minus every earlier one."""
    from scoter.evaluation.metrics import SHOWN, per_user
    from scoter.evaluation.significance import paired_bootstrap

    names = list(metrics)
    pairs = [(better, worse) for index, better in enumerate(names) for worse in names[:index]]
    rows: list[Difference] = []
    for metric in SHOWN:
        values = {name: per_user(metrics[name], metric) for name in names}
        for better, worse in pairs:
            drawn = derive_seed(seed, "bootstrap", better, worse, metric)
            gap = paired_bootstrap(values[better], values[worse], seed=drawn)
            mean, low, high = float(gap.mean), float(gap.low), float(gap.high)
            pair = {"better": better, "worse": worse, "metric": metric}
            rows.append(Difference(**pair, mean=mean, low=low, high=high))
    return rows


def _save_readings(
    context: Context, inputs: Inputs, made: Mapping[str, Made], folder: Path
) -> None:
    from scoter.transfer.build import slot_labels
    from scoter.transfer.grounded import one_step_per_sentence

    for name, method in context.experiment.methods.items():
        if method.mixed_scores:
            _save_attention(folder, name, ["transition scores"], made[name].ranked)
        elif method.fusion is not None and inputs.pattern is not None:
            read = open_pattern(inputs.pattern)
            if method.fusion.slots == "sentence" and inputs.steps is not None:
                read = one_step_per_sentence(open_steps(inputs.steps)).pattern
            _save_attention(folder, name, slot_labels(method.fusion, read), made[name].ranked)


def _save_attention(folder: Path, name: str, slots: Sequence[str], ranked: Artefact) -> None:
    folder.mkdir(exist_ok=True)
    readings = load_arrays(ranked.file("readings-test.safetensors"))
    means = {
        "roles": [*slots, "nothing"],
        "gate_mean": [float(readings["gate"].mean())],
        "attention_mean": readings["attention"].mean(0).tolist(),
    }
    (folder / f"{name}.json").write_text(json.dumps(means, indent=1))
    halved = {key: array.astype(np.float16) for key, array in readings.items()}
    save_arrays(folder / f"{name}.safetensors", **halved)


def evenly(total: int, count: int) -> list[int]:
    """At most `count` of `total` rows, evenly spaced.

    >>> evenly(9, 3), evenly(2, 6)
    ([0, 4, 8], [0, 1])
    """
    return np.linspace(0, total - 1, min(count, total)).astype(int).tolist()


def examples(
    rankings: Mapping[str, Rankings],
    split: Split,
    catalog: Catalog,
    steps: Artefact | None,
    rows: Sequence[int],
) -> list[Example]:
    """Some test users: history, chain, what each method recommends, and the truth."""
    names, histories, targets = item_names(catalog), split.histories("test"), split.targets("test")
    table, shown = None if steps is None else open_table(steps), []
    for row in rows:
        sequence, said = histories.sequence(row), []
        if table is not None:
            chain = table.chain(int(targets.users[row]), len(sequence))
            said = [
                {"role": step.label(), "sentences": list(sentences)}
                for step, sentences in zip(chain.pattern.steps, chain.steps, strict=True)
            ]
        example: Example = {
            "user": split.train.user_keys[targets.users[row]],
            "history": [names[item] for item in sequence[-NEWEST:]],
            "steps": said,
            "truth": names[targets.items[row]],
            "recommendations": {name: _top(best, row, names) for name, best in rankings.items()},
        }
        shown.append(example)
    return shown


def _top(rankings: Rankings, row: int, names: list[str]) -> list[ListedItem]:
    items, scores = (part[row][:10].tolist() for part in (rankings.items, rankings.scores))
    listed = zip(items, scores, strict=True)
    return [{"title": names[item], "score": score} for item, score in listed if item >= 0]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the processor."""
    names = ("scoter", "torch", "numpy", "scikit-learn", "sentence-transformers")
    libraries = {name: version(name) for name in names}
    return {"python": platform.python_version(), "machine": platform.machine(), **libraries}
