"""What the estimators that train nothing give for rows that no generator draws, for WORKED.md.

The rows are a Kronecker sequence: fractions of multiples of square roots, spread evenly over the
cube. They are equal on every machine, and so are the estimates up to rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtri

from theory.errors import require
from theory.estimators import (
    ESTIMATORS,
    estimate,
    independence_test,
    ksg,
    mixed_ksg,
    order_test,
    shuffle_contrast,
)
from theory.estimators.answer import checked
from theory.estimators.entropies import ENTROPIES
from theory.estimators.learned import LEARNED
from theory.estimators.registry import FLAGS
from theory.estimators.variational import VARIATIONAL

Rows = dict[str, np.ndarray]
# The others train: their values move with torch's rounding, and tests compare them with truths.
_TRAIN = {"automatic", "usable_information", "token_choice", *VARIATIONAL, *LEARNED}
COUNTED = frozenset(ESTIMATORS) - _TRAIN


def sample_of(name: str, rows: int) -> Rows:
    """Rows of x and y, and of cond where the sample has one.

    >>> sample_of("letters", 4)["x"].tolist()
    [1, 3, 0, 2]
    """
    u = np.arange(1, rows + 1)[:, None] * np.sqrt([2, 3, 5, 7, 11, 13]) % 1
    g = ndtri(u)
    letter, other = (4 * u[:, :3]).astype(int), (4 * u[:, 3:]).astype(int)
    kept = np.where(u[:, 1] < 0.7, letter[:, 0], letter[:, 2])
    x, y = g[:, 0], 0.8 * g[:, 0] + 0.6 * g[:, 1]
    sparse = (rows * u).astype(int)
    wide = {"x": g[:, [0, 3]], "y": np.c_[y, np.exp(g[:, 2]) + g[:, 1] / 2]}
    made: dict[str, Rows] = {
        "line": {"x": x, "y": y},
        "alone": {"x": x, "y": g[:, 1]},
        "tails": {"x": x / u[:, 2], "y": y / u[:, 2]},
        "wide": wide,
        "wide-tails": {name: side / u[:, 5:] for name, side in wide.items()},
        "wider": {"x": np.c_[wide["x"], g[:, 4]], "y": np.c_[wide["y"], y * g[:, 5]]},
        "slanted": {"x": x, "y": x + 0.01 * g[:, 1]},
        "twins": {"x": x, "y": x},
        "slanted-given": {"x": x, "y": x, "cond": g[:, 2]},
        "one-value": {"x": 0 * x, "y": y},
        "hole": {"x": np.where(u[:, 0] < 0.3, np.nan, x), "y": y},
        "halves": {"x": x, "y": (2 * y).round() / 2},
        "both-halves": {"x": letter[:, 0] / 2, "y": kept / 2},
        "letter-line": {"x": letter[:, 0], "y": y},
        "wide-whole": {"x": np.c_[letter[:, 0] + 0.0, np.arange(rows)], "y": y},
        "whole": {"x": x.round(), "y": y.round()},
        "line-given": {"x": x + g[:, 2], "y": y + g[:, 2], "cond": g[:, 2]},
        "wide-given": {**wide, "cond": g[:, 4:]},
        "ties": {"x": x.round(), "y": np.where(u[:, 2] < 0.5, x.round(), y)},
        "ties-given": {"x": x.round(), "y": y.round(), "cond": letter[:, 2]},
        "units": {"x": np.c_[1e9 * x, g[:, 3]], "y": y},
        "rare": {"x": x, "y": (1e4 * y).astype(int)},
        "tied-labels": {"x": x.round(), "y": letter[:, 0]},
        "labels": {"x": x, "y": np.searchsorted([-0.5, 1, 1.9], y)},
        "wide-labels": {"x": wide["x"], "y": other[:, :2] // 2},
        "letters": {"x": letter[:, 0], "y": kept},
        "letters-alone": {"x": letter[:, 0], "y": letter[:, 1]},
        "letters-given": {"x": letter[:, 0], "y": (kept + letter[:, 1]) % 3, "cond": letter[:, 1]},
        "sparse-letters": {"x": sparse[:, 0] // 3, "y": sparse[:, 1]},
        "copies": {"x": np.arange(rows), "y": np.arange(rows)},
        "steps": {"steps": letter[:, :3] // 2, "y": np.where(u[:, 3] < 0.6, *letter[:, :2].T // 2)},
        "steps-alone": {"steps": letter, "y": other[:, 0]},
    }
    require(name in made, f"choose one of {sorted(made)}", sample=name)
    return made[name]


def _estimated(sample: str, rows: int, **options: object) -> list[float]:
    """Value, ends, mean square of the pointwise terms, and the flags as bits."""
    given: dict[str, Any] = {**sample_of(sample, rows), **options}
    found = estimate(**given, seed=0)
    flags = float(sum(2**place for place, flag in enumerate(FLAGS) if flag in found.flags))
    return [found.value, *(found.ci or ()), float(np.mean(found.pointwise**2)), flags]


def _on_sample(run: Callable[..., object], sample: str, rows: int, **options: object) -> object:
    return run(**sample_of(sample, rows), **options)


def _own(value: float, terms: np.ndarray) -> list[float]:
    """What is taken of an estimator that somebody registers."""
    answer = checked("own", (value, terms))
    return [answer.value, *answer.terms]


_ON_SAMPLES = (ksg, mixed_ksg, order_test, shuffle_contrast, independence_test)
FUNCTIONS: dict[str, Callable[..., object]] = {
    "estimate": _estimated,
    "entropy_of_counts": lambda estimator, counts, cells: ENTROPIES[estimator](counts, cells),
    "own_estimator": _own,
    **{run.__name__: partial(_on_sample, run) for run in _ON_SAMPLES},
}
