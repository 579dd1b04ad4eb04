"""Cluster patterns by structure and text, and give each cluster its recall.

Every pattern is tried on the same shoppers, so all its chains share one structure and stand or fall
together: a pattern's point is its structure next to the mean text of its chains. Clustering single
chains by their text instead would gather shoppers who are easy to predict (one niche, say), and a
"good cluster" would be a choice of shoppers.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score

from scoter.errors import ConfigError
from scoter.reasoning.discovery.generate import labels
from scoter.reasoning.discovery.validate import Z_95, EmbeddedSteps, Recall
from scoter.types import ReasoningPattern

Clustering = Literal["kmeans", "hdbscan"]

_LEAST_DENSE = 5  # points that HDBSCAN takes for a cluster, sklearn's default
_COPY: Any = True  # (a flag, which the stubs of HDBSCAN do not know)
_STARTS: Any = 10  # k-means++ starts per k (a number, which the stubs of KMeans do not know)


@dataclass(frozen=True, eq=False)
class Cluster:
    """Patterns that belong together (numbers into the generated patterns), and their mean recall
    over shoppers."""

    members: Int[np.ndarray, " members"]
    recall: Recall


def cluster_patterns(
    points: Float[np.ndarray, "patterns features"],
    hits: Bool[np.ndarray, "patterns users"],
    max_clusters: int,
    seed: int,
    clustering: Clustering = "kmeans",
) -> tuple[list[Cluster], float]:
    """The clusters of `partition`, that of the best lower bound first, and their silhouette.

    The lower bound of a cluster's recall is the choice's yardstick: it asks for recall that is high
    *and* certain.
    """
    numbers, silhouette = partition(points, max_clusters, seed, clustering)
    members = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    clusters = [Cluster(group, mean_over_users(hits[group])) for group in members]
    return sorted(clusters, key=lambda cluster: -cluster.recall.low), silhouette


def partition(
    points: Float[np.ndarray, "rows features"],
    max_clusters: int,
    seed: int,
    clustering: Clustering = "kmeans",
) -> tuple[Int[np.ndarray, " rows"], float]:
    """Each point's cluster, from 0 on, and the mean silhouette coefficient (Rousseeuw 1987).

    "kmeans" takes the k in 2..max_clusters of the best silhouette. "hdbscan" (Campello et al. 2013)
    finds the number by itself, never looks at `max_clusters`, and leaves points in sparse places in
    no cluster: -1. Its silhouette is that of the others, and 0 where it finds one cluster only.
    """
    distinct = len(np.unique(points.round(9), axis=0))  # rounding may part points that are equal
    if clustering == "hdbscan":
        return _by_density(points, distinct)
    largest = min(max_clusters, distinct - 1)
    if largest < 2:
        raise ConfigError(
            f"discover.patterns={len(points)} ({distinct} distinct) and "
            f"discover.max_clusters={max_clusters}: choosing k "
            f"by silhouette needs at least 3 distinct patterns and 2 clusters"
        )
    best_score, best = -np.inf, np.zeros(len(points), np.int64)
    for count in range(2, largest + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # says what the next line asks
            found = KMeans(count, n_init=_STARTS, random_state=seed % 2**32).fit_predict(points)
        if len(np.unique(found)) < count:
            break
        score = float(silhouette_score(points, found))
        if score > best_score:
            best_score, best = score, found
    return np.unique(best, return_inverse=True)[1], best_score


def on_a_plane(points: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows 2"]:
    """The two directions of most variance (principal components), for the picture."""
    centred = points - points.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(points), 2))
    plane[:, : len(sizes[:2])] = left[:, :2] * sizes[:2]
    return plane * np.where(
        plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0
    )  # a sign of its own for each axis


def mean_over_users(
    values: Bool[np.ndarray, "rows users"] | Float[np.ndarray, "rows users"],
) -> Recall:
    """The mean with a 95 % normal interval; shoppers are the sample, so a shopper's rows are
    averaged first.

    Example:
        >>> hits = np.array([[True, False, False, False], [True, False, True, False]])
        >>> recall = mean_over_users(hits)
        >>> recall.mean, recall.users, recall.low < 0.375 < recall.high
        (0.375, 4, True)
    """
    per_user = values.mean(axis=0)
    mean, half = float(per_user.mean()), Z_95 * float(per_user.std(ddof=1)) / len(per_user) ** 0.5
    return Recall(mean, mean - half, mean + half, len(per_user))


def features(
    patterns: Sequence[ReasoningPattern], steps: EmbeddedSteps, max_steps: int
) -> Float[np.ndarray, "patterns features"]:
    """Three blocks of equal total variance: roles by place (counted from the last step), steps, and
    mean text."""
    roles = _numbering([step.role for pattern in patterns for step in pattern.steps])
    names = _numbering([label for pattern in patterns for label in labels(pattern)])
    places = np.zeros((len(patterns), max_steps, len(roles)))
    bag = np.zeros((len(patterns), len(names)))
    text = np.stack([steps.of(pattern).mean(axis=(0, 1)) for pattern in patterns])
    for row, pattern in enumerate(patterns):
        for place, step in enumerate(reversed(pattern.steps)):
            places[row, place, roles[step.role]] = 1
            bag[row, names[step.label()]] = 1
    blocks = [places.reshape(len(patterns), -1), bag, text.astype(np.float64)]
    return np.concatenate([to_unit_variance(block) for block in blocks], axis=1)


def _by_density(
    points: Float[np.ndarray, "rows features"], distinct: int
) -> tuple[Int[np.ndarray, " rows"], float]:
    smallest = min(_LEAST_DENSE, max(2, len(points) // 4))
    found = (
        HDBSCAN(smallest, copy=_COPY).fit_predict(points)
        if distinct > smallest
        else np.full(len(points), -1)
    )
    inside = found >= 0
    if not inside.any():
        raise ConfigError(
            f"discover.clustering=hdbscan found no cluster among {len(points)} points ({distinct} "
            "distinct); generate more, or set discover.clustering=kmeans"
        )
    several = found.max() >= 1
    return found.astype(np.int64), float(
        silhouette_score(points[inside], found[inside])
    ) if several else 0.0


def _numbering(names: list[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def to_unit_variance(block: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """A block of features, centred and over one scale, so that each block counts alike however many
    columns it has."""
    centred = block - block.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=1).mean())
    return centred / spread if spread > 0 else centred
