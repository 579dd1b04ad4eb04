"""Residual k-means: each level clusters what the levels before it left over."""

import warnings

import numpy as np
from jaxtyping import Float32, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from scoter.config import SemanticIdConfig
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import Quantised, Vectors

ROUNDS = 50  # of Lloyd's algorithm
AT_ONCE = 1 << 16  # points whose distances are held in memory

Points = Float32[np.ndarray, "_ dim"]


def fit_rqkmeans(vectors: Vectors, config: SemanticIdConfig, seed: int) -> Quantised:
    """The nearest of `config.codebook_size` centroids of each item's residual, level by level.

    Vectors are turned into their leading principal axes first, but not whitened: that lost category
    agreement on Beauty (51 to 44 % at level 1). For text alone 64 axes give fewer collisions than
    all 384 (12.9 and 18.5 % of Beauty's items); with co-occurrence beside it all axes are better
    (the next item is among the first hundred neighbours by codes in 21.8 %, with 64 in 19.0 %).
    """
    levels, size, components = config.levels, config.codebook_size, config.components
    if min(levels, size, components) < 1 or size > len(vectors):
        given = f"levels = {levels}, codebook_size = {size}, components = {components}"
        wanted = "all must be positive, and codebook_size at most the items"
        raise ConfigError(f"{given} with {len(vectors)} items: {wanted}")
    before = residual = principal_axes(vectors, components)
    codes, codebooks = np.empty((len(vectors), levels), np.int64), []
    for level in range(levels):
        level_seed = derive_seed(seed, "rqkmeans", level)
        centroids = kmeans(residual, size, level_seed, grouped=level == 0).astype(np.float32)
        codebooks.append(centroids)
        codes[:, level] = nearest(residual, centroids)
        before, residual = residual, residual - centroids[codes[:, level]]
    return Quantised(codes, np.stack(codebooks), before)


def principal_axes(vectors: Vectors, components: int) -> Float32[np.ndarray, "items kept"]:
    """Centred vectors in their leading principal axes, unscaled; at most `components` of them."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    leading = axes[:, ::-1][:, :components]
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return (centred @ (leading * signs)).astype(np.float32)


def kmeans(points: Points, clusters: int, seed: int, grouped: bool = True) -> Points:
    """Centroids after Lloyd's rounds.

    Points that lie in groups start by k-means++. Residuals have no groups, and k-means++ ends with
    one giant cluster and outliers at no lower error; they start from the means of a random
    partition (perplexity of Beauty's level 3: 244 instead of 195).
    """
    rng = np.random.default_rng(seed)
    init = "k-means++"
    if not grouped:
        part = rng.permutation(len(points)) % clusters
        sums = np.zeros((clusters, points.shape[1]))
        np.add.at(sums, part, points)
        init = (sums / np.bincount(part)[:, None]).astype(np.float32)
    drawn = int(rng.integers(2**32))
    model = KMeans(clusters, max_iter=ROUNDS, random_state=drawn).set_params(init=init, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(points).cluster_centers_


def nearest(points: Points, centroids: Points) -> Int[np.ndarray, " items"]:
    """The index of each point's nearest centroid; the lowest one wins a tie."""
    parts = [points[start : start + AT_ONCE] for start in range(0, len(points), AT_ONCE)]
    squares = np.square(centroids).sum(axis=1)
    return np.concatenate([(squares - 2 * part @ centroids.T).argmin(axis=1) for part in parts])
