"""What the order of the steps is worth on real chains: usable information of ordered chains over
each collapsed form.

A finished run with a structured arm names the chains, the items' semantic-ID tokens and the split.
Everything is measured on validation targets, decoders are fitted on other users (cross-fitting),
and no test event is looked at. Units are nats.

- Given X~, a pooled history: the mean vector of a user's last twenty items beside the vector of the
  last one. That is *less* than a recommender sees, so that a chain is worth more here than in a
  recommender (F1).
- A step: principal axes of its sentence, beside the vector of the item that it ends by naming,
  zeros where it names none. A form that keeps steps apart also names their items, one weight a step
  in the decoder; a pooled one names nothing.
- `over`: I(Y; ordered chain | form, X~) by the nested paired V-information of
  `theory.estimators.token_choice`; T1 says that this is the gap of log-loss that the form costs. It
  is what a linear reader beside random features can use, no bound. The null form is the ordered
  chain itself: what is found over it is what a second fit wins back from the first, not
  information.
- `prefix`: what each further step adds to the steps before it.
- `cap`: T7's largest recall for that information beside the observed lift of the recommenders. It
  holds for the Bayes recall of the collapsed form and the true information; both are estimates
  here, so it is an illustration and no certificate.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.collect import RESULTS, ranks_path
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.storage.store import git_commit
from scoter.types import StepEmbeddings

USERS = 12_000
VECTOR_DIMS = 32
X_SEEN = (
    "the mean vector of the last 20 items beside the vector of the last item, 32 principal axes "
    "each"
)
NULL = "ordered chain itself (null)"
ARMS = ("scoter", "tiger-meanpool")


def main(run: Path, users: int = USERS, seed: int = 0, results: Path = RESULTS) -> dict[str, Any]:
    """Measure a finished run's folder, write `results/information.json` and return what stands in
    it.

    Raises:
        DataError: the folder holds no finished run.
        ConfigError: the run has no chains.
    """
    began = time.process_time()
    chains = open_run(run, users, seed)
    rows = list(measure(chains, seed))
    result = {
        "dataset": chains["dataset"],
        "run": chains["run"],
        "chains": chains["key"],
        "commit": git_commit(),
        "seed": seed,
        "users": len(chains["targets"]),
        "split": "valid",
        "reasoner": chains["reasoner"],
        "pattern": chains["pattern"],
        "given": X_SEEN,
        "estimator": "nested paired V-information, 4 folds over users, per semantic-ID token; 95 % "
        "intervals over users",
        "rows": rows + caps(rows, chains["dataset"], results, seed),
        "cpu_seconds": time.process_time() - began,
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "information.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def open_run(run: Path, users: int, seed: int) -> dict[str, Any]:
    """Arrays of a sample of validation users: steps [n, K, dim], items named [n, K], the history's
    vectors, targets, items."""
    import torch

    from scoter.models.step_reader import StepReader
    from scoter.reasoning.catalogue.facets import item_names
    from scoter.reasoning.chains.table import load_chains
    from scoter.stages.data import open_semantic_ids
    from scoter.stages.finished import FinishedRun
    from scoter.stages.reasoning import open_steps
    from scoter.storage.arrays import load_arrays

    finished = FinishedRun.at(run)
    outcome = finished.outcome
    if not {"chains", "semantic-ids"} <= outcome["artefacts"].keys():
        raise ConfigError(
            f"run = {run}: none of its methods reads chains with semantic IDs; pass a run with a "
            "structured arm, such as beauty-scoter"
        )
    _, catalog, split = finished.data
    ids, written = finished.made_from("semantic-ids"), finished.made_from("chains")
    made = finished.store.find("items", ids.manifest()["inputs"][0])
    vectors = load_arrays(made.file("vectors.safetensors"))["vectors"]
    items = principal_axes(vectors, VECTOR_DIMS)
    steps = with_named_items(
        open_steps(written), load_chains(written.folder()).sentences, item_names(catalog), items
    )
    histories = split.histories("valid")
    there = np.flatnonzero(steps.chain_rows(histories.users, histories.lengths) >= 0)
    chosen = np.sort(
        np.random.default_rng(derive_seed(seed, "information")).permutation(there)[:users]
    )
    some = histories.select(chosen)
    asked = (torch.from_numpy(values.astype(np.int64)) for values in (some.users, some.lengths))
    return {
        "dataset": outcome["dataset"],
        "run": finished.artefact.key,
        "key": written.key,
        "reasoner": outcome["reasoner"],
        "pattern": [step.label() for step in steps.pattern.steps],
        "steps": centred(steps.dense(steps.chain_rows(some.users, some.lengths))[0]),
        "named": StepReader(steps).named(*asked).numpy(),
        "seen": _seen(items, some),
        "targets": split.valid.items[chosen],
        "users": some.users,
        "codes": open_semantic_ids(ids).codes,
        "items": items,
        "counts": np.bincount(split.train.items, minlength=catalog.item_count),
    }


def with_named_items(
    steps: StepEmbeddings, sentences: Sequence[str], names: Sequence[str], items: np.ndarray
) -> StepEmbeddings:
    """Principal axes of each sentence, beside the mean vector of the items that bear the name with
    which it ends, and the item where only one bears it."""
    from scoter.transfer.grounded import items_named

    told, alone = np.zeros((len(sentences), items.shape[1])), np.full(len(sentences), -1)
    for row, (_, bearers) in enumerate(items_named(sentences, names)):
        if bearers:
            told[row] = items[bearers].mean(axis=0)
            alone[row] = bearers[0] if len(bearers) == 1 else -1
    return replace(
        steps,
        vectors=np.c_[principal_axes(steps.vectors, VECTOR_DIMS), told].astype(np.float32),
        named=alone,
    )


def measure(chains: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Rows of kind `over`, one per collapsed form, `whole` (the chain itself over X~), and
    `prefix`, one per step."""
    from theory.estimators.token_choice import popularity_decoder, token_levels

    levels = token_levels(chains["codes"], chains["targets"], chains["items"], chains["counts"])
    popular = popularity_decoder(levels, chains["users"], seed=seed)
    base = popular.extend(chains["seen"])
    yield _row("seen", "history over popularity", base, popular)
    width = chains["steps"].shape[1] * VECTOR_DIMS
    ordered, named = widened(_ordered(chains["steps"]), width, seed), chains["named"]
    yield _row("whole", "ordered chain over the history", base.extend(ordered, named), base)
    for name, (form, kept) in collapsed_forms(chains, seed).items():
        before = base.extend(widened(form, width, seed), kept)
        yield _row("form", f"{name} over the history", before, base)
        yield _row("over", name, before.extend(ordered, named), before)
    before = base
    for step, label in enumerate(chains["pattern"], start=1):
        after = before.extend(
            widened(_ordered(chains["steps"][:, :step]), width, seed), named[:, :step]
        )
        yield _row("prefix", f"{step}. {label}", after, before)
        before = after


def collapsed_forms(
    chains: dict[str, Any], seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Each collapsed form as an array [n, numbers], before all are brought to one width, and the
    items that it still names."""
    steps, named, rng = chains["steps"], chains["named"], np.random.default_rng([seed, 1])
    n, count, dim = steps.shape
    turns = [(rng.permutation(dim), rng.choice([-1.0, 1.0], dim)) for _ in range(count)]
    waves = (
        rng.standard_normal((dim, 256)) * 2 / max(float(np.linalg.norm(steps, axis=2).mean()), 1e-9)
    )
    shift = rng.uniform(0, 2 * np.pi, 256)
    order = rng.random((n, count)).argsort(1)
    shuffled, in_any_order = (
        np.take_along_axis(steps, order[..., None], axis=1),
        np.take_along_axis(named, order, axis=1),
    )
    donor = _donors(n, seed)
    bag = np.c_[
        steps.mean(1), np.mean([np.cos(steps[:, k] @ waves + shift) for k in range(count)], axis=0)
    ]
    return {
        "mean pool": (steps.mean(1), None),
        "position-tagged pool": (
            np.mean([steps[:, k, axes] * signs for k, (axes, signs) in enumerate(turns)], axis=0),
            None,
        ),
        "bag": (bag, in_any_order),
        "last step only": (steps[:, -1], named[:, -1:]),
        "another user's chain": (_ordered(steps[donor]), named[donor]),
        "fresh shuffle": (_ordered(shuffled), in_any_order),
        NULL: (_ordered(steps), named),
    }


def widened(values: np.ndarray, width: int, seed: int) -> np.ndarray:
    """At most `width` principal axes beside as many random cosines of them: every form is read by a
    decoder of one size."""
    axes = principal_axes(values, width)
    rng = np.random.default_rng([seed, 2])
    waves = rng.standard_normal((axes.shape[1], width)) / np.sqrt(axes.shape[1])
    return np.c_[axes, np.cos(axes @ waves + rng.uniform(0, 2 * np.pi, width))]


def principal_axes(values: np.ndarray, most: int) -> np.ndarray:
    """Scores on at most so many principal axes, over the deviation of the first."""
    middle = np.asarray(values, dtype=float) - np.mean(values, axis=0, dtype=float)
    spread, axes = np.linalg.eigh(middle.T @ middle / len(middle))
    kept = np.argsort(-spread)[: min(most, int((spread > 1e-9 * max(spread.max(), 1e-300)).sum()))]
    return middle @ axes[:, kept] / np.sqrt(max(spread.max(), 1e-300))


def centred(steps: np.ndarray) -> np.ndarray:
    """Each step minus the mean of its position, as a fusion reads it."""
    return steps - steps.mean(0, dtype=float).astype(steps.dtype)


def caps(
    rows: list[dict[str, Any]], dataset: str, results: Path, seed: int
) -> list[dict[str, Any]]:
    """T7 beside the observed lift in recall@10, where both arms were collected; a missing arm gives
    no row."""
    from scoter.evaluation.evaluator import load_user_metrics
    from scoter.evaluation.metrics import per_user
    from scoter.evaluation.significance import paired_bootstrap
    from theory.bounds import certified_information, recall_cap

    paths = [ranks_path(results, dataset, arm, 0, "valid") for arm in ARMS]
    if not all(path.exists() for path in paths):
        return []
    ours, theirs = (per_user(load_user_metrics(path), "recall@10") for path in paths)
    lift, nats = (
        paired_bootstrap(ours, theirs, seed=seed),
        next(row for row in rows if row["name"] == "mean pool"),
    )
    information = {
        "estimate": max(nats["nats"], 0.0),
        "upper end of its interval": max(nats["high"], 0.0),
    }
    needed = (
        certified_information(float(ours.mean()), float(theirs.mean()))
        if ours.mean() >= theirs.mean()
        else 0.0
    )
    shared = {
        "kind": "cap",
        "recall": float(ours.mean()),
        "collapsed_recall": float(theirs.mean()),
        "lift": float(lift.mean),
        "low": float(lift.low),
        "high": float(lift.high),
        "n": len(ours),
        "nats_needed_for_the_lift": needed,
        "note": "collected arms of seed 0; a trained recall stands for the Bayes recall, so no "
        "certificate",
    }
    return [
        {
            **shared,
            "name": f"{ARMS[0]} over {ARMS[1]}, {which}",
            "nats": value,
            "recall_cap": recall_cap(theirs.mean(), value),
        }
        for which, value in information.items()
    ]


def _row(kind: str, name: str, after: Any, before: Any) -> dict[str, Any]:
    by_level = after.held_out - before.held_out
    gain = by_level.sum(0)
    half = 1.959964 * float(gain.std(ddof=1)) / np.sqrt(len(gain))
    mean = float(gain.mean())
    tokens = [float(value) for value in by_level.mean(1)]
    return {
        "kind": kind,
        "name": name,
        "nats": mean,
        "low": mean - half,
        "high": mean + half,
        "n": len(gain),
        "by_token": tokens,
    }


def _ordered(steps: np.ndarray) -> np.ndarray:
    return steps.reshape(len(steps), -1)


def _donors(count: int, seed: int) -> np.ndarray:
    """Each user's next one on a random circle."""
    circle = np.random.default_rng([seed, 3]).permutation(count)
    donor = np.empty(count, dtype=int)
    donor[circle] = np.roll(circle, 1)
    return donor


def _seen(items: np.ndarray, some: Any) -> np.ndarray:
    last = items[some.items[some.offsets[1:] - 1]]
    ends = zip(some.offsets[:-1], some.offsets[1:], strict=True)
    pooled = [items[some.items[max(low, high - 20) : high]].mean(0) for low, high in ends]
    return np.c_[np.array(pooled), last]
