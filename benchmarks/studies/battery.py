"""Forty joint laws of continuous x and y with known information, from their definitions.

The list is that of the benchmark of Czyz et al. ("Beyond Normal", 2023): uniform, normal and
Student laws, and their images under one-to-one maps, which leave information unchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, gammaln, ndtr

Generator = np.random.Generator
Pair = tuple[np.ndarray, np.ndarray]  # x [n] or [n, dims], y the same
Sampler = Callable[[int, Generator], Pair]
Map = Callable[[np.ndarray], np.ndarray]
Rows = Float[np.ndarray, "n dims"]


@dataclass(frozen=True)
class Law:
    """A joint law of x and y whose information is known."""

    x_kind: str  # continuous or discrete
    y_kind: str
    truth: float  # mutual information in nats
    sample: Sampler  # draws n pairs

    def mapped(self, of_x: Map, of_y: Map | None = None) -> "Law":
        """The image under one-to-one maps; one map alone serves both."""

        def sample(n: int, rng: Generator) -> Pair:
            x, y = self.sample(n, rng)
            return of_x(x), (of_y or of_x)(y)

        return Law(self.x_kind, self.y_kind, self.truth, sample)


def tasks() -> dict[str, Law]:
    """The forty laws by name; in a name, "pairs" has two pairs of correlation .8."""
    normal = pairs(1, 1, 0.75)
    made = {
        "normal 1 x 1": normal,
        "uniform margins 1 x 1": normal.mapped(ndtr),
        "bimodal 1 x 1": normal.mapped(
            partial(_bimodal, (0.3, 0, 0.7, 5)), partial(_bimodal, (0.5, -1, 0.5, 3))
        ),
        "wiggly 1 x 1": normal.mapped(_wiggly_x, _wiggly_y),
        "half-cube 1 x 1": normal.mapped(half_cube),
        "Swiss roll 2 x 1": normal.mapped(_swiss_roll, ndtr),
        "additive noise .1": additive_noise(0.1),
        "additive noise .75": additive_noise(0.75),
    }
    for dims in (2, 3, 5, 25, 50):
        made[f"normal dense {dims} x {dims}"] = dense(dims, 0.5)
    for dims in (2, 3, 5, 25):
        made[f"normal pairs {dims} x {dims}"] = pairs(dims, 2, 0.8)
    for dims in (3, 5, 25):
        base, size = pairs(dims, 2, 0.8), f"{dims} x {dims}"
        spirals = partial(spiral, plane=(0, 1)), partial(spiral, plane=(1, 2))
        made[f"uniform margins {size}"] = base.mapped(ndtr)
        made[f"half-cube {size}"] = base.mapped(half_cube)
        made[f"spiral {size}"] = base.mapped(*spirals)
        made[f"spiral of uniform margins {size}"] = base.mapped(ndtr).mapped(*spirals)
    for dims, freedom in ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3)):
        name, law = f"Student {dims} x {dims}, {freedom} df", student(dims, freedom)
        made[name] = law
        if (dims, freedom) in ((1, 1), (2, 1), (3, 2), (5, 2)):
            made[f"asinh of {name}"] = law.mapped(np.arcsinh)
    return made


def information(r: float) -> float:
    """Of two normals of correlation r.

    >>> round(information(0.75), 3)
    0.413
    """
    return -0.5 * float(np.log1p(-(r**2)))


def pairs(dims: int, linked: int, r: float) -> Law:
    """Normals; the first `linked` coordinates of x and y correlate, the others are independent."""

    def sample(n: int, rng: Generator) -> Pair:
        x, y = rng.standard_normal((2, n, dims))
        y[:, :linked] = r * x[:, :linked] + np.sqrt(1 - r**2) * y[:, :linked]
        return x, y

    return Law("continuous", "continuous", linked * information(r), sample)


def dense(dims: int, r: float) -> Law:
    """Normals; all coordinates of x and y share one factor, so that every correlation is r."""

    def sample(n: int, rng: Generator) -> Pair:
        shared = np.sqrt(r) * rng.standard_normal((n, 1))
        both = shared + np.sqrt(1 - r) * rng.standard_normal((n, 2 * dims))
        return both[:, :dims], both[:, dims:]

    side, whole = ((1 - r) ** (d - 1) * (1 + (d - 1) * r) for d in (dims, 2 * dims))
    return Law("continuous", "continuous", float(np.log(side) - 0.5 * np.log(whole)), sample)


def student(dims: int, freedom: int, r: float = 0.0) -> Law:
    """Multivariate t: the normal part, and what the shared scale adds even where r = 0."""

    normal = pairs(dims, dims, r)

    def sample(n: int, rng: Generator) -> Pair:
        scale = np.sqrt(freedom / rng.chisquare(freedom, size=(n, 1)))
        x, y = normal.sample(n, rng)
        return x * scale, y * scale

    def entropy(d: int) -> float:
        both = (freedom + d) / 2
        mass = gammaln(freedom / 2) - gammaln(both) + d / 2 * np.log(freedom * np.pi)
        return float(mass + both * (digamma(both) - digamma(freedom / 2)))

    truth = normal.truth + 2 * entropy(dims) - entropy(2 * dims)
    return Law("continuous", "continuous", truth, sample)


def additive_noise(width: float) -> Law:
    """Uniform x on [0, 1], and y = x + uniform noise on [-width, width]."""

    def sample(n: int, rng: Generator) -> Pair:
        x = rng.random((n, 1))
        return x, x + rng.uniform(-width, width, size=(n, 1))

    truth = width - np.log(2 * width) if width <= 0.5 else 1 / (4 * width)
    return Law("continuous", "continuous", float(truth), sample)


def half_cube(v: Rows) -> Rows:
    """Longer tails: v |v|^(1/2)."""
    return v * np.sqrt(np.abs(v))


def spiral(v: Rows, plane: tuple[int, int]) -> Rows:
    """Turn a plane by the squared length of v over its dimension."""
    angle, turned, (i, j) = (v**2).mean(1), v.copy(), plane
    turned[:, i] = np.cos(angle) * v[:, i] - np.sin(angle) * v[:, j]
    turned[:, j] = np.sin(angle) * v[:, i] + np.cos(angle) * v[:, j]
    return turned


def _swiss_roll(v: Rows) -> Rows:
    angle = 1.5 * np.pi * (1 + 2 * ndtr(v))
    return np.c_[angle * np.cos(angle), angle * np.sin(angle)] / 21


def _wiggly_x(v: Rows) -> Rows:
    return v + 0.4 * np.sin(v) + 0.2 * np.sin(1.7 * v + 1) + 0.03 * np.sin(3.3 * v - 2.5)


def _wiggly_y(v: Rows) -> Rows:
    waves = 0.17 * np.sin(1.3 * v + 3.5) + 0.02 * np.sin(4.3 * v - 2.5)
    return v - 0.4 * np.sin(0.4 * v) + waves


def _bimodal(parts: tuple[float, float, float, float], v: Rows) -> Rows:
    """Through the quantiles of two unit normals, parts = (weight, mean, weight, mean)."""
    weight, mean, other, far = parts
    low, high = np.full(v.shape, -20.0), np.full(v.shape, 20.0)
    for _ in range(60):  # bisection
        middle = (low + high) / 2
        below = weight * ndtr(middle - mean) + other * ndtr(middle - far) < ndtr(v)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
