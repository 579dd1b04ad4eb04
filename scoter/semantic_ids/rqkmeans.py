"""Residual k-means: each level clusters what the levels before it left over."""

import warnings
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from scoter.errors import ConfigError, DataError
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import Quantised

ROUNDS = 50
AT_ONCE = 1 << 16


def fit_rqkmeans(
    vectors: Float[np.ndarray, "items dim"],
    levels: int,
    codebook_size: int,
    seed: int,
    components: int = 64,
) -> Quantised:
    """Codes of each item, coarse to fine: the nearest of `codebook_size` centroids, level by level
    on the residual.

    Vectors are centred and turned into their leading principal axes first; they are not whitened,
    so that distance keeps its meaning (whitening lost category agreement on Beauty, from 51 to 44 %
    at level 1). Of text alone, 64 axes give fewer collisions than all 384 (12.9 instead of 18.5 %
    of Beauty's items). With co-occurrence beside it all axes say more: an item's neighbours by its
    codes hold the next purchase within the first hundred in 21.8 % of cases, by 64 axes in 19.0 %.

    Raises:
        ConfigError: `codebook_size` exceeds the number of items, or a size is not positive.
        DataError: a vector holds NaN or infinity.

    Example:
        >>> square = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]])
        >>> codes = fit_rqkmeans(square, levels=2, codebook_size=2, seed=0).codes
        >>> codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]
        np.True_
    """
    if min(levels, codebook_size, components) < 1 or codebook_size > len(vectors):
        raise ConfigError(
            f"levels = {levels}, codebook_size = {codebook_size}, components = {components} with "
            f"{len(vectors)} items: "
            "all must be positive, and a codebook no larger than the catalogue"
        )
    before = residual = principal_axes(vectors, components)
    codes, codebooks = np.empty((len(vectors), levels), np.int64), []
    for level in range(levels):
        start = "spread" if level == 0 else "mean"
        codebooks.append(
            kmeans(residual, codebook_size, derive_seed(seed, "rqkmeans", level), start).astype(
                np.float32
            )
        )
        codes[:, level] = nearest(residual, codebooks[-1])
        before, residual = residual, residual - codebooks[-1][codes[:, level]]
    return Quantised(codes, np.stack(codebooks), before)


def principal_axes(
    vectors: Float[np.ndarray, "items dim"], components: int
) -> Float32[np.ndarray, "items kept"]:
    """Centred vectors in their leading principal axes, unscaled; at most `components` of them.

    Raises:
        DataError: a vector holds NaN or infinity.
    """
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(
            f"vectors[{row}] holds NaN or infinity; item vectors must be finite, so check where "
            f"they were made"
        )
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    leading = axes[:, ::-1][:, :components]
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return (centred @ (leading * signs)).astype(np.float32)


def kmeans(
    points: Float32[np.ndarray, "items dim"],
    clusters: int,
    seed: int,
    start: Literal["spread", "mean"] = "spread",
) -> Float32[np.ndarray, "clusters dim"]:
    """Centroids after Lloyd's rounds, from a `start` that suits the points.

    `spread` is k-means++, for points that lie in groups. `mean` starts from the means of a random
    partition, for left-overs without groups: there k-means++ ends with one giant cluster around
    zero and outliers that each have a centroid of their own, at no lower error (Beauty's level 3:
    perplexity 195 from `spread`, 244 from `mean`; 512 isotropic points in 64 dimensions, 64
    clusters, level 2: 3 and 60).

    Fewer distinct points than clusters leave centroids unused: `diagnostics` says whether that is a
    collapse.
    """
    rng = np.random.default_rng(seed)
    init = (
        "k-means++"
        if start == "spread"
        else _partition_means(points, rng.permutation(len(points)) % clusters)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        drawn = int(rng.integers(2**32))
        options: dict[str, Any] = {"init": init, "n_init": 1, "max_iter": ROUNDS}
        model = KMeans(clusters, random_state=drawn, **options)
        return model.fit(points).cluster_centers_


def nearest(
    points: Float32[np.ndarray, "items dim"], centroids: Float32[np.ndarray, "clusters dim"]
) -> Int[np.ndarray, " items"]:
    """The index of each point's nearest centroid; the lowest one wins a tie. Memory is that of
    `AT_ONCE` points."""
    parts = [points[start : start + AT_ONCE] for start in range(0, len(points), AT_ONCE)]
    squares = np.square(centroids).sum(axis=1)
    return np.concatenate([(squares - 2 * part @ centroids.T).argmin(axis=1) for part in parts])


def _partition_means(
    points: Float32[np.ndarray, "items dim"], part: Int[np.ndarray, " items"]
) -> Float32[np.ndarray, "parts dim"]:
    sums = np.zeros((part.max() + 1, points.shape[1]))
    np.add.at(sums, part, points)
    return (sums / np.bincount(part)[:, None]).astype(np.float32)
