"""What structure gains in recall and NDCG: exactly (T13), by margin (T14), once learned (T15).

A joint is an array [z, y] of probabilities; `labels[z]` numbers the collapsed value of z from 0.
Side information is joined to both: number the pairs (z, x) and (t, x).
"""

import numpy as np

from theory.bounds.ndcg import ndcg_weights
from theory.errors import number, require, whole
from theory.exact.enumeration import merge_rows


def strict_gain(joint: np.ndarray, labels: np.ndarray, k: int) -> float:
    """R_k(Z) - R_k(T): what the best list of each t loses on its z (T13).

    Above zero iff with positive probability no single list is optimal for almost all z of a t.

    >>> round(strict_gain(np.array([[0.4, 0.1], [0.1, 0.4]]), np.array([0, 0]), k=1), 3)
    0.3
    """
    return float(_gains(joint, labels, k)[-1])


def ndcg_gain(joint: np.ndarray, labels: np.ndarray, k: int) -> float:
    """NDCG@k of Z over that of T; above zero iff some strict gain at r <= k is (T13).

    >>> joint = np.array([[0.3, 0.2, 0.0], [0.2, 0.3, 0.0]])
    >>> strict_gain(joint, np.zeros(2, int), k=2), round(ndcg_gain(joint, np.zeros(2, int), k=2), 3)
    (0.0, 0.037)
    """
    return float(_gains(joint, labels, k) @ ndcg_weights(k))


def margin_gain_cap(information: float, margin: float) -> float:
    """Cap of the recall gain at I(Y;Z|T = t) nats and a margin of p_T's k-th over its next (T14).

    Linear in the information where there is a margin, I / (2 margin); never above sqrt(I / 2) or 1.

    >>> round(margin_gain_cap(8e-6, 0.02), 6)
    0.0002
    """
    information, margin = number(0, np.inf, information=information), number(0, 1, margin=margin)
    root = min(np.sqrt(information / 2), 1.0)
    return float(min(root, information / (2 * margin)) if margin > 0 else root)


def pair_gain_floor(mass: float, share: float, conditional_entropy: float) -> float:
    """Floor of the recall gain from one pair of items, i in the list of t and j outside (T14).

    Args:
        mass: P(Y in {i, j} | t).
        share: P(Y = j | Y in {i, j}, t), at most 1/2.
        conditional_entropy: H(1{Y = j} | Z, Y in {i, j}, t) in nats.

    >>> round(pair_gain_floor(0.5, 0.5, 0.0), 3)
    0.25
    """
    mass, share = number(0, 1, mass=mass), number(0, 0.5, share=share)
    nats = number(0, float(np.log(2)), conditional_entropy=conditional_entropy)
    return mass * max(share - nats / (2 * float(np.log(2))), 0.0)


def reader_regret(
    divergence: float, *, reader_margin: float = 0.0, true_margin: float = 0.0
) -> float:
    """Cap of the recall that a reader q loses at KL(p||q) nats (T15); margins are k-th less next.

    Averages of the divergence are allowed without margins, sqrt being concave.

    >>> round(reader_regret(0.002), 4), round(reader_regret(0.002, reader_margin=0.1), 4)
    (0.0632, 0.01)
    """
    divergence = number(0, np.inf, divergence=divergence)
    caps = [1.0, np.sqrt(2 * divergence)]
    for margin, factor in ((reader_margin, 0.5), (true_margin, 2.0)):
        margin = number(0, 1, margin=margin)
        caps += [factor * divergence / margin] if margin > 0 else []
    return float(min(caps))


def _gains(joint: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Recall@1..k of Z less that of T, [k]."""
    joint, labels = np.asarray(joint, dtype=float), np.asarray(labels)
    require(joint.ndim == 2 and joint.size, "a joint is an array [z, y]", joint=joint.shape)
    require(np.all(joint >= 0), "probabilities are >= 0", joint=float(joint.min(initial=0)))
    require(abs(joint.sum() - 1) < 1e-9, "probabilities sum to 1", joint=float(joint.sum()))
    whole(1, joint.shape[1], k=k)
    collapsed = merge_rows(joint, labels)
    order = np.argsort(-collapsed, axis=1, kind="stable")[labels, :k]
    best = -np.sort(-joint, axis=1)[:, :k]
    # Differences of prefix sums rank by rank, so that equal lists differ by exactly nothing.
    lost = best.cumsum(1) - np.take_along_axis(joint, order, axis=1).cumsum(1)
    return np.maximum(lost, 0).sum(0)
