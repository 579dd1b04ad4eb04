"""The information bottleneck of a finite joint (G1)."""

import numpy as np

from theory.errors import require
from theory.exact.enumeration import mutual_information


def bottleneck_point(
    joint: np.ndarray, *, trade: float, letters: int, seed: int, rounds: int = 300
) -> tuple[float, float, np.ndarray]:
    """Rate I(X;Z), kept I(Y;Z), channel P(z|x) that Blahut-Arimoto reaches.

    A point found is feasible, so it lies on or below the optimal curve; the fixed point need not be
    the optimum.

    >>> rate, kept, _ = bottleneck_point(np.eye(3) / 3, trade=8.0, letters=3, seed=0)
    >>> kept <= rate + 1e-12
    True
    """
    require(trade > 0, "the price of a nat of rate is positive", trade=trade)
    require(letters >= 1, "Z has at least one letter", letters=letters)
    p_x = joint.sum(1)
    require(np.all(p_x > 0), "drop values of X that never occur", joint=float(p_x.min()))
    p_y_x = joint / p_x[:, None]
    channel = np.random.default_rng(seed).dirichlet(np.ones(letters), size=len(p_x))
    for _ in range(rounds):
        p_z = p_x @ channel
        p_y_z = (channel * p_x[:, None]).T @ p_y_x / np.maximum(p_z, 1e-300)[:, None]
        fit = p_y_x @ np.log(np.maximum(p_y_z, 1e-300)).T  # KL(p(y|x) || p(y|z)) less what z leaves
        logits = np.log(np.maximum(p_z, 1e-300)) + trade * fit
        channel = np.exp(logits - logits.max(1, keepdims=True))
        channel /= channel.sum(1, keepdims=True)
    both = channel * p_x[:, None]
    return mutual_information(both), mutual_information(both.T @ p_y_x), channel
