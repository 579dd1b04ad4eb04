"""Validate: ground chains in the catalogue and measure Recall@k of a held-in target.

The paper leaves grounding open. Here each item of the whole catalogue is scored by one linear rule
on the whole, ordered chain:

    score(item) = sum_k w_k cos(z_k, v_item) + w_0 cos(y, v_item)

z_k is the embedding of step k and v the item's text vector, so the first sum grounds each step in
the catalogue directly. y is the item vector that the ordered chain predicts, by kernel ridge
regression with the kernel exp(SHARPNESS (mean_k cos(z_k, z'_k) - 1)). The kernel compares step k
with step k only: it credits what a step says *at its place* ("that brand, three items ago") even
where no item's text resembles it. The K + 1 weights w are a conditional logit. Both are fitted on
half of the users and applied to the other half, and the other way round, so no user's target takes
part in that user's score. Step and item vectors are centred and scaled to length one first.

Limit: a small probe's recall orders patterns; a trained recommender's recall differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.view import View
from scoter.reasoning.discovery.generate import HeldIn, labels
from scoter.reasoning.discovery.progress import Progress, silent
from scoter.seeding import derive_seed
from scoter.types import ReasoningPattern, Step

Encode = Callable[[list[str]], np.ndarray]
Ranks = Int[np.ndarray, "patterns users"]
# Several samples of users meet in one function, so these two do not name their rows.
Vectors = Float[np.ndarray, "_ dim"]
Steps = Float[np.ndarray, "steps _ dim"]
Users = Int[np.ndarray, " users"]

SHARPNESS = 3.0
RIDGE = 3.0
NEGATIVES = 200
_NEWTON_STEPS = 10
_CONVERGED = 1e-6  # change of a weight, of some units, whose square is the change that follows
_PENALTY = 1e-3
Z_95 = 1.959964


@dataclass(frozen=True)
class Recall:
    """A mean over users, with a 95 % interval, of values in [0, 1] or of differences of such."""

    mean: float
    low: float
    high: float
    users: int


def wilson(hits: Bool[np.ndarray, " users"] | Float[np.ndarray, " users"]) -> Recall:
    """Recall with Wilson's 95 % interval (1927); for other values in [0, 1] it is at most too wide.

    >>> recall = wilson(np.arange(10) < 1)
    >>> round(recall.low, 4), recall.mean, round(recall.high, 4)
    (0.0179, 0.1, 0.4042)
    """
    count, mean, square = len(hits), float(hits.mean()), Z_95**2
    centre = (mean + square / (2 * count)) / (1 + square / count)
    spread = np.sqrt(mean * (1 - mean) / count + square / (4 * count**2))
    half = Z_95 * spread / (1 + square / count)
    return Recall(mean, max(0.0, float(centre - half)), min(1.0, float(centre + half)), count)


def agresti_min(gain: Float[np.ndarray, " users"]) -> Recall:
    """Mean of paired differences of hits (-1, 0, 1), with an interval that never has width 0.

    The normal 95 % interval with half a user added to each of the four outcomes of a pair (Agresti
    and Min 2005); the mean is that of the data.
    """
    better, worse = float((gain > 0).sum()) + 0.5, float((gain < 0).sum()) + 0.5
    count, centre = len(gain) + 2, (better - worse) / (len(gain) + 2)
    half = Z_95 * float(np.sqrt(max(0.0, better + worse - (better - worse) ** 2 / count))) / count
    return Recall(float(gain.mean()), max(-1.0, centre - half), min(1.0, centre + half), len(gain))


def ndcg(ranks: Int[np.ndarray, "..."], k: int) -> Float[np.ndarray, "..."]:
    """NDCG@k of one target: 1 / log2(1 + rank), 0 beyond k (Jaervelin and Kekaelaeinen 2002).

    >>> ndcg(np.array([1, 3, 11]), 10).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0)


class EmbeddedSteps:
    """The embedding of any step for fixed prefixes; a sentence of several steps is encoded once."""

    def __init__(self, reasoner: CatalogReasoner, view: View, encode: Encode) -> None:
        self.reasoner, self.view, self.encode = reasoner, view, encode
        self._known: dict[str, Float[np.ndarray, "users dim"]] = {}

    def prepare(self, steps: Sequence[Step]) -> None:
        """Write all of these steps and encode their sentences in one call of the encoder."""
        new = {step.label(): step for step in steps if step.label() not in self._known}
        if not new:
            return
        places: dict[str, int] = {}
        spoken = {
            label: self.reasoner.write(self.view, step).placed(places)
            for label, step in new.items()
        }
        vectors = np.asarray(self.encode(list(places)), np.float32)
        for label, rows in spoken.items():
            self._known[label] = _mean_of_sentences(rows, vectors)

    def of(self, pattern: ReasoningPattern) -> Float[np.ndarray, "steps users dim"]:
        """Step embeddings, step by step; a step that says nothing for a user is all zeros."""
        return np.stack([self.of_step(step) for step in pattern.steps])

    def of_step(self, step: Step) -> Float[np.ndarray, "users dim"]:
        self.prepare([step])
        return self._known[step.label()]


@dataclass(eq=False)
class Trial:
    """Patterns' ranks of the target at one sample of users, each pattern measured once."""

    steps: EmbeddedSteps
    sample: HeldIn
    item_vectors: Float[np.ndarray, "items dim"]  # row i: the text of item i
    seed: int
    progress: Progress = silent
    known: dict[tuple[str, ...], Int[np.ndarray, " users"]] = field(default_factory=dict)
    _centred: dict[str, Float[np.ndarray, "users dim"]] = field(default_factory=dict)

    def ranks(self, patterns: Sequence[ReasoningPattern], part: str = "patterns") -> Ranks:
        """The 1-based rank of each user's target, pattern by pattern."""
        named = {labels(pattern): pattern for pattern in patterns}
        new = {name: pattern for name, pattern in named.items() if name not in self.known}
        self.steps.prepare([step for pattern in new.values() for step in pattern.steps])
        for done, (name, pattern) in enumerate(new.items()):
            self.progress(part, done, len(new))
            chains = np.stack([self._chain_step(step) for step in pattern.steps])
            self.known[name] = _grounded(chains, self._items, self.sample.targets, self.seed)
        if new:
            self.progress(part, len(new), len(new))
        return np.stack([self.known[labels(pattern)] for pattern in patterns])

    @cached_property
    def _items(self) -> Float[np.ndarray, "items dim"]:
        return _centred_items(self.item_vectors)

    def _chain_step(self, step: Step) -> Float[np.ndarray, "users dim"]:
        if step.label() not in self._centred:
            self._centred[step.label()] = _centred_step(self.steps.of_step(step))
        return self._centred[step.label()]


def ground(
    steps: Float[np.ndarray, "steps users dim"],
    item_vectors: Float[np.ndarray, "items dim"],
    targets: Int[np.ndarray, " users"],
    seed: int,
) -> Int[np.ndarray, " users"]:
    """The 1-based rank of each user's target by this module's score; ties go to the lower item.

    `seed` draws the halves and the negatives of the logit.
    """
    chains = np.stack([_centred_step(step) for step in steps])
    return _grounded(chains, _centred_items(item_vectors), targets, seed)


def _grounded(chains: Steps, items: Vectors, targets: Users, seed: int) -> Users:
    """`ground` of steps and items that are centred already."""
    rng = np.random.default_rng(derive_seed(seed, "ground"))
    order = rng.permutation(len(targets))
    halves = (order[: len(order) // 2], order[len(order) // 2 :])
    negatives = rng.integers(len(items), size=NEGATIVES)
    ranks = np.zeros(len(targets), np.int64)
    for fit, score in (halves, halves[::-1]):
        queries = _queries(chains[:, fit], chains[:, score], items, targets[fit], items[negatives])
        ranks[score] = _ranks(queries, items, targets[score])
    return ranks


def _queries(fit: Steps, score: Steps, items: Vectors, targets: Users, others: Vectors) -> Vectors:
    """One vector per user; its inner product with an item's vector is that item's score."""
    wanted = items[targets]
    mean = wanted.mean(axis=0)
    system = cho_factor(_kernel(fit, fit) + RIDGE * np.eye(len(wanted)))
    inverse = cho_solve(system, np.eye(len(wanted)))
    dual = inverse @ (wanted - mean)
    # Each fitted user's prediction from the other fitted users.
    left_out = wanted - dual / np.diag(inverse)[:, None]
    predicted = mean + _kernel(score, fit) @ dual
    known = np.concatenate([fit, _unit(left_out.astype(np.float32))[None]])
    own = (known * wanted).sum(axis=2)[:, :, None]
    choices = np.concatenate([own, known @ others.T], axis=2)
    weights = _conditional_logit(np.moveaxis(choices, 0, 2).astype(np.float64))
    asked = np.concatenate([score, _unit(predicted.astype(np.float32))[None]])
    return np.tensordot(weights.astype(np.float32), asked, axes=1)


def _conditional_logit(
    features: Float[np.ndarray, "users choices weights"],
) -> Float[np.ndarray, " weights"]:
    """Weights that make choice 0 likeliest for each user: Newton's method, slight ridge penalty."""
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
        change = np.linalg.solve(hessian / users + _PENALTY * np.eye(count), gradient)
        weights = weights + change
        if np.abs(change).max() < _CONVERGED:
            break
    return weights


def _kernel(left: Steps, right: Steps) -> Float[np.ndarray, "_ _"]:
    mean_cosine = sum(a @ b.T for a, b in zip(left, right, strict=True)) / len(left)
    return np.exp(SHARPNESS * (np.asarray(mean_cosine, np.float64) - 1))


def _ranks(queries: Vectors, items: Vectors, targets: Users) -> Users:
    scores = queries @ items.T
    own = scores[np.arange(len(targets)), targets][:, None]
    tied, columns = np.divmod(np.flatnonzero(scores == own), len(items))
    earlier = np.bincount(tied[columns < targets[tied]], minlength=len(targets))
    return 1 + (scores > own).sum(axis=1) + earlier


def _mean_of_sentences(numbers: Int[np.ndarray, "users width"], vectors: Vectors) -> Vectors:
    rows, columns = np.nonzero(numbers >= 0)
    counts, shape = np.bincount(rows, minlength=len(numbers)), (len(numbers), len(vectors))
    share = csr_array((1 / counts[rows], (rows, numbers[rows, columns])), shape=shape)
    return (share.astype(np.float32) @ vectors).astype(np.float32)


def _centred_step(vectors: Vectors) -> Vectors:
    vectors = vectors.astype(np.float32)
    return _centred(vectors, present=np.asarray(vectors.any(axis=1)))


def _centred_items(vectors: Vectors) -> Vectors:
    return _centred(vectors.astype(np.float32), present=np.ones(len(vectors), bool))


def _centred(vectors: Vectors, present: Bool[np.ndarray, " rows"]) -> Vectors:
    if not present.any():
        return vectors
    centred = np.where(present[:, None], vectors - vectors[present].mean(axis=0), 0)
    return _unit(centred.astype(np.float32))


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
