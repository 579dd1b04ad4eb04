"""Cluster patterns by structure and text, and give each cluster its recall.

Every pattern is tried on the same shoppers, so all its chains share one structure and stand or fall together: a
pattern's point is its structure next to the mean text of its chains. Clustering single chains by their text instead
would gather shoppers who are easy to predict (one niche, say), and a "good cluster" would be a choice of shoppers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from scoter.errors import ConfigError
from scoter.reasoning.generate import labels
from scoter.reasoning.validate import Z_95, EmbeddedSteps, Recall
from scoter.types import ReasoningPattern

_STARTS: Any = 10  # k-means++ starts per k (a number, which the stubs of KMeans do not know)


@dataclass(frozen=True, eq=False)
class Cluster:
    """Patterns that belong together (numbers into the generated patterns), and their mean recall over shoppers."""

    members: Int[np.ndarray, " members"]
    recall: Recall


def cluster_patterns(
    points: Float[np.ndarray, "patterns features"], hits: Bool[np.ndarray, "patterns users"], max_clusters: int, seed: int
) -> tuple[list[Cluster], float]:
    """k-means with the k in 2..max_clusters of the best silhouette; clusters come best lower bound first, then that silhouette.

    The lower bound of a cluster's recall is the choice's yardstick: it asks for recall that is high *and* certain.
    """
    distinct = len(np.unique(points, axis=0))
    largest = min(max_clusters, distinct - 1)
    if largest < 2:
        raise ConfigError(
            f"discover.patterns={len(points)} ({distinct} distinct) and discover.max_clusters={max_clusters}: choosing k "
            f"by silhouette needs at least 3 distinct patterns and 2 clusters"
        )
    best_score, best_labels = -np.inf, np.zeros(len(points), np.int64)
    for count in range(2, largest + 1):
        found = KMeans(count, n_init=_STARTS, random_state=seed % 2**32).fit_predict(points)
        score = float(silhouette_score(points, found))
        if score > best_score:
            best_score, best_labels = score, found
    members = [np.flatnonzero(best_labels == number) for number in np.unique(best_labels)]
    clusters = [Cluster(group, mean_over_users(hits[group])) for group in members]
    return sorted(clusters, key=lambda cluster: -cluster.recall.low), best_score


def mean_over_users(values: Bool[np.ndarray, "rows users"] | Float[np.ndarray, "rows users"]) -> Recall:
    """The mean with a 95 % normal interval; shoppers are the sample, so a shopper's rows are averaged first.

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
    """Three blocks of equal total variance: roles by place (counted from the last step), steps, and mean text."""
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
    return np.concatenate([_to_unit_variance(block) for block in blocks], axis=1)


def _numbering(names: list[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def _to_unit_variance(block: Float[np.ndarray, "patterns columns"]) -> Float[np.ndarray, "patterns columns"]:
    centred = block - block.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=1).mean())
    return centred / spread if spread > 0 else centred
