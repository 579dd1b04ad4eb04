"""Error and time of every registered estimator on laws whose information is known.

`results/estimators.json` holds one row for each law, number of rows, estimator and seed. It is
written after each row, so that a run that was cut off goes on where it stopped. Truths are closed
forms, quadrature, or invariance under one-to-one maps (a spiral or a power of normal data keeps its
information); for the mixture of normals, a mean of 400,000 exact log ratios whose standard error is
in the row. Where an estimator refuses the data, the row holds the reason and no value.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import click
import numpy as np
from jaxtyping import Float
from scipy.integrate import quad
from scipy.special import digamma, gammaln, logsumexp

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.estimators_page import FILE, page
from scoter.storage.store import git_commit
from theory.exact import OrderChannel, mutual_information

SIZES = (2000, 5000)

Generator = np.random.Generator
Pair = tuple[np.ndarray, np.ndarray]  # x [n] or [n, dims], y the same
Sampler = Callable[[int, Generator], Pair]
Cell = tuple[str, int, str, int]  # law, rows, estimator, seed


@dataclass(frozen=True)
class Law:
    """A joint law of x and y whose information is known."""

    x_kind: str  # continuous or discrete
    y_kind: str
    truth: float  # mutual information in nats
    sample: Sampler  # draws n pairs
    truth_error: float = 0.0  # standard error of the truth, in nats


def laws() -> dict[str, Law]:
    """All laws by name."""
    numbers, labelled = ("continuous", "continuous"), ("continuous", "discrete")
    plain, bent, weak = _pairs(1, 1, 0.8), _pairs(3, 3, 0.8), _pairs(5, 5, 0.5)
    strong = _information(0.8)
    return {
        "normal 1 x 1": Law(*numbers, strong, plain),
        "normal 5 x 5": Law(*numbers, 5 * _information(0.5), weak),
        "normal dense 50 x 50": Law(*numbers, _dense_truth(50, 0.5), _dense(50, 0.5)),
        "normal sparse 50 x 50": Law(*numbers, 2 * strong, _pairs(50, 2, 0.8)),
        "student 2 x 2, 3 degrees": _student_law(2, 3, 0.6),
        "student 1 x 1, 1 degree": _student_law(1, 1, 0.75),
        "spiral of normal 3 x 3": Law(*numbers, 3 * strong, _mapped(_spiral, bent)),
        "half-cube of normal 1 x 1": Law(*numbers, strong, _mapped(_half_cube, plain)),
        "mixture of normals 1 x 1": _mixture_law(),
        "labels to normal 1": Law(*labelled, _labels_truth(), _labels),
        "labels to uniform": Law(*labelled, _overlap_truth(5, 2), _overlap(5, 2)),
        "order channel, ordered": _channel("ordered"),
        "order channel, multiset": _channel("multiset"),
        "independent letters": Law("discrete", "discrete", 0.0, _letters),
    }


def cells(seeds: int, sizes: Sequence[int] = SIZES) -> Iterator[Cell]:
    """The cells whose estimator reads such data, cheap estimators first."""
    from theory.estimators import ESTIMATORS
    from theory.estimators.variational import VARIATIONAL

    slow, every = {*VARIATIONAL, "usable_information"}, laws()
    for name in sorted(ESTIMATORS, key=lambda name: (name in slow, name)):
        reads = ESTIMATORS[name]
        fitting = [
            law
            for law, known in every.items()
            if reads.x_kind in ("any", known.x_kind) and reads.y_kind in ("any", known.y_kind)
        ]
        for seed in range(seeds):
            yield from ((law, n, name, seed) for n in sizes for law in fitting)


def measure(
    seeds: int = 2,
    results: Path = RESULTS,
    budget: float = 1500.0,
    sizes: Sequence[int] = SIZES,
    only: Sequence[str] = (),
) -> Row:
    """Measure missing cells for `budget` CPU-seconds; all rows, and how many cells are missing."""
    path, began, every, commit = results / FILE, time.process_time(), laws(), git_commit()
    rows = study.read(path, {"rows": []})["rows"]
    done = set(map(itemgetter("law", "n", "estimator", "seed"), rows))
    wanted = [cell for cell in cells(seeds, sizes) if not only or cell[2] in only]
    for cell in wanted:
        if cell not in done and time.process_time() - began <= budget:
            rows.append({**measure_cell(every[cell[0]], *cell), "commit": commit})
            done.add(cell)
            study.write(path, {"unit": "nats", "rows": rows}, indent=0)
    return {"rows": rows, "missing": len(set(wanted) - done)}


def measure_cell(law: Law, name: str, n: int, estimator: str, seed: int) -> Row:
    """Value, interval, certificate, error against the truth and CPU-seconds of one cell."""
    from theory.errors import PremiseError
    from theory.estimators import estimate

    row: Row = {"law": name, "n": n, "estimator": estimator, "seed": seed, "truth": law.truth}
    x, y = law.sample(n, np.random.default_rng([seed, n]))
    began = time.process_time()
    try:
        result = estimate(x, y, seed=seed, estimator=estimator)
    except PremiseError as error:
        return {**row, "refused": str(error)}
    spent = time.process_time() - began
    low, high = result.ci
    above = low > law.truth + 3 * law.truth_error
    return {
        **row,
        "truth_error": law.truth_error,
        "value": result.value,
        "low": low,
        "high": high,
        "error": result.value - law.truth,
        "certificate": result.certificate,
        "lower_bound_above_truth": result.certificate == "lower" and above,
        "cpu_seconds": spent,
    }


def _information(r: float) -> float:
    return -0.5 * float(np.log1p(-(r**2)))


def _pairs(dims: int, linked: int, r: float) -> Sampler:
    """The first `linked` coordinates of x and y are correlated, the others independent."""

    def sample(n: int, rng: Generator) -> Pair:
        x, y = rng.standard_normal((2, n, dims))
        y[:, :linked] = r * x[:, :linked] + np.sqrt(1 - r**2) * y[:, :linked]
        return x, y

    return sample


def _dense(dims: int, r: float) -> Sampler:
    """All coordinates of x and y share one factor: every correlation is r."""

    def sample(n: int, rng: Generator) -> Pair:
        shared = np.sqrt(r) * rng.standard_normal((n, 1))
        both = shared + np.sqrt(1 - r) * rng.standard_normal((n, 2 * dims))
        return both[:, :dims], both[:, dims:]

    return sample


def _dense_truth(dims: int, r: float) -> float:
    side, whole = ((1 - r) ** (d - 1) * (1 + (d - 1) * r) for d in (dims, 2 * dims))
    return float(np.log(side) - 0.5 * np.log(whole))


def _student_law(dims: int, freedom: int, r: float) -> Law:
    """Multivariate t: the normal part, and what the shared scale adds even where r = 0."""

    def sample(n: int, rng: Generator) -> Pair:
        scale = np.sqrt(freedom / rng.chisquare(freedom, size=(n, 1)))
        x, y = _pairs(dims, dims, r)(n, rng)
        return x * scale, y * scale

    def entropy(d: int) -> float:
        both = (freedom + d) / 2
        mass = gammaln(freedom / 2) - gammaln(both) + d / 2 * np.log(freedom * np.pi)
        return float(mass + both * (digamma(both) - digamma(freedom / 2)))

    truth = dims * _information(r) + 2 * entropy(dims) - entropy(2 * dims)
    return Law("continuous", "continuous", truth, sample)


def _mapped(one_to_one: Callable[[np.ndarray], np.ndarray], sampler: Sampler) -> Sampler:
    def sample(n: int, rng: Generator) -> Pair:
        x, y = sampler(n, rng)
        return one_to_one(x), one_to_one(y)

    return sample


def _spiral(v: Float[np.ndarray, "n dims"]) -> Float[np.ndarray, "n dims"]:
    """Turn the first two coordinates by an angle that grows with the vector's length."""
    angle = 2 * np.linalg.norm(v, axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.c_[cos * v[:, 0] - sin * v[:, 1], sin * v[:, 0] + cos * v[:, 1], v[:, 2:]]


def _half_cube(v: Float[np.ndarray, "n dims"]) -> Float[np.ndarray, "n dims"]:
    return np.sign(v) * np.abs(v) ** 1.5


_CENTRES = np.array([[-2.0, -2.0], [0.0, 2.0], [2.0, -1.0], [1.0, 0.0]])


def _mixture(n: int, rng: Generator) -> Pair:
    points = _CENTRES[rng.integers(len(_CENTRES), size=n)] + 0.5 * rng.standard_normal((n, 2))
    return points[:, :1], points[:, 1:]


def _mixture_law() -> Law:
    x, y = _mixture(400_000, np.random.default_rng(0))
    logs = -((np.c_[x, y][:, None] - _CENTRES) ** 2) / (2 * 0.25)
    parts = (logs.sum(2), logs[..., 0], logs[..., 1])
    both, first, second = (np.asarray(logsumexp(part, axis=1)) for part in parts)
    terms = both - first - second + np.log(len(_CENTRES))
    truth, error = float(terms.mean()), float(terms.std() / np.sqrt(len(terms)))
    return Law("continuous", "continuous", truth, _mixture, error)


def _letters(n: int, rng: Generator) -> Pair:
    return rng.integers(8, size=n), rng.integers(8, size=n)


def _labels(n: int, rng: Generator) -> Pair:
    y = rng.integers(2, size=n)
    return (2.0 * y - 1 + rng.standard_normal(n))[:, None], y


def _labels_truth() -> float:
    def integrand(t: float) -> float:
        density = np.exp(-((t - 1) ** 2) / 2) / np.sqrt(2 * np.pi)
        return density * (np.log(2) - np.log1p(np.exp(-2 * t)))

    return float(quad(integrand, -9, 11)[0])


def _overlap(labels: int, width: int) -> Sampler:
    def sample(n: int, rng: Generator) -> Pair:
        y = rng.integers(labels, size=n)
        return (y + width * rng.random(n))[:, None], y

    return sample


def _overlap_truth(labels: int, width: int) -> float:
    """On each unit cell the labels that reach it are equally likely."""
    lows, places = np.arange(labels), np.arange(labels + width - 1)[:, None]
    reaching = ((lows <= places) & (places < lows + width)).sum(axis=1)
    return float(np.log(labels) - (reaching / (labels * width)) @ np.log(reaching))


def _channel(view: str) -> Law:
    model = OrderChannel(3, 3, 6, order_weight=0.6, noise=0.2, seed=4)
    labels = model.labels(view)

    def sample(n: int, rng: Generator) -> Pair:
        z, y = model.sample(n, seed=int(rng.integers(2**31)))
        return labels[z @ 3 ** np.arange(2, -1, -1)], y

    return Law("discrete", "discrete", mutual_information(model.joint(view)), sample)


@click.command()
@study.option("--seeds", type=click.IntRange(1), default=2, help="How many samples of each law.")
@study.option("--budget", default=1500.0, help="CPU-seconds; the next call goes on from there.")
@click.option("--estimator", "only", multiple=True, help="Only this one; repeatable.")
@study.results_option
def command(seeds: int, budget: float, only: tuple[str, ...], results: Path) -> None:
    measured = measure(seeds, results, budget, only=only)
    missing = measured["missing"]
    click.echo(page(measured["rows"]).markdown(), nl=False)
    click.echo(f"{missing} cells are still to be measured" if missing else "every cell is measured")
