"""Validate: ground chains in the catalogue and measure Recall@k of a held-in target, over the whole
catalogue.

The paper leaves grounding open. Here each item is scored by one linear rule on the whole, ordered
chain:

    score(item) = sum_k w_k cos(z_k, v_item) + w_0 cos(y, v_item)

z_k is the embedding of step k and v the item's text vector, so the first sum grounds each step, the
last one above all, in the catalogue directly. y is the item vector that the ordered chain predicts,
by kernel ridge regression with the kernel exp(SHARPNESS (mean_k cos(z_k, z'_k) - 1)), which
compares step k with step k only: it credits what a step says *at its place* ("that brand, three
purchases ago") even where no item's text resembles it. The K + 1 weights w are a conditional logit.
Both are fitted on half of the shoppers and applied to the other half, and the other way round, so
no shopper's target takes part in that shopper's score. Step and item vectors are centred and scaled
to length one first.

Limit: a recall found so is that of a small probe on a few hundred shoppers. It orders patterns; it
is not what a trained recommender reaches with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.view import View
from scoter.reasoning.discovery.generate import HeldIn
from scoter.seeding import derive_seed
from scoter.types import ReasoningPattern, Step

Encode = Callable[[list[str]], np.ndarray]

SHARPNESS = 3.0
RIDGE = 3.0
NEGATIVES = 200
_NEWTON_STEPS = 10
_PENALTY = 1e-3
Z_95 = 1.959964


@dataclass(frozen=True)
class Recall:
    """A mean over `users` shoppers of something between 0 and 1 (or of a difference of two such)
    with a 95 % interval."""

    mean: float
    low: float
    high: float
    users: int


def wilson(hits: Bool[np.ndarray, " users"] | Float[np.ndarray, " users"]) -> Recall:
    """Recall with Wilson's 95 % interval (Wilson 1927), which stays within [0, 1] and is sound for
    few hits.

    Values between 0 and 1 (NDCG, a share of several chains) vary less than hits of the same mean,
    so that their interval is at most too wide.

    Example:
        >>> recall = wilson(np.arange(10) < 1)
        >>> round(recall.low, 4), recall.mean, round(recall.high, 4)
        (0.0179, 0.1, 0.4042)
    """
    count, mean, square = len(hits), float(hits.mean()), Z_95**2
    centre = (mean + square / (2 * count)) / (1 + square / count)
    half = (
        Z_95 * np.sqrt(mean * (1 - mean) / count + square / (4 * count**2)) / (1 + square / count)
    )
    return Recall(mean, max(0.0, float(centre - half)), min(1.0, float(centre + half)), count)


def agresti_min(gain: Float[np.ndarray, " users"]) -> Recall:
    """Mean of paired differences of hits (-1, 0 or 1) with a 95 % interval that keeps a width where
    all of them are 0.

    Half a shopper is added to each of the four outcomes of a pair before the normal interval is
    taken (Agresti and Min 2005), so that the interval is drawn towards 0; the mean is that of the
    data.

    Example:
        >>> gain = agresti_min(np.zeros(16))
        >>> round(gain.low, 3), gain.mean, round(gain.high, 3)
        (-0.109, 0.0, 0.109)
    """
    better, worse, count = (
        float((gain > 0).sum()) + 0.5,
        float((gain < 0).sum()) + 0.5,
        len(gain) + 2,
    )
    centre = (better - worse) / count
    half = Z_95 * float(np.sqrt(max(0.0, better + worse - (better - worse) ** 2 / count))) / count
    return Recall(float(gain.mean()), max(-1.0, centre - half), min(1.0, centre + half), len(gain))


def ndcg(ranks: Int[np.ndarray, "..."], k: int) -> Float[np.ndarray, "..."]:
    """NDCG@k where one item is wanted: 1 / log2(1 + rank), 0 beyond place k (Jaervelin and
    Kekaelaeinen 2002).

    Example:
        >>> ndcg(np.array([1, 3, 11]), 10).tolist()
        [1.0, 0.5, 0.0]
    """
    return np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0)


class EmbeddedSteps:
    """The embedding of any step for a fixed sample of prefixes; each step is written and each
    sentence encoded once."""

    def __init__(self, reasoner: CatalogReasoner, view: View, encode: Encode) -> None:
        self.reasoner, self.view, self.encode = reasoner, view, encode
        self._known: dict[str, Float[np.ndarray, "users dim"]] = {}

    def prepare(self, steps: Sequence[Step]) -> None:
        """Write all of these steps and encode their sentences in one call of the encoder."""
        new = {step.label(): step for step in steps if step.label() not in self._known}
        spoken = {label: self.reasoner.write(self.view, step) for label, step in new.items()}
        used = {label: np.unique(said.numbers[said.numbers >= 0]) for label, said in spoken.items()}
        texts = list(
            dict.fromkeys(
                spoken[label].sentences[number] for label in new for number in used[label]
            )
        )
        places = {text: place for place, text in enumerate(texts)}
        vectors = np.asarray(self.encode(texts), np.float32)
        for label, said in spoken.items():
            table = np.zeros(len(said.sentences), np.int64)
            table[used[label]] = [places[said.sentences[number]] for number in used[label]]
            self._known[label] = _mean_of_sentences(
                np.where(said.numbers >= 0, table[said.numbers], -1), vectors
            )

    def of(self, pattern: ReasoningPattern) -> Float[np.ndarray, "steps users dim"]:
        """Step embeddings, step by step; a step that says nothing for a shopper is all zeros."""
        self.prepare(pattern.steps)
        return np.stack([self._known[step.label()] for step in pattern.steps])


def ground(
    steps: Float[np.ndarray, "steps users dim"],
    item_vectors: Float[np.ndarray, "items dim"],
    targets: Int[np.ndarray, " users"],
    seed: int,
) -> Int[np.ndarray, " users"]:
    """The 1-based rank of each shopper's target in the whole catalogue; see the head of this file
    for the scores.

    `seed` draws the halves and the negatives of the logit. Among equal scores the lower item number
    comes first.
    """
    rng = np.random.default_rng(derive_seed(seed, "ground"))
    chains = np.stack(
        [_centred(step, present=step.any(axis=1)) for step in steps.astype(np.float32)]
    )
    items = _centred(item_vectors.astype(np.float32))
    order = rng.permutation(len(targets))
    halves = (order[: len(order) // 2], order[len(order) // 2 :])
    negatives = rng.integers(len(items), size=NEGATIVES)
    ranks = np.zeros(len(targets), np.int64)
    for fit, score in (halves, halves[::-1]):
        queries = _queries(chains[:, fit], chains[:, score], items, targets[fit], items[negatives])
        ranks[score] = _ranks(queries, items, targets[score])
    return ranks


def validate(
    patterns: Sequence[ReasoningPattern],
    steps: EmbeddedSteps,
    sample: HeldIn,
    item_vectors: Float[np.ndarray, "items dim"],
    seed: int,
) -> Int[np.ndarray, "patterns users"]:
    """The target's rank for each pattern and shopper. All patterns are tried on the same
    shoppers."""
    steps.prepare([step for pattern in patterns for step in pattern.steps])
    return np.stack(
        [ground(steps.of(pattern), item_vectors, sample.targets, seed) for pattern in patterns]
    )


def _queries(
    fit: Float[np.ndarray, "steps fitted dim"],
    score: Float[np.ndarray, "steps scored dim"],
    items: Float[np.ndarray, "items dim"],
    targets: Int[np.ndarray, " fitted"],
    negatives: Float[np.ndarray, "negatives dim"],
) -> Float[np.ndarray, "scored dim"]:
    """One vector per shopper whose inner product with an item's vector is the score of that
    item."""
    wanted = items[targets]
    mean = wanted.mean(axis=0)
    system = cho_factor(_kernel(fit, fit) + RIDGE * np.eye(len(wanted)))
    inverse = cho_solve(system, np.eye(len(wanted)))
    dual = inverse @ (wanted - mean)
    left_out = (
        wanted - dual / np.diag(inverse)[:, None]
    )  # each fitted shopper's prediction without that shopper
    predicted = mean + _kernel(score, fit) @ dual
    known = np.concatenate([fit, _unit(left_out.astype(np.float32))[None]])
    choices = np.concatenate(
        [(known * wanted).sum(axis=2)[:, :, None], known @ negatives.T], axis=2
    )
    weights = _conditional_logit(np.moveaxis(choices, 0, 2).astype(np.float64))
    asked = np.concatenate([score, _unit(predicted.astype(np.float32))[None]])
    return np.tensordot(weights.astype(np.float32), asked, axes=1)


def _conditional_logit(
    features: Float[np.ndarray, "users choices weights"],
) -> Float[np.ndarray, " weights"]:
    """Weights that make choice 0 likeliest among each shopper's choices; Newton's method with a
    slight ridge penalty."""
    users, _, count = features.shape
    weights = np.zeros(count)
    for _ in range(_NEWTON_STEPS):
        scores = features @ weights
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        expected = np.einsum("uc,ucw->uw", chances, features)
        gradient = (features[:, 0] - expected).sum(axis=0) / users - _PENALTY * weights
        flat = features.reshape(-1, count)
        hessian = (flat * chances.reshape(-1, 1)).T @ flat - expected.T @ expected
        weights = weights + np.linalg.solve(hessian / users + _PENALTY * np.eye(count), gradient)
    return weights


def _kernel(
    left: Float[np.ndarray, "steps a dim"], right: Float[np.ndarray, "steps b dim"]
) -> Float[np.ndarray, "a b"]:
    mean_cosine = sum(one @ other.T for one, other in zip(left, right, strict=True)) / len(left)
    return np.exp(SHARPNESS * (np.asarray(mean_cosine, np.float64) - 1))


def _ranks(
    queries: Float[np.ndarray, "users dim"],
    items: Float[np.ndarray, "items dim"],
    targets: Int[np.ndarray, " users"],
) -> Int[np.ndarray, " users"]:
    scores = queries @ items.T
    own = scores[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(len(items)) < targets[:, None]
    return 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)


def _mean_of_sentences(
    numbers: Int[np.ndarray, "users width"], vectors: Float[np.ndarray, "sentences dim"]
) -> Float[np.ndarray, "users dim"]:
    rows, columns = np.nonzero(numbers >= 0)
    counts = np.bincount(rows, minlength=len(numbers))
    share = csr_array(
        (1 / counts[rows], (rows, numbers[rows, columns])), shape=(len(numbers), len(vectors))
    )
    return (share.astype(np.float32) @ vectors).astype(np.float32)


def _centred(
    vectors: Float[np.ndarray, "rows dim"], present: Bool[np.ndarray, " rows"] | None = None
) -> Float[np.ndarray, "rows dim"]:
    if present is None:
        present = np.ones(len(vectors), bool)
    if not present.any():
        return vectors
    return _unit(
        np.where(present[:, None], vectors - vectors[present].mean(axis=0), 0).astype(np.float32)
    )


def _unit(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
