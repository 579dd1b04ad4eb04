"""Cluster patterns by structure and text, and give each cluster its recall.

A pattern's point is its structure next to the mean text of its chains. Clusters of single chains by
their text would gather users who are easy to predict, and choosing a cluster would choose users.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score

from scoter.errors import ConfigError
from scoter.reasoning.discovery.generate import labels
from scoter.reasoning.discovery.validate import Z_95, EmbeddedSteps, Recall, names_one
from scoter.types import ReasoningPattern

Clustering = Literal["kmeans", "hdbscan"]
Points = Float[np.ndarray, "rows features"]

_LEAST_DENSE = 5  # points that HDBSCAN takes for a cluster, sklearn's default
_STARTS: Any = 10  # k-means++ starts for each k; the stubs of KMeans do not know a number
_COPY: Any = True  # the stubs of HDBSCAN do not know a flag


@dataclass(frozen=True, eq=False)
class Cluster:
    """Patterns that belong together, and their mean gain over users."""

    members: Int[np.ndarray, " members"]  # numbers into the generated patterns
    gain: Recall  # NDCG@k


def cluster_patterns(
    points: Points,
    gains: Float[np.ndarray, "patterns users"],
    max_clusters: int,
    seed: int,
    clustering: Clustering = "kmeans",
) -> tuple[list[Cluster], float]:
    """The clusters of `partition`, best lower bound of the gain first, and their silhouette."""
    numbers, silhouette = partition(points, max_clusters, seed, clustering)
    members = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    clusters = [Cluster(group, mean_over_users(gains[group])) for group in members]
    return sorted(clusters, key=lambda cluster: -cluster.gain.low), silhouette


def partition(
    points: Points, max_clusters: int, seed: int, clustering: Clustering = "kmeans"
) -> tuple[Int[np.ndarray, " rows"], float]:
    """Each point's cluster, from 0 on, and the mean silhouette coefficient (Rousseeuw 1987).

    "kmeans" takes the k in 2..max_clusters of the best silhouette. "hdbscan" (Campello et al. 2013)
    finds the number by itself, ignores `max_clusters`, and leaves points in sparse places in no
    cluster: -1. Its silhouette is that of the others, and 0 where it finds one cluster only.
    """
    distinct = len(np.unique(points.round(9), axis=0))  # rounding may part points that are equal
    if clustering == "hdbscan":
        return _by_density(points, distinct)
    largest = min(max_clusters, distinct - 1)
    if largest < 2:
        given = f"discover.patterns={len(points)} ({distinct} distinct) and "
        given += f"discover.max_clusters={max_clusters}: choosing k by silhouette needs at least"
        raise ConfigError(f"{given} 3 distinct patterns and 2 clusters")
    best_score, best = -np.inf, np.zeros(len(points), np.int64)
    for count in range(2, largest + 1):
        model = KMeans(count, n_init=_STARTS, random_state=seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # says what the next line asks
            numbers = model.fit_predict(points)
        if len(np.unique(numbers)) < count:
            break
        score = float(silhouette_score(points, numbers))
        if score > best_score:
            best_score, best = score, numbers
    return np.unique(best, return_inverse=True)[1], best_score


def on_a_plane(points: Points) -> Float[np.ndarray, "rows 2"]:
    """The two directions of most variance (principal components), for the picture."""
    left, sizes, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    plane = np.zeros((len(points), 2))
    plane[:, : len(sizes[:2])] = left[:, :2] * sizes[:2]
    longest = plane[np.abs(plane).argmax(axis=0), [0, 1]]
    return plane * np.where(longest < 0, -1.0, 1.0)  # fixes the sign of each axis


def mean_over_users(values: Shaped[np.ndarray, "rows users"]) -> Recall:
    """The mean with a 95 % normal interval over users; a user's rows are averaged first."""
    per_user = values.mean(axis=0)
    mean, half = float(per_user.mean()), Z_95 * float(per_user.std(ddof=1)) / len(per_user) ** 0.5
    return Recall(mean, mean - half, mean + half, len(per_user))


def features(
    patterns: Sequence[ReasoningPattern], steps: EmbeddedSteps
) -> Float[np.ndarray, "patterns features"]:
    """Three blocks of equal variance: roles by place from the last step, steps, and mean text.

    The text is that of the steps that do not name one item to come.
    """
    roles = _numbering([step.role for pattern in patterns for step in pattern.steps])
    names = _numbering([label for pattern in patterns for label in labels(pattern)])
    places = np.zeros((len(patterns), max(map(len, patterns)), len(roles)))
    bag = np.zeros((len(patterns), len(names)))
    told = [[step for step in pattern.steps if not names_one(step)] for pattern in patterns]
    means = {step.label(): steps.of_step(step).mean(axis=0) for part in told for step in part}
    width = len(next(iter(means.values()), ()))
    text = np.zeros((len(patterns), width))
    for row, part in enumerate(told):
        text[row] = np.mean([means[step.label()] for step in part] or [np.zeros(width)], axis=0)
    for row, pattern in enumerate(patterns):
        for place, step in enumerate(reversed(pattern.steps)):
            places[row, place, roles[step.role]] = 1
            bag[row, names[step.label()]] = 1
    return in_blocks(places.reshape(len(patterns), -1), bag, text)


def in_blocks(*blocks: Float[np.ndarray, "rows _"]) -> Points:
    """Blocks side by side, centred and divided by their spread, so that each counts alike."""
    scaled = []
    for block in blocks:
        centred = block - block.mean(axis=0)
        spread = np.sqrt((centred**2).sum(axis=1).mean())
        scaled.append(centred / spread if spread > 0 else centred)
    return np.concatenate(scaled, axis=1)


def _by_density(points: Points, distinct: int) -> tuple[Int[np.ndarray, " rows"], float]:
    smallest = min(_LEAST_DENSE, max(2, len(points) // 4))
    numbers = np.full(len(points), -1)
    if distinct > smallest:
        numbers = HDBSCAN(smallest, copy=_COPY).fit_predict(points).astype(np.int64)
    inside = numbers >= 0
    if not inside.any():
        given = f"no cluster among {len(points)} points ({distinct} distinct)"
        remedy = "generate more, or set discover.clustering=kmeans"
        raise ConfigError(f"discover.clustering=hdbscan found {given}; {remedy}")
    several = numbers.max() >= 1
    return numbers, float(silhouette_score(points[inside], numbers[inside])) if several else 0.0


def _numbering(names: list[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}
