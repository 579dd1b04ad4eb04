"""How well codes are used, and the error that a collapsed codebook is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scoter.errors import CollapseError

LEAST_PERPLEXITY = 0.1
LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class IdDiagnostics:
    """Health of codes before collisions are dealt with.

    `usage`: share of each codebook that some item uses. `perplexity`: exp of the entropy (in nats)
    of a level's codes, the number of codes that equal use would need. `collision_rate`: share of
    the items that share their codes with another. `largest_group`: most items on one tuple of
    codes.
    """

    usage: tuple[float, ...]
    perplexity: tuple[float, ...]
    collision_rate: float
    largest_group: int


def diagnose(
    codes: Int[np.ndarray, "items levels"], codebook_sizes: Sequence[int]
) -> IdDiagnostics:
    """Usage, perplexity and collisions of codes.

    Example:
        >>> health = diagnose(np.array([[0], [0], [1], [2]]), (4,))
        >>> health.usage, health.collision_rate, health.largest_group
        ((0.75,), 0.5, 2)
    """
    sizes = group_sizes(codes)
    return IdDiagnostics(
        usage=tuple(
            len(np.unique(level)) / size
            for level, size in zip(codes.T, codebook_sizes, strict=True)
        ),
        perplexity=tuple(_perplexity(level) for level in codes.T),
        collision_rate=float((sizes > 1).mean()),
        largest_group=int(sizes.max()),
    )


def check_collapse(
    codes: Int[np.ndarray, "items levels"],
    codebook_sizes: Sequence[int],
    least: float = LEAST_PERPLEXITY,
) -> None:
    """Refuse codes of which some level tells almost nothing apart.

    A level is judged on the items that the levels before it leave together with another, m of them:
    the perplexity P of its codes there must have (P - 1) >= `least` x (min(codebook size, m) - 1).
    Healthy levels have .2 to .9, a collapsed RQ-VAE .00 to .02. So a level with nothing left to do
    is never refused, nor is a catalogue smaller than its codebooks. Pass items with distinct
    vectors only: equal vectors cannot be told apart by any codes.

    Raises:
        CollapseError: names the level, its perplexity, what was wanted, and what to do.
    """
    together = np.ones(len(codes), bool)
    for level, size in enumerate(codebook_sizes):
        reach, used = min(size, int(together.sum())), codes[together, level]
        if reach > 1 and _perplexity(used) - 1 < least * (reach - 1):
            raise CollapseError(
                f"semantic IDs collapsed at level {level + 1}: {len(np.unique(used))} of {size} "
                f"codes are used by the {len(used)} items that it must tell apart, with "
                f"perplexity {_perplexity(used):.2f}; at least {1 + least * (reach - 1):.2f} is "
                "wanted. Check the item vectors, or choose semantic_ids.method=rqkmeans"
            )
        together = group_sizes(codes[:, : level + 1]) > 1


def check_spread(vectors: Float[np.ndarray, "items dim"], least: float = LEAST_SPREAD) -> None:
    """Refuse item vectors that are all nearly equal: quantisation is blind to scale and would
    encode their noise.

    The root mean square distance from the mean must be at least `least` times the root mean square
    norm; sentence embeddings have .5 to .9.

    Raises:
        CollapseError: names the spread, the least spread and the remedy.
    """
    spread = np.sqrt(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean())
    norm = np.sqrt(np.square(vectors).sum(axis=1).mean())
    if len(vectors) > 1 and (spread < least * norm or norm == 0):
        raise CollapseError(
            f"the {len(vectors)} item vectors are nearly equal (spread {spread:.2e} at norm "
            f"{norm:.2e}, at least {least} times the norm is wanted), so no code can tell items "
            "apart; check text.fields, or choose semantic_ids.source=cooccurrence"
        )


def group_sizes(codes: Int[np.ndarray, "items levels"]) -> Int[np.ndarray, " items"]:
    """How many items share each item's codes, itself included."""
    _, group, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return sizes[group.reshape(-1)]


def _perplexity(level: Int[np.ndarray, " items"]) -> float:
    _, counts = np.unique(level, return_counts=True)
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
