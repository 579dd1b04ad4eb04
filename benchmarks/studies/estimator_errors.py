"""The error of every registered estimator on laws whose information is known, with its time.

`results/estimators.json` holds one row for each law, number of rows, estimator and seed, and is
written after each row, so that a run that was cut off goes on where it stopped. Truths: closed
forms, quadrature, or invariance under one-to-one maps (a spiral or a cube root of normal data keeps
its information); for the mixture of normals a mean of 400,000 exact log ratios, whose standard
error stands in the row. Where an estimator refuses the data there is a row with the reason and no
value.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.special import digamma, gammaln, logsumexp

from benchmarks.suite.collect import RESULTS
from benchmarks.tables.estimators_page import FILE
from scoter.storage.store import git_commit
from theory.exact import OrderChannel, mutual_information

SIZES = (2000, 5000)
Sampler = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Law:
    """A joint law: the kinds of x and y, its information in nats with the error of that, and how to
    draw from it."""

    x_kind: str
    y_kind: str
    truth: float
    sample: Sampler
    truth_error: float = 0.0


def laws() -> dict[str, Law]:
    """All of them by name.

    >>> round(laws()["normal 1 x 1"].truth, 4)
    0.5108
    """
    plain, bent, weak = _pairs(1, 1, 0.8), _pairs(3, 3, 0.8), _pairs(5, 5, 0.5)
    return {
        "normal 1 x 1": Law("continuous", "continuous", _information(0.8), plain),
        "normal 5 x 5": Law("continuous", "continuous", 5 * _information(0.5), weak),
        "normal dense 50 x 50": Law(
            "continuous",
            "continuous",
            _dense_truth(50, 0.5),
            lambda n, rng: _dense(n, rng, 50, 0.5),
        ),
        "normal sparse 50 x 50": Law(
            "continuous", "continuous", 2 * _information(0.8), _pairs(50, 2, 0.8)
        ),
        "student 2 x 2, 3 degrees": _student_law(2, 3, 0.6),
        "student 1 x 1, 1 degree": _student_law(1, 1, 0.75),
        "spiral of normal 3 x 3": Law(
            "continuous", "continuous", 3 * _information(0.8), lambda n, rng: _spiral(*bent(n, rng))
        ),
        "half-cube of normal 1 x 1": Law(
            "continuous", "continuous", _information(0.8), lambda n, rng: _half_cube(*plain(n, rng))
        ),
        "mixture of normals 1 x 1": _mixture_law(),
        "labels to normal 1": Law("continuous", "discrete", _labels_truth(), _labels),
        "labels to uniform": Law(
            "continuous", "discrete", _overlap_truth(5, 2), lambda n, rng: _overlap(n, rng, 5, 2)
        ),
        "order channel, ordered": _channel("ordered"),
        "order channel, multiset": _channel("multiset"),
        "independent letters": Law(
            "discrete",
            "discrete",
            0.0,
            lambda n, rng: (rng.integers(8, size=n), rng.integers(8, size=n)),
        ),
    }


def cells(seeds: int, sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[str, int, str, int]]:
    """Law, rows, estimator, seed, the cheap ones first, where the estimator reads such data."""
    from theory.estimators import ESTIMATORS
    from theory.estimators.variational import VARIATIONAL

    every = laws()
    names = sorted(
        ESTIMATORS, key=lambda name: (name in VARIATIONAL or name == "usable_information", name)
    )
    for name in names:
        for seed in range(seeds):
            for n in sizes:
                for law, known in every.items():
                    chosen = ESTIMATORS[name]
                    if _reads(chosen.x_kind, known.x_kind) and _reads(chosen.y_kind, known.y_kind):
                        yield law, n, name, seed


def main(
    seeds: int = 2,
    results: Path = RESULTS,
    budget: float = 1500.0,
    sizes: tuple[int, ...] = SIZES,
    only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Measure the cells that are missing until `budget` CPU-seconds are spent; write and return the
    results."""
    path, began, every = results / FILE, time.process_time(), laws()
    commit = git_commit()
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {tuple(row[name] for name in ("law", "n", "estimator", "seed")) for row in rows}
    wanted = [cell for cell in cells(seeds, sizes) if not only or cell[2] in only]
    for cell in wanted:
        if cell in done:
            continue
        if time.process_time() - began > budget:
            break
        rows.append({**measure(every[cell[0]], *cell), "commit": commit})
        _write(path, rows)
    return {
        "rows": rows,
        "missing": len(set(wanted) - {(r["law"], r["n"], r["estimator"], r["seed"]) for r in rows}),
    }


def measure(law: Law, name: str, n: int, estimator: str, seed: int) -> dict[str, Any]:
    """One cell: value, interval, certificate, error against the truth and CPU-seconds."""
    from theory.errors import PremiseError
    from theory.estimators import estimate

    row: dict[str, Any] = {
        "law": name,
        "n": n,
        "estimator": estimator,
        "seed": seed,
        "truth": law.truth,
    }
    x, y = law.sample(n, np.random.default_rng([seed, n]))
    began = time.process_time()
    try:
        found = estimate(x, y, seed=seed, estimator=estimator)
    except PremiseError as error:
        return {**row, "refused": str(error)}
    spent = time.process_time() - began
    low, high = found.ci
    error = found.value - law.truth
    broken = found.certificate == "lower" and low > law.truth + 3 * law.truth_error
    return {
        **row,
        "truth_error": law.truth_error,
        "value": found.value,
        "low": low,
        "high": high,
        "error": error,
        "certificate": found.certificate,
        "lower_bound_above_truth": broken,
        "cpu_seconds": spent,
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"unit": "nats", "rows": rows}, indent=0) + "\n")
    partial.replace(path)


def _reads(wanted: str, there: str) -> bool:
    return wanted in ("any", there)


def _information(r: float) -> float:
    return -0.5 * float(np.log1p(-(r**2)))


def _pairs(dims: int, linked: int, r: float) -> Sampler:
    """The first `linked` coordinates of x and y are correlated, the rest is noise."""

    def sample(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = rng.standard_normal((2, n, dims))
        y[:, :linked] = r * x[:, :linked] + np.sqrt(1 - r**2) * y[:, :linked]
        return x, y

    return sample


def _dense(n: int, rng: np.random.Generator, dims: int, r: float) -> tuple[np.ndarray, np.ndarray]:
    """All coordinates of x and y share one factor: every correlation is r."""
    both = np.sqrt(r) * rng.standard_normal((n, 1)) + np.sqrt(1 - r) * rng.standard_normal(
        (n, 2 * dims)
    )
    return both[:, :dims], both[:, dims:]


def _dense_truth(dims: int, r: float) -> float:
    side, whole = ((1 - r) ** (d - 1) * (1 + (d - 1) * r) for d in (dims, 2 * dims))
    return float(np.log(side) - 0.5 * np.log(whole))


def _student(
    n: int, rng: np.random.Generator, dims: int, freedom: int, r: float
) -> tuple[np.ndarray, np.ndarray]:
    scale = np.sqrt(freedom / rng.chisquare(freedom, size=(n, 1)))
    x, y = _pairs(dims, dims, r)(n, rng)
    return x * scale, y * scale


def _student_law(dims: int, freedom: int, r: float) -> Law:
    truth = _student_truth(dims, freedom, r)
    return Law("continuous", "continuous", truth, lambda n, rng: _student(n, rng, dims, freedom, r))


def _student_truth(dims: int, freedom: int, r: float) -> float:
    """Entropies of multivariate t laws: the normal part, and what the shared scale adds even where
    r = 0."""

    def entropy(d: int) -> float:
        both = (freedom + d) / 2
        mass = gammaln(freedom / 2) - gammaln(both) + d / 2 * np.log(freedom * np.pi)
        return float(mass + both * (digamma(both) - digamma(freedom / 2)))

    return dims * _information(r) + 2 * entropy(dims) - entropy(2 * dims)


def _spiral(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the first two coordinates by an angle that grows with the length of the whole: a
    one-to-one map."""

    def turned(v: np.ndarray) -> np.ndarray:
        angle = 2 * np.linalg.norm(v, axis=1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.c_[cos * v[:, 0] - sin * v[:, 1], sin * v[:, 0] + cos * v[:, 1], v[:, 2:]]

    return turned(x), turned(y)


def _half_cube(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bent = [np.sign(v) * np.abs(v) ** 1.5 for v in (x, y)]
    return bent[0], bent[1]


_CENTRES = np.array([[-2.0, -2.0], [0.0, 2.0], [2.0, -1.0], [1.0, 0.0]])


def _mixture(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    points = _CENTRES[rng.integers(len(_CENTRES), size=n)] + 0.5 * rng.standard_normal((n, 2))
    return points[:, :1], points[:, 1:]


def _mixture_law() -> Law:
    x, y = _mixture(400_000, np.random.default_rng(0))
    parts = -((np.c_[x, y][:, None] - _CENTRES) ** 2) / (2 * 0.25)
    both, first, second = (
        np.asarray(logsumexp(part, axis=1)) for part in (parts.sum(2), parts[..., 0], parts[..., 1])
    )
    terms = both - first - second + np.log(len(_CENTRES))
    return Law(
        "continuous",
        "continuous",
        float(terms.mean()),
        _mixture,
        float(terms.std() / np.sqrt(len(terms))),
    )


def _labels(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(2, size=n)
    return (2.0 * y - 1 + rng.standard_normal(n))[:, None], y


def _labels_truth() -> float:
    density = lambda t: np.exp(-((t - 1) ** 2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    return float(quad(lambda t: density(t) * (np.log(2) - np.log1p(np.exp(-2 * t))), -9, 11)[0])


def _overlap(
    n: int, rng: np.random.Generator, labels: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(labels, size=n)
    return (y + width * rng.random(n))[:, None], y


def _overlap_truth(labels: int, width: int) -> float:
    """x uniform on [y, y + width]: on each unit cell the labels that reach it are equally
    likely."""
    reaching = np.array(
        [
            sum(low <= cell < low + width for low in range(labels))
            for cell in range(labels + width - 1)
        ]
    )
    return float(np.log(labels) - (reaching / (labels * width)) @ np.log(reaching))


def _channel(view: str) -> Law:
    model = OrderChannel(3, 3, 6, order_weight=0.6, noise=0.2, seed=4)
    labels = model.labels(view)

    def sample(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        z, y = model.sample(n, seed=int(rng.integers(2**31)))
        return labels[z @ 3 ** np.arange(2, -1, -1)], y

    return Law("discrete", "discrete", mutual_information(model.joint(view)), sample)
