"""How well codes are used, and checks that refuse codes or vectors that tell nothing apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from scoter.errors import CollapseError
from scoter.semantic_ids.assign import Codes, Vectors

LEAST_PERPLEXITY = 0.1  # as a share of what a level can reach
LEAST_SPREAD = 1e-3  # as a share of the norm


@dataclass(frozen=True)
class IdDiagnostics:
    """Health of codes before collisions are dealt with."""

    usage: tuple[float, ...]  # share of each codebook that some item uses
    perplexity: tuple[float, ...]  # exp of the entropy (in nats) of each level's codes
    collision_rate: float  # share of the items that share their codes with another
    largest_group: int  # most items on one tuple of codes


def diagnose(codes: Codes, codebook_sizes: Sequence[int]) -> IdDiagnostics:
    """Usage, perplexity and collisions of codes."""
    shared = group_sizes(codes)
    levels = zip(codes.T, codebook_sizes, strict=True)
    usage = tuple(len(np.unique(level)) / size for level, size in levels)
    perplexity = tuple(map(_perplexity, codes.T))
    return IdDiagnostics(usage, perplexity, float((shared > 1).mean()), int(shared.max()))


def check_collapse(codes: Codes, codebook_sizes: Sequence[int]) -> None:
    """Raise a `CollapseError` where some level of codes tells almost nothing apart.

    A level is judged on the m items that the levels before it leave together with another: the
    perplexity P of its codes must have (P - 1) >= `LEAST_PERPLEXITY` x (min(codebook size, m) - 1).
    Healthy levels have .2 to .9, a collapsed RQ-VAE .00 to .02. Pass items with distinct vectors.
    """
    together = np.ones(len(codes), bool)
    for level, size in enumerate(codebook_sizes):
        used = codes[together, level]
        least = 1 + LEAST_PERPLEXITY * (min(size, len(used)) - 1)
        if len(used) > 1 and _perplexity(used) < least:
            codes_used = f"{len(np.unique(used))} of {size} codes tell {len(used)} items apart"
            health = f"{codes_used}, with perplexity {_perplexity(used):.2f}; at least {least:.2f}"
            remedy = "check the item vectors, or choose semantic_ids.method=rqkmeans"
            start = f"semantic IDs collapsed at level {level + 1}"
            raise CollapseError(f"{start}: {health} is wanted; {remedy}")
        together = group_sizes(codes[:, : level + 1]) > 1


def check_spread(vectors: Vectors) -> None:
    """Raise a `CollapseError` where item vectors are all nearly equal: codes would encode noise.

    The root mean square distance from the mean must be at least `LEAST_SPREAD` times the root mean
    square norm; sentence embeddings have .5 to .9.
    """
    spread = np.sqrt(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean())
    norm = np.sqrt(np.square(vectors).sum(axis=1).mean())
    if len(vectors) > 1 and (spread < LEAST_SPREAD * norm or norm == 0):
        least = f"spread {spread:.2e} at norm {norm:.2e}, of which {LEAST_SPREAD} times is wanted"
        remedy = "check text.fields, or choose semantic_ids.source=cooccurrence"
        raise CollapseError(f"{len(vectors)} item vectors are nearly equal ({least}); {remedy}")


def group_sizes(codes: Codes) -> Int[np.ndarray, " items"]:
    """How many items share each item's codes, itself included."""
    _, group, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return sizes[group.reshape(-1)]


def _perplexity(level: Int[np.ndarray, " items"]) -> float:
    _, counts = np.unique(level, return_counts=True)
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
