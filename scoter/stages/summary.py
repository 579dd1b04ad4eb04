"""The last stage: metrics, paired differences, readings and examples as one run folder."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scoter.config import FusionConfig, to_json
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.chains.table import load_chains
from scoter.seeding import derive_seed
from scoter.stages.context import PARTS, Context
from scoter.stages.data import open_data
from scoter.stages.networks import open_rankings
from scoter.stages.reasoning import open_pattern, open_steps
from scoter.storage.arrays import load_arrays, save_arrays
from scoter.storage.store import Artefact, Store, git_commit
from scoter.types import Catalog, Rankings, ReasoningPattern, Split, UserMetrics

COMPARED = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
EXAMPLE_USERS = 6


def summarise(
    context: Context,
    data: Artefact,
    ids: Artefact | None,
    pattern: Artefact | None,
    steps: Artefact | None,
    trained: dict[str, Artefact],
    ranked: dict[str, Artefact],
) -> Artefact:
    """Everything that tables and the report need: `run.json`, `ranks/`, `attention/`,
    `examples.json`."""
    experiment = context.experiment

    def build(out: Path, scratch: Path) -> None:
        log, catalog, split = open_data(data)
        rankings = {
            name: {part: open_rankings(artefact, part) for part in PARTS}
            for name, artefact in ranked.items()
        }
        metrics = {name: measure(rankings[name], split, out / "ranks", name) for name in rankings}
        if pattern is not None:
            for name, method in experiment.methods.items():
                if method.fusion is not None:
                    readings = load_arrays(ranked[name].file("readings-test.safetensors"))
                    read = slot_pattern(method.fusion, open_pattern(pattern), steps)
                    save_attention(out / "attention", name, method.fusion, read, readings)
        tests = {name: parts["test"] for name, parts in rankings.items()}
        few = evenly(len(split.targets("test")), EXAMPLE_USERS)
        (out / "examples.json").write_text(
            json.dumps(examples(tests, split, catalog, steps, few), indent=1)
        )
        outcome = {
            "experiment": experiment.name,
            "dataset": experiment.data.name,
            "seed": context.seed,
            "commit": git_commit(),
            "users": log.user_count,
            "items": catalog.item_count,
            "note": experiment.note,
            "full_data": experiment.data.max_users == 0 and experiment.data.simulated is None,
            "methods": {
                name: describe_method(context, name, trained[name], metrics[name])
                for name in metrics
            },
            "differences": differences(
                {name: parts["test"] for name, parts in metrics.items()}, context.seed
            ),
            "semantic_ids": None
            if ids is None
            else json.loads(ids.file("report.json").read_text()),
            "pattern": None
            if pattern is None
            else json.loads(pattern.file("pattern.json").read_text()),
            "reasoner": None if steps is None else chain_model(steps),
            "chains_model": None if steps is None else load_chains(steps.folder()).model,
            "versions": versions(),
            "config": json.loads(to_json(experiment)),
            "artefacts": {
                "prepare": data.key,
                **({"semantic-ids": ids.key} if ids is not None else {}),
                "train": {name: artefact.key for name, artefact in trained.items()},
                **({"discover": pattern.key} if pattern is not None else {}),
                **({"chains": steps.key} if steps is not None else {}),
            },
        }
        (out / "run.json").write_text(json.dumps(outcome, indent=1))

    inputs: list[Artefact | str] = [
        data,
        *([ids] if ids is not None else []),
        *trained.values(),
        *ranked.values(),
    ]
    inputs += [artefact for artefact in (pattern, steps) if artefact is not None]
    return context.stage(
        "run", {"experiment": json.loads(to_json(experiment)), "seed": context.seed}, inputs, build
    )


def measured_rankings(store: Store, run: Artefact) -> dict[str, Artefact]:
    """The rankings of each method that a run was made from, wherever they were computed.

    Raises:
        StoreError: one is no longer in the store.
    """
    outcome = json.loads(run.file("run.json").read_text())
    names = list(outcome["methods"])
    before = 1 + ("semantic-ids" in outcome["artefacts"]) + len(names)  # data, IDs, weights
    keys = run.manifest()["inputs"][before:]
    return {name: store.find("rank", key) for name, key in zip(names, keys, strict=False)}


def measure(
    rankings: dict[str, Rankings], split: Split, folder: Path, name: str
) -> dict[str, UserMetrics]:
    """Each user's rank in both parts, also written to `folder`."""
    from scoter.evaluation.evaluator import Evaluator, save_user_metrics

    folder.mkdir(exist_ok=True)
    metrics = {part: Evaluator().evaluate(rankings[part], split.targets(part)) for part in PARTS}
    for part in PARTS:
        save_user_metrics(metrics[part], folder / f"{name}-{part}.parquet")
    return metrics


def describe_method(
    context: Context, name: str, trained: Artefact, metrics: dict[str, UserMetrics]
) -> dict[str, Any]:
    from scoter.evaluation.metrics import mean_metrics

    return {
        **json.loads(trained.file("training.json").read_text()),
        "metrics": {part: mean_metrics(metrics[part]) for part in PARTS},
        "config": json.loads(to_json(context.experiment.methods[name])),
        "train": trained.key,
        "trained_at": trained.manifest()["commit"],
    }


def differences(metrics: dict[str, UserMetrics], seed: int) -> list[dict[str, Any]]:
    """Paired bootstrap intervals of every later method minus every earlier one, in the experiment's
    order."""
    from scoter.evaluation.metrics import per_user
    from scoter.evaluation.significance import paired_bootstrap

    names, rows = list(metrics), []
    for metric in COMPARED:
        values = {name: per_user(metrics[name], metric) for name in names}
        for index, better in enumerate(names):
            for worse in names[:index]:
                found = paired_bootstrap(
                    values[better],
                    values[worse],
                    seed=derive_seed(seed, "bootstrap", better, worse, metric),
                )
                low, mean, high = float(found.low), float(found.mean), float(found.high)
                rows.append(
                    {
                        "better": better,
                        "worse": worse,
                        "metric": metric,
                        "mean": mean,
                        "low": low,
                        "high": high,
                    }
                )
    return rows


def save_attention(
    folder: Path,
    name: str,
    fusion: FusionConfig,
    pattern: ReasoningPattern,
    readings: dict[str, np.ndarray],
) -> None:
    """Mean gate and mean attention per slot, with the slots' names; and both for every test
    user."""
    from scoter.transfer.build import slot_labels

    folder.mkdir(exist_ok=True)
    roles = slot_labels(fusion, pattern)
    means = {
        "gate_mean": [float(readings["gate"].mean())],
        "attention_mean": readings["attention"].mean(0).tolist(),
    }
    (folder / f"{name}.json").write_text(
        json.dumps({"roles": [*roles, "nothing"], **means}, indent=1)
    )
    halved = {key: array.astype(np.float16) for key, array in readings.items()}
    save_arrays(folder / f"{name}.safetensors", **halved)


def slot_pattern(
    fusion: FusionConfig, pattern: ReasoningPattern, steps: Artefact | None
) -> ReasoningPattern:
    """The steps as the fusion sees them: those of the pattern, or one for each place in a step's
    list of sentences."""
    from scoter.transfer.grounded import one_step_per_sentence

    if fusion.slots == "step" or steps is None:
        return pattern
    return one_step_per_sentence(open_steps(steps)).pattern


def evenly(total: int, count: int) -> list[int]:
    """At most `count` of `total` rows, evenly spaced.

    >>> evenly(9, 3), evenly(2, 6)
    ([0, 4, 8], [0, 1])
    """
    return np.linspace(0, total - 1, min(count, total)).astype(int).tolist()


def examples(
    rankings: dict[str, Rankings],
    split: Split,
    catalog: Catalog,
    steps: Artefact | None,
    rows: list[int],
) -> list[dict[str, Any]]:
    """Some test users: history, chain, what each method recommends, and the truth."""
    names, histories, targets = item_names(catalog), split.histories("test"), split.targets("test")
    table = None if steps is None else load_chains(steps.folder())
    found = []
    for row in rows:
        sequence = histories.sequence(row)
        chain = None if table is None else table.chain(int(targets.users[row]), len(sequence))
        found.append(
            {
                "user": split.train.user_keys[targets.users[row]],
                "history": [names[item] for item in sequence[-20:]],
                "steps": []
                if chain is None
                else [
                    {"role": step.label(), "sentences": list(sentences)}
                    for step, sentences in zip(chain.pattern.steps, chain.steps, strict=True)
                ],
                "truth": names[targets.items[row]],
                "recommendations": {
                    name: _top(ranked, row, names) for name, ranked in rankings.items()
                },
            }
        )
    return found


def chain_model(steps: Artefact) -> str:
    """Who wrote the chains, and which encoder embedded them."""
    encoder = json.loads(steps.file("encoder.json").read_text())["encoder"]
    return f"{load_chains(steps.folder()).model}, embedded by {encoder}"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the processor."""
    names = ("scoter", "torch", "numpy", "scikit-learn", "sentence-transformers")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version(name) for name in names},
    }


def _top(rankings: Rankings, row: int, names: list[str], count: int = 10) -> list[dict[str, Any]]:
    pairs = zip(
        rankings.items[row][:count].tolist(), rankings.scores[row][:count].tolist(), strict=True
    )
    return [{"title": names[item], "score": score} for item, score in pairs if item >= 0]
