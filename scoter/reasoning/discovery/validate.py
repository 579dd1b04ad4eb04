"""Validate: what a pattern's steps add to the transfer, over a frozen recommender.

The paper leaves this open, and calls discovery and transfer one problem. So a pattern is judged by
how well a reader that has it ranks a held-in target, beside what a recommender knows without it.
The recommender was trained without the held-in targets and is frozen. The reader ranks the items
that the recommender lists or that some step names; it is a conditional logit of

    log p(item), what the recommender says of the item;
    for each step, whether the item is or has what the step names (an item, a brand, a category),
        and again times how sure the step is, where it says so: the log of the share that it
        states, or its degree; the steps of a ladder share these weights, beside one for the log of
        the rank, so that a long ladder costs the fit no more than a short one;
    cos(y, v_item), where v is the item's text vector and y the vector that the ordered chain
        predicts, by kernel ridge regression with the kernel exp(SHARPNESS (mean_k cos(z_k, z'_k)
        - 1)) of the embeddings z_k of those steps that do not name one item.

The kernel compares step k with step k only: it credits what a step says *at its place* ("that
brand, three items ago") even where no item resembles it. Weights and y are fitted on half of the
users and applied to the other half, and the other way round, so no user's target takes part in
that user's score.

Limit: a small reader orders patterns; the recommender that reads them in training is larger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from scoter.progress import Progress, silent
from scoter.reasoning.catalogue.reasoner import ROLES, CatalogReasoner, offered_steps, ranked_steps
from scoter.reasoning.catalogue.reasons import conditional_logit
from scoter.reasoning.catalogue.view import View
from scoter.reasoning.discovery.generate import LADDERS, HeldIn, Move, labels, moves
from scoter.seeding import derive_seed
from scoter.types import Histories, Rankings, ReasoningPattern, Step

Encode = Callable[[list[str]], np.ndarray]
Ranks = Int[np.ndarray, "patterns users"]
# Several samples of users meet in one function, so these two do not name their rows.
Vectors = Float[np.ndarray, "_ dim"]
Some = Int[np.ndarray, " _"]

Column = Float32[np.ndarray, "users width"]

SHARPNESS = 3.0
RIDGE = 3.0
LISTED = 50  # the recommender's best items
LANDMARKS = 800  # users from whose chains y is predicted
_AXES = 64  # principal axes of item texts
_ROWS = 256  # users at a time
_LEAST = -50.0  # log p of an item that the recommender excludes
_LEAST_SHARE, _MIDDLE_SHARE = 1e-5, 0.02  # of what a step states: never below; neither sure nor not
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

    def __init__(
        self,
        reasoner: CatalogReasoner,
        view: View,
        encode: Encode,
        known: Mapping[str, Float[np.ndarray, "users dim"]] | None = None,
    ) -> None:
        """`known` are the embeddings of steps that somebody else wrote, by label."""
        self.reasoner, self.view, self.encode = reasoner, view, encode
        self._known: dict[str, Float[np.ndarray, "users dim"]] = {**(known or {})}

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

    def of_step(self, step: Step) -> Float[np.ndarray, "users dim"]:
        """A step's embeddings; all zeros for a user to whom it says nothing."""
        self.prepare([step])
        return self._known[step.label()]


@runtime_checkable
class Scorer(Protocol):
    """A frozen recommender."""

    def recommend(self, histories: Histories, k: int) -> Rankings: ...

    def rescore(
        self, histories: Histories, items: Int[np.ndarray, "histories k"]
    ) -> Float[np.ndarray, "histories k"]: ...


@dataclass(frozen=True, eq=False)
class Choices:
    """The items among which each user's target is sought, and what the recommender says of them."""

    items: Int[np.ndarray, "users width"]  # the target first where it is among them; -1: no more
    log_p: Float32[np.ndarray, "users width"]
    listed: Bool[np.ndarray, " users"]  # whether the target is among them


def choices_of(
    sample: HeldIn, histories: Histories, recommender: Scorer, named: Int[np.ndarray, "users any"]
) -> Choices:
    """The `LISTED` best items of the recommender and the items that any step names.

    `histories` are what users had before their targets, those of the sample among them.
    """
    histories = histories.select(np.searchsorted(histories.users, sample.users))
    best = recommender.recommend(histories, LISTED).items
    items = np.sort(np.concatenate([best, named], axis=1), axis=1)
    items[:, 1:][items[:, 1:] == items[:, :-1]] = -1
    hit = items == sample.targets[:, None]
    order = np.argsort(np.where(hit, -1, items < 0), axis=1, kind="stable")
    items = np.take_along_axis(items, order, axis=1)[:, : (items >= 0).sum(axis=1).max()]
    scores = recommender.rescore(histories, items)
    return Choices(items, np.maximum(scores, _LEAST).astype(np.float32), hit.any(axis=1))


def named_items(reasoner: CatalogReasoner, view: View) -> Int[np.ndarray, "users any"]:
    """The items that any offered step names; -1 where one names none."""
    offered = offered_steps(reasoner.catalog)
    steps = [step for step in offered if ROLES[step.role].facet_of(step.parameters) == "item"]
    ways = ranked_steps(reasoner.catalog)
    steps += [Step(step.role, {**step.parameters, "count": max(LADDERS)}) for step in ways]
    found = []
    for step in steps:
        spoken = reasoner.write(view, step)
        found.append(np.where(spoken.numbers >= 0, spoken.numbers % len(spoken.labels), -1))
    return np.concatenate(found, axis=1)


@dataclass(eq=False)
class Trial:
    """Patterns' ranks of the target at one sample of users, each pattern measured once."""

    steps: EmbeddedSteps
    sample: HeldIn
    choices: Choices
    item_vectors: Float[np.ndarray, "items dim"]  # row i: the text of item i
    seed: int
    progress: Progress = silent
    known: dict[tuple[str, ...], Int[np.ndarray, " users"]] = field(default_factory=dict)
    _columns: dict[str, list[Column]] = field(default_factory=dict)
    _cosines: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def ranks(self, patterns: Sequence[ReasoningPattern], part: str = "patterns") -> Ranks:
        """The 1-based rank of each user's target, pattern by pattern; ties to the lower item.

        A target that is not among the choices has the rank after the last of them.
        """
        named = {labels(pattern): pattern for pattern in patterns}
        new = {name: pattern for name, pattern in named.items() if name not in self.known}
        steps = [step for pattern in new.values() for step in pattern.steps]
        self.steps.prepare([step for step in steps if not names_one(step)])
        for done, (name, pattern) in enumerate(new.items()):
            self.progress(part, done, len(new))
            self.known[name] = self._ranks(pattern)
        if new:
            self.progress(part, len(new), len(new))
        return np.stack([self.known[labels(pattern)] for pattern in patterns])

    def _ranks(self, pattern: ReasoningPattern) -> Int[np.ndarray, " users"]:
        columns = [self.choices.log_p]
        for move in moves(pattern):
            columns += self._of_move(move)
        told = [step for step in pattern.steps if not names_one(step)]
        return self.places(self.scores(columns, told))

    def scores(
        self, columns: Sequence[Column], told: Sequence[Step]
    ) -> Float[np.ndarray, "users width"]:
        """The reader's score of each choice, from columns and what the steps `told` predict."""
        features = np.stack(columns, axis=2)
        absent = np.where(self.choices.items >= 0, 0.0, -np.inf)
        scores = np.zeros(self.choices.items.shape, np.float32)
        for number, (fit, judge) in enumerate((self._halves, self._halves[::-1])):
            both = features
            if told:
                predicted = self._predicted(told, number, fit[:LANDMARKS])
                both = np.concatenate([features, predicted[:, :, None]], axis=2)
            able = fit[self.choices.listed[fit]]
            weights = conditional_logit(both[able], absent[able]).astype(np.float32)
            scores[judge] = both[judge] @ weights
        return scores + absent

    def places(self, scores: Float[np.ndarray, "users width"]) -> Int[np.ndarray, " users"]:
        """The rank of each user's target by these scores."""
        own, items = scores[:, :1], self.choices.items
        tied = (scores == own) & (items < items[:, :1]) & (items >= 0)
        places = 1 + (scores > own).sum(axis=1) + tied.sum(axis=1)
        return np.where(self.choices.listed, places, scores.shape[1] + 1)

    @cached_property
    def _halves(self) -> tuple[Some, Some]:
        order = np.random.default_rng(derive_seed(self.seed, "halves"))
        users = order.permutation(len(self.sample))
        return users[: len(users) // 2], users[len(users) // 2 :]

    def _of_move(self, move: Move) -> "list[Column]":
        """The columns of a step; of a ladder their sums, and the log of an item's rank in it."""
        columns = [self._of_step(step) for step in move]
        if len(move) == 1:
            return columns[0]
        ranks = np.log(np.arange(1, len(move) + 1), dtype=np.float32)
        ranked = [column[0] * rank for column, rank in zip(columns, ranks, strict=True)]
        return [reduce(np.add, parts) for parts in (*zip(*columns, strict=True), ranked)]

    def _of_step(self, step: Step) -> "list[Column]":
        """Whether each choice is or has what a step names, and that times how sure it is."""
        if step.label() not in self._columns:
            self._columns[step.label()] = self._match(step)
        return self._columns[step.label()]

    def _match(self, step: Step) -> "list[Column]":
        reasoner, view = self.steps.reasoner, self.steps.view
        spoken, facet = reasoner.write(view, step), reasoner.facet(step)
        degrees, codes = np.divmod(spoken.numbers, len(spoken.labels))
        codes = np.where(spoken.numbers >= 0, codes, -2)
        own = facet.known(self.choices.items)
        match = np.zeros(own.shape, np.float32)
        for named in codes.T:
            match[own == named[:, None]] = 1
        if spoken.certainty is not None:
            sure = np.log(np.maximum(spoken.certainty[:, :1], _LEAST_SHARE) / _MIDDLE_SHARE)
        elif len(spoken.wordings) > 1:
            sure = degrees[:, :1] - (len(spoken.wordings) - 1) / 2
        else:
            return [match]
        return [match, match * sure.astype(np.float32)]

    def _predicted(
        self, steps: Sequence[Step], half: int, landmarks: Some
    ) -> Float32[np.ndarray, "users width"]:
        """cos(y, v) of each choice, with y from the landmarks' chains; theirs is left out of it."""
        near = np.mean([self._near(step, half, landmarks) for step in steps], axis=0)
        kernel = np.exp(SHARPNESS * (near - 1))
        wanted = self._items[self.sample.targets[landmarks]]
        mean = wanted.mean(axis=0)
        system = cho_factor(kernel[landmarks] + RIDGE * np.eye(len(landmarks)))
        inverse = cho_solve(system, np.eye(len(landmarks)))
        dual = inverse @ (wanted - mean)
        predicted = mean + kernel @ dual
        predicted[landmarks] = wanted - dual / np.diag(inverse)[:, None]
        unit, found = _unit(predicted.astype(np.float32)), np.zeros_like(self.choices.log_p)
        for rows in np.split(np.arange(len(unit)), np.arange(_ROWS, len(unit), _ROWS)):
            vectors = self._items[self.choices.items[rows]]
            found[rows] = (vectors @ unit[rows, :, None])[..., 0]
        return found

    def _near(self, step: Step, half: int, landmarks: Some) -> Float[np.ndarray, "_ _"]:
        """Cosines of what a step says to each user with what it says to the landmarks."""
        if (step.label(), half) not in self._cosines:
            said = _centred(self.steps.of_step(step).astype(np.float32))
            self._cosines[step.label(), half] = (said @ said[landmarks].T).astype(np.float16)
        return self._cosines[step.label(), half].astype(np.float32)

    @cached_property
    def _items(self) -> Float32[np.ndarray, "items axes"]:
        """Item texts on their first principal axes, each of length one."""
        centred = self.item_vectors - self.item_vectors.mean(axis=0)
        _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        return _unit((centred @ axes[:, -_AXES:]).astype(np.float32))


def names_one(step: Step) -> bool:
    """Whether a step names one item to come, which is read by its match alone."""
    return ROLES[step.role].ranks and int(ROLES[step.role].filled(step.parameters)["count"]) == 1


def _mean_of_sentences(numbers: Int[np.ndarray, "users width"], vectors: Vectors) -> Vectors:
    rows, columns = np.nonzero(numbers >= 0)
    counts, shape = np.bincount(rows, minlength=len(numbers)), (len(numbers), len(vectors))
    share = csr_array((1 / counts[rows], (rows, numbers[rows, columns])), shape=shape)
    return (share.astype(np.float32) @ vectors).astype(np.float32)


def _centred(vectors: Vectors) -> Vectors:
    present = np.asarray(vectors.any(axis=1))
    if not present.any():
        return vectors
    centred = np.where(present[:, None], vectors - vectors[present].mean(axis=0), 0)
    return _unit(centred.astype(np.float32))


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
