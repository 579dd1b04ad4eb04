"""How many training rows the structured model needs to win (T10, T11)."""

import numpy as np

from theory.errors import number, require, whole


def gaussian_crossover(structured_dims: int, collapsed_dims: int, information: float) -> float:
    """n* of T10: among n > d_Z + 1, least squares on all features wins iff n > n*.

    Below that the minimum-norm solution may win. Premises: (Z, Y) jointly Gaussian with zero mean,
    no intercept, Y scalar, T linear in Z and of full rank, rows independent, information =
    I(Y;Z|T) > 0 in nats.

    >>> round(gaussian_crossover(4, 1, 0.1444), 1)
    14.0
    """
    whole(0, structured_dims=structured_dims, collapsed_dims=collapsed_dims)
    fewer = collapsed_dims <= structured_dims
    require(fewer, "T, a collapse of Z, has no more features", collapsed_dims=collapsed_dims)
    information = number(0, np.inf, information=information)
    require(information > 0, "at 0 the collapsed model is never beaten", information=information)
    lost = structured_dims - collapsed_dims
    return float(structured_dims + 1 + lost / np.expm1(2 * information))


def least_squares_risk(n: int, dims: int, residual_variance: float) -> float:
    """Expected test squared error s^2 (1 + d / (n-d-1)) of T10; premise: n > d + 1.

    >>> least_squares_risk(11, 5, 1.0)
    2.0
    """
    whole(0, dims=dims)
    require(n > dims + 1, f"the expectation is finite only for n > dims + 1 = {dims + 1}", n=n)
    residual_variance = number(0, np.inf, residual_variance=residual_variance)
    return residual_variance * (1 + dims / (n - dims - 1))


def table_excess(cells: int, items: int, n: int) -> float:
    """Cap cells (items-1) / (n+1) of the add-one table's expected excess log-loss (T11).

    >>> table_excess(4, 3, 99)
    0.08
    """
    whole(1, cells=cells)
    whole(2, items=items)
    whole(0, n=n)
    return cells * (items - 1) / (n + 1)


def table_guarantee(cells: int, items: int, information: float) -> int:
    """Smallest n at which T11 promises a structured table no worse than the collapsed Bayes.

    >>> table_guarantee(16, 5, 0.0497)
    1287
    """
    information = number(0, np.inf, information=information)
    least = table_excess(cells, items, 0) / 2**53  # more rows than a float counts
    require(
        information > least,
        f"at {least:.0e} or less there is nothing to win",
        information=information,
    )
    return max(int(np.ceil(table_excess(cells, items, 0) / information - 1e-12)) - 1, 0)


def table_crossover(
    structured_cells: int, collapsed_cells: int, items: int, information: float
) -> float:
    """The heuristic n* of H11b, `(|Z|-|T|)(M-1) / (2 I)`. Not a bound.

    Premise: n* of at least ten rows a cell. Below, cells are under-sampled and the prior decides,
    not this rate.

    >>> table_crossover(100, 20, 11, 0.1)
    4000.0
    """
    fewer = structured_cells >= collapsed_cells >= 1
    require(fewer, "T merges cells of Z: it has fewer", collapsed_cells=collapsed_cells)
    information = number(0, np.inf, information=information)
    require(information > 0, "at 0 the collapsed table is never beaten", information=information)
    rows = (structured_cells - collapsed_cells) * (items - 1) / (2 * information)
    remedy = f"H11b holds only where n* >> cells; here n* = {rows:.0f}: use table_guarantee (T11)"
    require(rows >= 10 * structured_cells, remedy, structured_cells=structured_cells)
    return float(rows)
