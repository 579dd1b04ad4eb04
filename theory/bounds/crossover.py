"""From how many training rows on the structured model wins: exactly for Gaussians (T10), safely for
tables (T11)."""

import numpy as np

from theory.errors import require


def gaussian_crossover(structured_dims: int, collapsed_dims: int, information: float) -> float:
    """n* of T10: ordinary least squares on all features beats the collapsed one iff n > n*.

    Premises: (Z, Y) jointly Gaussian with zero mean, no intercept, Y scalar, T linear in Z and of
    full rank, rows independent, information = I(Y;Z|T) > 0 in nats.

    >>> round(gaussian_crossover(4, 1, 0.1444), 1)
    14.0
    """
    require(
        structured_dims >= collapsed_dims >= 0,
        "collapsed_dims",
        collapsed_dims,
        "T, a collapse of Z, has no more features",
    )
    require(
        information > 0,
        "information",
        information,
        "at I(Y;Z|T) = 0 the collapsed model is never beaten: n* is infinite",
    )
    return float(
        structured_dims + 1 + (structured_dims - collapsed_dims) / np.expm1(2 * information)
    )


def least_squares_risk(n: int, dims: int, residual_variance: float) -> float:
    """Expected test squared error s^2 (1 + d / (n-d-1)) of T10. Premise: n > d + 1, else it is
    infinite.

    >>> least_squares_risk(11, 5, 1.0)
    2.0
    """
    require(n > dims + 1, "n", n, f"the expectation is finite only for n > dims + 1 = {dims + 1}")
    require(
        residual_variance >= 0,
        "residual_variance",
        residual_variance,
        "a variance is a number >= 0",
    )
    return residual_variance * (1 + dims / (n - dims - 1))


def table_excess(cells: int, items: int, n: int) -> float:
    """Upper bound cells (items-1) / (n+1) of the expected excess log-loss of the add-one table
    (T11), in nats.

    >>> table_excess(4, 3, 99)
    0.08
    """
    require(
        cells >= 1 and items >= 2 and n >= 0,
        "cells, items, n",
        (cells, items, n),
        "needs cells >= 1, items >= 2, n >= 0",
    )
    return cells * (items - 1) / (n + 1)


def table_guarantee(cells: int, items: int, information: float) -> int:
    """Smallest n for which T11 promises that the trained structured table is no worse than the
    Bayes collapsed model.

    >>> table_guarantee(16, 5, 0.0497)
    1287
    """
    require(
        information > 0,
        "information",
        information,
        "at I(Y;Z|T) = 0 there is nothing to win: no n is promised",
    )
    return max(int(np.ceil(table_excess(cells, items, 0) / information - 1e-12)) - 1, 0)


def table_crossover(
    structured_cells: int, collapsed_cells: int, items: int, information: float
) -> float:
    """The heuristic n* of H11b, (|Z|-|T|)(M-1) / (2 I). Not a bound.

    Premise: n* of at least ten rows a cell. Below, cells are under-sampled and the prior decides,
    not this rate.

    >>> table_crossover(100, 20, 11, 0.1)
    4000.0
    """
    require(
        structured_cells >= collapsed_cells >= 1,
        "collapsed_cells",
        collapsed_cells,
        "T merges cells of Z: it has fewer",
    )
    require(
        information > 0,
        "information",
        information,
        "at I(Y;Z|T) = 0 the collapsed table is never beaten",
    )
    rows = (structured_cells - collapsed_cells) * (items - 1) / (2 * information)
    remedy = f"H11b holds only where n* >> cells; here n* = {rows:.0f}: use table_guarantee (T11)"
    require(rows >= 10 * structured_cells, "structured_cells", structured_cells, remedy)
    return float(rows)
