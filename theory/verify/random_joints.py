"""Random finite models from flat to nearly deterministic, with exact zeros among them."""

from collections.abc import Iterator

import numpy as np
from scipy.special import entr


def random_joint(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """One joint: Dirichlet of random concentration, at times a fifth of its cells empty."""
    return random_joints(rng, 1, *shape)[0]


def random_joints(rng: np.random.Generator, count: int, *shape: int) -> np.ndarray:
    """A batch of them, [count, *shape]."""
    ones = (1,) * len(shape)
    concentration = np.exp(rng.uniform(np.log(0.05), np.log(5), size=(count, *ones)))
    p = rng.gamma(np.broadcast_to(concentration, (count, *shape))) + 1e-30
    empty = (rng.random((count, *ones)) < 0.5) & (rng.random((count, *shape)) < 0.2)
    p = np.where(empty, 0, p) + 1e-300
    return p / p.sum(tuple(range(1, p.ndim)), keepdims=True)


def joint_batches(seed: int, total: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches p[case, w, y] of `total` joints in all over several sizes, with a list size each."""
    rng = np.random.default_rng(seed)
    settings = ["4 3 1", "6 8 1", "6 8 3", "4 20 5", "6 12 10", "2 50 7", "4 6 5", "6 16 2"]
    for words, items, k in (map(int, setting.split()) for setting in settings):
        yield random_joints(rng, total // len(settings), words, items), k


def batch_conditional_entropy(p: np.ndarray) -> np.ndarray:
    """H(Y|W) of each p[case, w, y]."""
    return entr(p).sum((1, 2)) - entr(p.sum(2)).sum(1)


def batch_recall(p: np.ndarray, k: int) -> np.ndarray:
    """Bayes recall@k of each p[case, w, y]."""
    return np.minimum(-np.sort(-p, axis=2)[:, :, :k].sum((1, 2)), 1.0)


def merge_pairs(p: np.ndarray) -> np.ndarray:
    """Collapse w to w // 2."""
    return p.reshape(p.shape[0], p.shape[1] // 2, 2, p.shape[2]).sum(2)
