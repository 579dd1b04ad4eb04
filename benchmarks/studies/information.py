"""Information in the order of the steps of real chains, over each collapsed form, in nats.

The chains are those of a finished run. Targets are those of validation, decoders are fitted on
other users, and no test target is read. Given is a pooled history, which is less than a recommender
sees, so that a chain is worth more here (F1). A step is its sentence's principal axes beside the
vector of the item that it ends by naming. A form that keeps steps apart also names their items,
with one weight a step in the decoder; a pooled form names nothing.

Rows of kind `over` are I(Y; ordered chain | form, history) by the nested paired V-information of
`theory.estimators.token_choice`: what a linear reader beside random features can use, not a bound.
T1 says that the form loses as much log-loss. The null form is the ordered chain itself: what is
measured over it is noise of the second fit. `prefix` is what each further step adds. What a lift
certifies, and how high recall could go, says `python -m benchmarks certificate`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from jaxtyping import Float, Int

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import interval
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.chains.table import load_chains
from scoter.seeding import derive_seed
from scoter.stages.data import open_semantic_ids
from scoter.stages.finished import FinishedRun
from scoter.stages.reasoning import open_steps
from scoter.storage.arrays import load_arrays
from scoter.storage.store import git_commit
from scoter.types import Part, StepEmbeddings
from theory.estimators.token_choice import Decoder, popularity_decoder, token_levels

FILE = "information.json"
USERS = 12_000
VECTOR_DIMS = 32
X_SEEN = """\
the mean vector of the last 20 items beside the vector of the last item, 32 principal axes each"""
ESTIMATOR = """\
nested paired V-information, 4 folds over users, per semantic-ID token; 95 % intervals over users"""
NULL = "ordered chain itself (null)"


@dataclass(frozen=True, eq=False)
class Chains:
    """The chains of a sample of validation users, and what they are asked about."""

    pattern: Sequence[str]  # the label of each step
    steps: Float[np.ndarray, "n steps dim"]
    named: Int[np.ndarray, "n steps"]  # the item that each step names, -1 where none
    seen: Float[np.ndarray, "n seen"]  # the pooled history
    targets: Int[np.ndarray, " n"]
    users: Int[np.ndarray, " n"]
    codes: Int[np.ndarray, "items levels"]
    items: Float[np.ndarray, "items axes"]  # principal axes of the items' vectors
    counts: Float[np.ndarray, " items"] | Int[np.ndarray, " items"]  # training interactions


def measure(run: Path, users: int = USERS, seed: int = 0, results: Path = RESULTS) -> Row:
    """Measure the finished run in a folder; write `information.json` and return it."""
    began, finished = time.process_time(), FinishedRun.at(run)
    chains = open_chains(finished, users, seed)
    dataset, rows = finished.outcome["dataset"], list(rows_of(chains, seed))
    result: Row = {"dataset": dataset, "run": finished.artefact.key}
    result |= {"chains": finished.made_from("chains").key, "commit": git_commit(), "seed": seed}
    result |= {"users": len(chains.targets), "split": "valid"}
    result |= {"reasoner": finished.outcome["reasoner"], "pattern": list(chains.pattern)}
    result |= {"given": X_SEEN, "estimator": ESTIMATOR}
    result["rows"] = rows
    result["cpu_seconds"] = time.process_time() - began
    study.write(results / FILE, result)
    return result


def open_chains(finished: FinishedRun, users: int, seed: int, part: Part = "valid") -> Chains:
    """The chains of at most so many users of a split that have one."""
    import torch

    from scoter.models.step_reader import StepReader

    if not {"chains", "semantic-ids"} <= finished.outcome["artefacts"].keys():
        raise ConfigError(
            f"run = {finished.artefact.path}: none of its methods reads chains with semantic IDs; "
            "pass a run with a structured arm, such as beauty-scoter"
        )
    _, catalog, split = finished.data
    ids, written = finished.made_from("semantic-ids"), finished.made_from("chains")
    embedded = finished.store.find("items", ids.manifest()["inputs"][0])
    vectors = load_arrays(embedded.file("vectors.safetensors"))["vectors"]
    items = principal_axes(vectors, VECTOR_DIMS)
    sentences = load_chains(written.folder()).sentences
    steps = with_named_items(open_steps(written), sentences, item_names(catalog), items)
    histories = split.histories(part)
    there = np.flatnonzero(steps.chain_rows(histories.users, histories.lengths) >= 0)
    rng = np.random.default_rng(derive_seed(seed, "information"))
    chosen = np.sort(rng.permutation(there)[:users])
    sampled = histories.select(chosen)
    rows = [sampled.sequence(row) for row in range(len(sampled))]
    pooled = [items[row[-20:]].mean(0) for row in rows]
    asked = (torch.from_numpy(x.astype(np.int64)) for x in (sampled.users, sampled.lengths))
    dense = steps.dense(steps.chain_rows(sampled.users, sampled.lengths))[0]
    return Chains(
        [step.label() for step in steps.pattern.steps],
        dense - dense.mean(0, dtype=float).astype(dense.dtype),  # as a fusion reads them
        StepReader(steps).named(*asked).numpy(),
        np.c_[np.array(pooled), items[[row[-1] for row in rows]]],
        split.targets(part).items[chosen],
        sampled.users,
        open_semantic_ids(ids).codes,
        items,
        np.bincount(split.train.items, minlength=catalog.item_count),
    )


def with_named_items(
    steps: StepEmbeddings, sentences: Sequence[str], names: Sequence[str], items: np.ndarray
) -> StepEmbeddings:
    """Principal axes of each sentence, beside the mean vector of the items whose name ends it.

    A step names an item where only one bears the name.
    """
    from scoter.transfer.grounded import items_named

    last, alone = np.zeros((len(sentences), items.shape[1])), np.full(len(sentences), -1)
    for row, (_, bearers) in enumerate(items_named(sentences, names)):
        if bearers:
            last[row] = items[bearers].mean(axis=0)
            alone[row] = bearers[0] if len(bearers) == 1 else -1
    vectors = np.c_[principal_axes(steps.vectors, VECTOR_DIMS), last].astype(np.float32)
    return replace(steps, vectors=vectors, named=alone)


def rows_of(chains: Chains, seed: int) -> Iterator[Row]:
    """The rows of every kind."""
    levels = token_levels(chains.codes, chains.targets, chains.items, chains.counts)
    popular = popularity_decoder(levels, chains.users, seed=seed)
    base = popular.extend(chains.seen)
    yield nats_row("seen", "history over popularity", base, popular)
    width = chains.steps.shape[1] * VECTOR_DIMS
    ordered, named = widened(flat(chains.steps), width, seed), chains.named
    yield nats_row("whole", "ordered chain over the history", base.extend(ordered, named), base)
    for name, (form, kept) in collapsed_forms(chains, seed).items():
        before = base.extend(widened(form, width, seed), kept)
        yield nats_row("form", f"{name} over the history", before, base)
        yield nats_row("over", name, before.extend(ordered, named), before)
    before = base
    for step, label in enumerate(chains.pattern, start=1):
        prefix = widened(flat(chains.steps[:, :step]), width, seed)
        after = before.extend(prefix, named[:, :step])
        yield nats_row("prefix", f"{step}. {label}", after, before)
        before = after


def collapsed_forms(
    chains: Chains, seed: int
) -> dict[str, tuple[Float[np.ndarray, "n numbers"], Int[np.ndarray, "n kept"] | None]]:
    """The numbers of each collapsed form, and the items that it still names."""
    steps, named, rng = chains.steps, chains.named, np.random.default_rng([seed, 1])
    n, count, dim = steps.shape
    turns = [(rng.permutation(dim), rng.choice([-1.0, 1.0], dim)) for _ in range(count)]
    length = max(float(np.linalg.norm(steps, axis=2).mean()), 1e-9)
    waves = rng.standard_normal((dim, 256)) * 2 / length
    shift = rng.uniform(0, 2 * np.pi, 256)
    order = rng.random((n, count)).argsort(1)
    circle = np.random.default_rng([seed, 3]).permutation(n)
    donor = np.empty(n, dtype=int)
    donor[circle] = np.roll(circle, 1)  # each user's next one on a random circle
    shuffled = np.take_along_axis(steps, order[..., None], axis=1)
    in_any_order = np.take_along_axis(named, order, axis=1)
    tagged = [steps[:, k, axes] * signs for k, (axes, signs) in enumerate(turns)]
    cosines = [np.cos(steps[:, k] @ waves + shift) for k in range(count)]
    return {
        "mean pool": (steps.mean(1), None),
        "position-tagged pool": (np.mean(tagged, axis=0), None),
        "bag": (np.c_[steps.mean(1), np.mean(cosines, axis=0)], in_any_order),
        "last step only": (steps[:, -1], named[:, -1:]),
        "another user's chain": (flat(steps[donor]), named[donor]),
        "fresh shuffle": (flat(shuffled), in_any_order),
        NULL: (flat(steps), named),
    }


def widened(values: np.ndarray, width: int, seed: int) -> np.ndarray:
    """At most `width` principal axes beside as many random cosines, so decoders have one size."""
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


def nats_row(kind: str, name: str, after: Decoder, before: Decoder) -> Row:
    by_level = after.held_out - before.held_out
    gain = by_level.sum(0)
    half, mean = 1.959964 * float(gain.std(ddof=1)) / np.sqrt(len(gain)), float(gain.mean())
    row = {"kind": kind, "name": name, "nats": mean, "low": mean - half, "high": mean + half}
    return row | {"n": len(gain), "by_token": [float(value) for value in by_level.mean(1)]}


def flat(steps: np.ndarray) -> np.ndarray:
    return steps.reshape(len(steps), -1)


@click.command()
@study.run_argument
@study.users_option(USERS, least=100)
@study.seed_option
@study.results_option
def command(run: Path, users: int, seed: int, results: Path) -> None:
    for row in measure(run, users, seed, results)["rows"]:
        nats = interval(row | {"mean": row["nats"]})
        click.echo(f"{row['kind']:7} {row['name']}: {nats} of {row['n']} users")
