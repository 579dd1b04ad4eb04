"""What the users of one split certify about structure: gain, information, ceiling and lift.

RUN is the folder of a finished run, or an `.npz` file of chains of one's own: `steps` [n, K, d],
`lists` [n, k] (whole numbers: the items that a reader of the ordered chain lists, best first) and
`targets` [n], for n users that the reader was not fitted on; `seen` [n, d] may hold what every
reader sees. A -1 in `lists` is no item; every user has a target.

A collapsed reader sees one of so many cells of the mean of the steps, beside the history where a
run has one. The cells are made from half of the users; the other half certifies. With the stated
confidence, for all numbers of cells at once, the reader of the chain gains at least `gain_lower` in
recall over *every* reader of the cell; with the same confidence, again for all of them, the chain
tells at least `nats_lower` beyond it (T24). Each holds for one reader: gains and nats of two
readers all hold at once with a risk of four times as much at most.
No sample certifies a gain over all readers of the pool itself, whose values never repeat (F11): the
more cells, the less is certified. The lift is over the best of the tables that count targets by
cell, and of the method `--collapsed` where its ranks were collected. The best is chosen on the
users who judge it, so the lift is too low rather than too high, and its interval does not count
the choice.

Of a run, two readers are judged: the trained method, for the whole chain, and the items that the
recommendation steps name, in their order, for these steps alone. The ceiling is what recall could
be at most if the chain told as much beyond its pool as a linear reader finds on some of the users:
the lower of T7 over the collapsed recall and T16 over popularity. Both are estimates there.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from warnings import catch_warnings

import click
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.vq import kmeans2, vq

from benchmarks.studies import study
from benchmarks.studies.information import (
    VECTOR_DIMS,
    Chains,
    flat,
    nats_row,
    open_chains,
    principal_axes,
    widened,
)
from benchmarks.studies.study import Row
from benchmarks.suite.collect import ranks_path
from benchmarks.tables.table import interval
from scoter.errors import ConfigError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.stages.finished import FinishedRun
from scoter.storage.store import git_commit
from scoter.types import Part
from theory.bounds import certify_gain, certify_information, paired_recall_interval, recall_ceiling
from theory.estimators.token_choice import popularity_decoder, token_levels
from theory.npz import read_arrays

FILE = "certificate.json"
CELLS = (1, 4, 16, 64, 256)
K, SLOPE, RISK = 10, 3.0, 0.05  # the length of lists, T24's trade, the risk of all certificates
INFORMED = 2000  # users on whom the nats are estimated


@dataclass(frozen=True, eq=False)
class Judged:
    """The users whom a reader of a chain was asked about, and what a collapsed reader would see."""

    name: str
    hits: Bool[np.ndarray, " n"]
    pool: Float[np.ndarray, "n dims"]
    targets: Int[np.ndarray, " n"]
    other: Bool[np.ndarray, " n"] | None = None  # the hits of a trained collapsed method


def measure(
    run: Path, method: str | None, collapsed: str, part: Part, seed: int, results: Path
) -> Row:
    """Judge a finished run, or a file of chains; a run's row is written to `certificate.json`."""
    if run.suffix == ".npz":
        return {"rows": [certified(judged, seed) for judged in _from_file(run)]}
    finished = FinishedRun.at(run)
    chains = open_chains(finished, len(finished.split.targets(part).items), seed, part)
    name = finished.method(method).name
    result: Row = {"dataset": finished.outcome["dataset"], "run": finished.artefact.key}
    result |= {"method": name, "split": part, "commit": git_commit(), "seed": seed, "k": K}
    result |= {"pattern": list(chains.pattern), "collapsed": collapsed, "risk": RISK}
    result["rows"] = []
    for judged, mine in _of_run(finished, name, collapsed, chains, part, results):
        row = certified(judged, seed)
        result["rows"].append(row | _ceiling(mine, row["collapsed_recall"], seed))
    study.write(results / FILE, result)
    return result


def certified(judged: Judged, seed: int) -> Row:
    """What half of the users certify with each number of cells, and the lift there."""
    half = np.random.default_rng(seed).permutation(len(judged.hits)) < len(judged.hits) // 2
    hits, targets = judged.hits[~half], judged.targets[~half]
    confidence, rows, tables = 1 - RISK / len(CELLS), [], []
    for cells in (cells for cells in CELLS if cells <= half.sum()):
        labels = _cells(judged.pool, half, cells, seed)
        lists = _counted(labels[half], judged.targets[half], cells, int(judged.targets.max()) + 1)
        tables.append((lists[labels[~half]] == targets[:, None]).any(1))
        rows_given = (hits, labels[~half], targets, K)
        sure = asdict(certify_gain(*rows_given, confidence=confidence))
        sure["nats_lower"] = certify_information(*rows_given, slope=SLOPE, confidence=confidence)
        rows.append({"cells": cells, "table_recall": float(tables[-1].mean()), **sure})
    rivals = tables + ([] if judged.other is None else [judged.other[~half]])
    best = max(rivals, key=np.mean)
    only = (int((hits & ~best).sum()), int((best & ~hits).sum()))
    low, high = paired_recall_interval(*only, len(hits), delta=RISK)
    lift = {"mean": float(hits.mean() - best.mean()), "low": low, "high": high}
    shared = {"name": judged.name, "users": len(hits), "recall": float(hits.mean())}
    return {**shared, "collapsed_recall": float(best.mean()), "lift": lift, "cells": rows}


def _cells(pool: np.ndarray, half: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """The number of each user's cell; the cells' centres are those of the first half."""
    if cells == 1:
        return np.zeros(len(pool), dtype=int)
    with catch_warnings(action="ignore"):  # a cell that nobody is in does no harm
        options = {"minit": "points", "seed": seed, "iter": 10}  # older releases know no `rng`
        centres, _ = kmeans2(pool[half], cells, **options)
    return vq(pool, centres)[0].astype(int)


def _counted(labels: np.ndarray, targets: np.ndarray, cells: int, items: int) -> np.ndarray:
    """The most frequent targets of each cell, filled up by popularity, [cells, K]."""
    counts = np.zeros((cells, items), dtype=np.float32)
    np.add.at(counts, (labels, targets), 1)
    counts += counts.sum(0) / (len(targets) + 1)
    return np.argpartition(-counts, min(K, items - 1), axis=1)[:, :K]


def _from_file(path: Path) -> Iterator[Judged]:
    needed = ("steps", "lists", "targets")
    arrays = read_arrays(path, needed=needed, known=(*needed, "seen"))
    steps, lists, targets = (arrays[name] for name in needed)
    if steps.ndim != 3 or lists.ndim != 2 or not len(steps) == len(lists) == len(targets) >= 4:
        shapes = f"steps {steps.shape}, lists {lists.shape}, targets {targets.shape}"
        raise ConfigError(f"{path}: {shapes}; give [n, K, d], [n, k] and [n], n at least 4")
    seen = arrays.get("seen", np.zeros((len(steps), 0)))
    if seen.ndim != 2 or len(seen) != len(steps):
        raise ConfigError(f"{path}: seen {seen.shape}; give [{len(steps)}, d]")
    for name, values, kinds in (
        ("steps", steps, "iuf"),
        ("seen", seen, "iuf"),
        ("lists", lists, "iu"),
        ("targets", targets, "iu"),
    ):
        if values.dtype.kind not in kinds or not np.isfinite(values).all():
            what = "finite numbers" if "f" in kinds else "whole numbers"
            raise ConfigError(f"{path}: {name} of {values.dtype}; give {what} alone")
    if targets.ndim != 1 or targets.min() < 0:
        raise ConfigError(f"{path}: targets are items >= 0, [n]; drop users without one")
    pool, hits = np.c_[steps.mean(1), seen], (lists[:, :K] == targets[:, None]).any(1)
    yield Judged(path.stem, hits, pool, np.unique(targets, return_inverse=True)[1])


def _of_run(
    finished: FinishedRun, method: str, collapsed: str, chains: Chains, part: Part, results: Path
) -> Iterator[tuple[Judged, Chains]]:
    """The whole chain under the trained method; the recommendation steps under their own order."""
    own = finished.folder / "ranks" / f"{method}-{part}.parquet"
    trained = ranks_path(results, str(finished.outcome["dataset"]), collapsed, finished.seed, part)
    hits = _hits(own, chains.users)
    other = _hits(trained, chains.users) if trained.exists() else None
    yield Judged("whole chain", hits, _pooled(chains), chains.targets, other), chains
    steps = [at for at, step in enumerate(chains.pattern) if step.startswith("recommendation")]
    if steps:
        named = chains.named[:, steps]
        hits = (named[:, :K] == chains.targets[:, None]).any(1)
        mine = replace(chains, steps=chains.steps[:, steps], named=named)
        yield Judged("recommendation step", hits, _pooled(mine), chains.targets), mine


def _hits(path: Path, users: np.ndarray) -> np.ndarray:
    found = load_user_metrics(path)
    order = np.argsort(found.users)
    ranks = found.ranks[order][np.searchsorted(found.users[order], users)]
    return (ranks > 0) & (ranks <= K)


def _pooled(chains: Chains) -> np.ndarray:
    return principal_axes(np.c_[chains.steps.mean(1), chains.seen], VECTOR_DIMS)


def _ceiling(chains: Chains, base: float, seed: int) -> Row:
    """The nats that a linear reader finds beyond pool and history, and the ceiling they give."""
    some = np.sort(np.random.default_rng([seed, 4]).permutation(len(chains.users))[:INFORMED])
    rows = ("steps", "named", "seen", "targets", "users")
    few = replace(chains, **{name: getattr(chains, name)[some] for name in rows})
    levels = token_levels(few.codes, few.targets, few.items, few.counts)
    popular = popularity_decoder(levels, few.users, seed=seed)
    width = 4 * VECTOR_DIMS
    pooled = popular.extend(few.seen).extend(widened(few.steps.mean(1), width, seed))
    whole = pooled.extend(widened(flat(few.steps), width, seed), few.named)
    beyond, all_told = nats_row("", "", whole, pooled), nats_row("", "", whole, popular)
    popularity = few.counts / few.counts.sum()
    found = [
        recall_ceiling(k=K, information=max(beyond["high"], 0.0), baseline_recall=base),
        recall_ceiling(k=K, information=max(all_told["high"], 0.0), popularity=popularity),
    ]
    best = min(found, key=lambda ceiling: ceiling.value)
    nats = {name: float(beyond[name]) for name in ("nats", "low", "high")} | {"users": len(some)}
    return {"beyond": nats, "ceiling": best.value, "statement": best.statement}


@click.command()
@study.run_argument
@study.option("--method", help="The method to judge  [default: the run's last].")
@study.option("--collapsed", default="tiger-meanpool", help="A collected collapsed method.")
@study.option("--part", type=click.Choice(["valid", "test"]), default="test", help="Whose targets.")
@click.option("--picture", type=study.PATH, help="Also draw it into this SVG file.")
@study.seed_option
@study.results_option
def command(
    run: Path, method: str, collapsed: str, part: Part, picture: Path, seed: int, results: Path
) -> None:
    result = measure(run, method, collapsed, part, seed, results)
    for row in result["rows"]:
        click.echo(f"{row['name']}, {row['users']:,} users: Recall@{K} {row['recall']:.4f}")
        for cell in row["cells"]:
            click.echo(
                "  {cells:5} cells: gain over every reader >= {gain_lower:+.4f}, nats >= "
                "{nats_lower:.4f}; the table reaches {table_recall:.4f}".format(**cell)
            )
        click.echo(f"  lift over the best collapsed reader: {interval(row['lift'])}")
        if "ceiling" in row:
            beyond = interval(row["beyond"] | {"mean": row["beyond"]["nats"]})
            ceiling = f"ceiling {row['ceiling']:.4f} by {row['statement']}"
            click.echo(f"  beyond its pool {beyond} nats; {ceiling}")
    if picture:
        from paper_figures.drawn.theory_figures import certificate_of
        from paper_figures.style import save

        save(certificate_of(result).figure, picture.parent, picture.stem, ("svg",))
