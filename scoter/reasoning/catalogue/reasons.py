"""Reasons: why an item may come next, counted on a training log, and what each reason is worth.

A reason is a number for every item after a history: how often the item followed the last one, how
near its text is, whether it has the brand. Their weights are a conditional logit (McFadden 1974):
an item comes next with probability proportional to exp(sum of weight times reason). The weights are
fitted on the last training items, whose users are left out of the counts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.sparse import csr_array, diags_array
from scipy.special import log_softmax

from scoter.reasoning.catalogue.facets import Facet, read_facets
from scoter.reasoning.catalogue.successors import indicator, visible
from scoter.seeding import derive_seed
from scoter.types import Catalog, InteractionLog

Recent = Int[np.ndarray, "rows lags"]  # the newest item first; -1 where there is none
Scores = Float32[np.ndarray, "rows items"]

LAGS = 20  # newest items of a history that count
FAR = 5  # interactions after an item that count as its successors
PRIOR = 5.0  # interactions that a share of successors is smoothed with
NEAREST = 6  # newest items whose texts are compared one by one
RETURN_PRIOR = 10.0  # buyers that a share of those who come back is smoothed with
KIND_PRIOR = 20.0  # interactions that a share of following categories is smoothed with
FOLDS, FITTED, NEGATIVES = 10, 6000, 200  # of the fit: groups of users, users, items beside each
ROWS = 256  # histories at a time


class Reasons:
    """The reasons of one catalogue, counted on the logs of some users.

    >>> log = InteractionLog(np.array([0, 1, 0, 1, 2]), np.array([0, 2, 5]), ("a", "b"))
    >>> reasons = Reasons(log, Catalog(("x", "y", "z"), {}))
    >>> reasons.names
    ('follows', 'follows two later', ... 'bought before', 'bought last')
    >>> int(reasons.scores(np.array([[0]]), {"follows": 1.0}).argmax())
    1
    """

    def __init__(
        self,
        log: InteractionLog,
        catalog: Catalog,
        texts: Float[np.ndarray, "items dim"] | None = None,
        kept: Bool[np.ndarray, " users"] | None = None,
    ) -> None:
        self.item_count = catalog.item_count
        both = bought_by_both(log, self.item_count, kept)
        there = slice(None) if kept is None else np.repeat(kept, log.lengths)
        counts = np.bincount(log.items[there], minlength=self.item_count)
        self._popularity = np.log1p(counts).astype(np.float32)
        self._texts: Float32[np.ndarray, "items dim"] | None = None
        if texts is not None:
            self._texts = _unit((texts - texts.mean(axis=0)).astype(np.float32))
        after = [pairs_apart(log, self.item_count, gap, kept) for gap in range(1, FAR + 1)]
        self._after = [shares(table).power(0.5) for table in after[:3]]
        self._soon = shares(reduce(add, (0.8**gap * table for gap, table in enumerate(after))))
        self._together = cosines(both)
        facets = read_facets(catalog)
        self._kind, self._brand = facets.get("category"), facets.get("brand")
        # What speaks of items that the history does not have yet.
        of_new: dict[str, Callable[[Recent], Scores]] = {
            "follows": partial(self._follows, 0),
            "follows two later": partial(self._follows, 1),
            "follows three later": partial(self._follows, 2),
            "follows soon": partial(self._summed, self._soon, 3, 0.5),
            "bought together": partial(self._summed, self._together, None, 0.7),
            "popular": lambda recent: np.tile(self._popularity, (len(recent), 1)),
            "never bought": lambda recent: np.tile(self._popularity == 0, (len(recent), 1)),
        }
        if self._texts is not None:
            of_new["near in words"] = self._near_in_words
            of_new["near in words to one"] = self._near_to_one
        if self._kind is not None:
            self._following = _following_kinds(self._kind, after[0], counts)
            of_new["kind that follows"] = partial(self._kind_follows, 0)
            of_new["kind that follows the one before"] = partial(self._kind_follows, 1)
        if self._brand is not None:
            of_new["share of the brand"] = partial(self._share, self._brand)
        self._of_had = self._of_returns(times_bought(log, self.item_count), kept)
        self._by_name = of_new | self._of_had

    def _of_returns(
        self, times: csr_array, kept: Bool[np.ndarray, " users"] | None
    ) -> dict[str, Callable[[Recent], Scores]]:
        """The reasons that speak of what the history has; most where users come back to items."""
        had = partial(seen, item_count=self.item_count)
        found: dict[str, Callable[[Recent], Scores]] = {
            "bought before": had,
            "bought last": lambda recent: had(recent[:, :1]),
        }
        if (times.data > 1).any():
            returns = _return_rates(times if kept is None else times[kept])
            found["bought lately"] = lambda recent: self._lately(1.0, recent).toarray()
            found["bought lately or often"] = self._activation
            found["comes back to items"] = self._comes_back
            found["others come back to it"] = lambda recent: had(recent) * returns
        return found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def each(
        self, recent: Recent, names: Iterable[str] | None = None
    ) -> Iterator[tuple[str, Scores]]:
        """Every reason, or those of these names, of every item after some histories.

        Those that speak of new items are zero at what the history has, which is chosen for other
        reasons: that others bought it together with the rest says nothing of its return.
        """
        new = 1 - seen(recent, self.item_count)
        for name in self.names if names is None else names:
            values = self.one(name, recent)
            yield name, values if name in self._of_had else new * values

    def one(self, name: str, recent: Recent) -> Scores:
        """One reason of every item after some histories, also of what they have."""
        return self._by_name[name](recent).astype(np.float32, copy=False)

    def following_kinds(
        self, items: Int[np.ndarray, " rows"], count: int
    ) -> Int[np.ndarray, "rows count"]:
        """The kinds that follow each item's kind most beyond their usual share; -1: no more."""
        assert self._kind is not None
        lifts = self._following[self._kind.known(items), :-1]
        best, _ = best_items(lifts, min(count, lifts.shape[1]))
        return np.where(np.take_along_axis(lifts, best, axis=1) > 0, best, -1)

    def scores(self, recent: Recent, weights: Mapping[str, float]) -> Scores:
        """The weighted sum of the reasons of every item after some histories."""
        total = np.zeros((len(recent), self.item_count), np.float32)
        for name, values in self.each(recent, weights):
            total += np.float32(weights[name]) * values
        return total

    def _follows(self, lag: int, recent: Recent) -> Scores:
        return summed(weighted(recent[:, lag : lag + 1], self.item_count), self._after[lag])

    def _summed(self, table: csr_array, lags: int | None, decay: float, recent: Recent) -> Scores:
        return np.sqrt(summed(weighted(recent[:, :lags], self.item_count, decay), table))

    def _near_in_words(self, recent: Recent) -> Scores:
        assert self._texts is not None
        mean = weighted(recent, self.item_count, 0.7) @ self._texts
        return _unit(mean) @ self._texts.T

    def _near_to_one(self, recent: Recent) -> Scores:
        assert self._texts is not None
        nearest = np.full((len(recent), self.item_count), -1, np.float32)
        for items in recent[:, :NEAREST].T:
            there = items >= 0
            near = self._texts[items[there]] @ self._texts.T
            nearest[there] = np.maximum(nearest[there], near)
        return nearest

    def _kind_follows(self, lag: int, recent: Recent) -> Scores:
        assert self._kind is not None
        kinds = self._kind.known(recent[:, lag])
        return self._following[kinds][:, self._kind.codes]

    def _share(self, facet: Facet, recent: Recent) -> Scores:
        """The root of the decayed share of the history that has the item's value of a facet."""
        values = facet.known(recent)
        sums = weighted(values, len(facet.labels), 0.8).toarray()
        shares = np.sqrt(sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9))
        return np.where(facet.codes >= 0, shares[:, facet.codes], 0)

    def _lately(self, decay: float, recent: Recent) -> csr_array:
        """The sum of lag ** -decay over the purchases of what the history has."""
        rows, lags = np.nonzero(recent >= 0)
        strength = ((1.0 + lags) ** -decay, (rows, recent[rows, lags]))
        return csr_array(strength, shape=(len(recent), self.item_count), dtype=np.float32)

    def _activation(self, recent: Recent) -> Scores:
        """The base-level activation of what the history has (Anderson and Schooler 1991)."""
        table = self._lately(0.5, recent)
        table.data = np.log(table.data)
        return table.toarray()

    def _comes_back(self, recent: Recent) -> Scores:
        """The log of the share of the history that was not new then, at what the history has."""
        had = seen(recent, self.item_count)
        count, distinct = (recent >= 0).sum(axis=1), had.sum(axis=1)
        return had * np.log((count - distinct + 0.2) / (count + 2))[:, None].astype(np.float32)


def fit_weights(
    log: InteractionLog,
    catalog: Catalog,
    texts: Float[np.ndarray, "items dim"] | None,
    seed: int,
    users: int = FITTED,
) -> dict[str, float]:
    """The weight of each reason, fitted on at most `users` users' last training items.

    A user's reasons are counted without the user's fold.
    """
    sample = sample_choices(log, catalog, texts, None, seed, users)
    weights = conditional_logit(sample.features, sample.offsets)
    return dict(zip(sample.names, weights.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Choices:
    """What a conditional logit is fitted on: each user's target (choice 0) among drawn items."""

    names: tuple[str, ...]
    features: Float32[np.ndarray, "users choices reasons"]
    offsets: Float[np.ndarray, "users choices"]
    folds: Int[np.ndarray, " users"]

    def without(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Features and offsets of the users outside a fold."""
        kept = self.folds != fold
        return self.features[kept], self.offsets[kept]


def sample_choices(
    log: InteractionLog,
    catalog: Catalog,
    texts: Float[np.ndarray, "items dim"] | None,
    folds: Int[np.ndarray, " users"] | None,
    seed: int,
    users: int = FITTED,
) -> Choices:
    """The reasons of at most `users` users' last training items, counted without their folds.

    `folds` are every user's group; None draws `FOLDS` groups.
    Beside each target stand `NEGATIVES` items that are drawn by popularity and by a rough score;
    the offsets make up for how often each is drawn.
    """
    rng = np.random.default_rng(derive_seed(seed, "reasons"))
    drawn = rng.permutation(np.flatnonzero(log.lengths >= 2))[:users]
    folds = rng.integers(FOLDS, size=log.user_count) if folds is None else folds
    newest = log.histories.newest(LAGS + 1)  # the target first
    features, offsets, owners, names = [], [], [], ()
    for fold in range(int(folds.max(initial=0)) + 1):
        chosen = drawn[folds[drawn] == fold]
        if not len(chosen):
            continue
        reasons = Reasons(log, catalog, texts, folds != fold)
        names = reasons.names
        owners.append(np.full(len(chosen), fold))
        for rows in np.split(chosen, np.arange(ROWS, len(chosen), ROWS)):
            if len(rows):
                sample = _choices(reasons, newest[rows, 1:], newest[rows, 0], rng)
                features.append(sample[0])
                offsets.append(sample[1])
    if not owners:
        empty = Reasons(log, catalog, texts).names
        return Choices(empty, np.zeros((0, 1, len(empty)), np.float32), np.zeros((0, 1)), folds[:0])
    parts = (features, offsets, owners)
    return Choices(names, *(np.concatenate(part) for part in parts))


def conditional_logit(
    features: Float32[np.ndarray, "users choices weights"],
    offsets: Float[np.ndarray, "users choices"],
    ridge: float = 1e-3,
    steps: int = 40,
) -> Float[np.ndarray, " weights"]:
    """Weights that make choice 0 likeliest for each user: Newton's method with halved steps.

    Args:
        offsets: added to the scores; minus the log of how often a choice is expected in the sample.
        ridge: of the squared weights, beside the mean log-likelihood.

    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((4000, 6, 2)).astype(np.float32)
    >>> scores = features @ [1.0, -0.5] + rng.gumbel(size=(4000, 6))
    >>> best = scores.argmax(axis=1)
    >>> features[np.arange(4000), best], features[:, 0] = (
    ...     features[:, 0].copy(),
    ...     features[np.arange(4000), best].copy(),
    ... )
    >>> conditional_logit(features, np.zeros((4000, 6))).round(1).tolist()
    [1.0, -0.5]
    """
    users, _, count = features.shape
    if not users:
        return np.zeros(count)
    flat, weights = features.reshape(-1, count), np.zeros(count)

    def likelihood(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = (flat @ weights.astype(np.float32)).reshape(offsets.shape) + offsets
        top = scores.max(axis=1, keepdims=True)
        chances = np.exp(scores - top)
        total = chances.sum(axis=1, keepdims=True)
        mean = (scores[:, :1] - top - np.log(total)).mean() - ridge / 2 * weights @ weights
        return float(mean), chances / total

    reached, chances = likelihood(weights)
    for _ in range(steps):
        expected = np.einsum("uc,ucw->uw", chances, features)
        gradient = (features[:, 0] - expected).sum(axis=0) / users - ridge * weights
        spread = (flat * chances.reshape(-1, 1).astype(np.float32)).T @ flat - expected.T @ expected
        change = np.linalg.solve(spread / users + ridge * np.eye(count), gradient)
        tried, chances = likelihood(weights + change)
        while tried < reached and np.abs(change).max() > 1e-6:
            change /= 2
            tried, chances = likelihood(weights + change)
        weights, reached = weights + change, tried
        if np.abs(change).max() < 1e-4:
            break
    return weights


def _choices(
    reasons: Reasons, recent: Recent, targets: Int[np.ndarray, " rows"], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Reasons of each row's target, its history and drawn items, and the offsets of the logit."""
    values = dict(reasons.each(recent))
    rough = 10 * values["bought together"] + 3 * values["follows soon"] + values["popular"] / 3
    rough = np.exp(rough - rough.max(axis=1, keepdims=True))
    popular = np.exp(0.75 * values["popular"])
    rough, popular = (part / part.sum(axis=1, keepdims=True) for part in (rough, popular))
    chance = 0.5 * rough + 0.5 * popular
    limits = np.cumsum(chance, axis=1, dtype=np.float64)
    limits /= limits[:, -1:]
    points = rng.random((len(recent), NEGATIVES))
    drawn = np.stack([np.searchsorted(*row) for row in zip(limits, points, strict=True)])
    # What the history has is never drawn but always there: few items, of which one may be likely.
    again = np.sort(recent, axis=1)
    again[:, 1:][again[:, 1:] == again[:, :-1]] = -1
    items = np.concatenate([targets[:, None], again, drawn], axis=1)
    expected = np.take_along_axis(chance, drawn, axis=1) * NEGATIVES
    had = (drawn[:, :, None] == recent[:, None, :]).any(axis=2)
    certain = np.zeros((len(recent), 1 + again.shape[1]))
    offsets = np.concatenate([certain, np.where(had, -np.inf, -np.log(expected))], axis=1)
    offsets[:, 1:][(items == targets[:, None])[:, 1:] | (items[:, 1:] < 0)] = -np.inf
    found = [np.take_along_axis(value, np.maximum(items, 0), axis=1) for value in values.values()]
    return np.stack(found, axis=2), offsets


def weighted(codes: Int[np.ndarray, "rows lags"], count: int, decay: float = 1.0) -> csr_array:
    """`visible`, in single precision."""
    return csr_array(visible(codes, count, decay), dtype=np.float32)


def summed(rows: csr_array, table: csr_array) -> Scores:
    """Each row's weighted sum of the rows of a table."""
    return csr_array(rows @ table).toarray()


def seen(recent: Recent, item_count: int) -> Scores:
    return (weighted(recent, item_count).toarray() > 0).astype(np.float32)


def shares(counts: csr_array, prior: float = PRIOR) -> csr_array:
    """Each row's shares, smoothed towards nothing by `prior` more counts."""
    totals = np.maximum(counts.sum(axis=1) + prior, 1e-9)
    return csr_array(diags_array(1 / totals) @ counts, dtype=np.float32)


def pairs_apart(
    log: InteractionLog, item_count: int, gap: int, kept: Bool[np.ndarray, " users"] | None = None
) -> csr_array:
    """How often item j (column) comes `gap` interactions after item i, in the logs of some users.

    >>> log = InteractionLog(np.array([0, 1, 0]), np.array([0, 3]), ("a",))
    >>> pairs_apart(log, item_count=2, gap=1).toarray().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    owners = np.repeat(np.arange(log.user_count), log.lengths)
    same = owners[:-gap] == owners[gap:]
    first = np.flatnonzero(same if kept is None else same & kept[owners[:-gap]])
    pairs, ones = (log.items[first], log.items[first + gap]), np.ones(len(first), np.float32)
    return csr_array((ones, pairs), shape=(item_count, item_count))


def bought_by_both(
    log: InteractionLog, item_count: int, kept: Bool[np.ndarray, " users"] | None = None
) -> csr_array:
    """How many of some users have both of two items; how many have one, on the diagonal.

    >>> log = InteractionLog(np.array([0, 1, 1, 0]), np.array([0, 3, 4]), ("a", "b"))
    >>> bought_by_both(log, item_count=2).toarray().tolist()
    [[2.0, 1.0], [1.0, 1.0]]
    """
    times = times_bought(log, item_count)
    bought = csr_array((times if kept is None else times[kept]) > 0, dtype=np.float32)
    return csr_array(bought.T @ bought)


def times_bought(log: InteractionLog, item_count: int) -> csr_array:
    """How often each user has each item.

    >>> log = InteractionLog(np.array([0, 1, 1, 0]), np.array([0, 3, 4]), ("a", "b"))
    >>> times_bought(log, item_count=2).toarray().tolist()
    [[1.0, 2.0], [1.0, 0.0]]
    """
    owners = np.repeat(np.arange(log.user_count), log.lengths)
    ones = np.ones(len(owners), np.float32)
    return csr_array((ones, (owners, log.items)), shape=(log.user_count, item_count))


def cosines(both: csr_array) -> csr_array:
    """Cosines of the sets of users that have two items, from `bought_by_both`; 0 with itself."""
    scale = diags_array(1 / np.sqrt(np.maximum(both.diagonal(), 1)))
    others = both - diags_array(both.diagonal())
    return csr_array(scale @ others @ scale, dtype=np.float32)


def _return_rates(times: csr_array) -> Float32[np.ndarray, " items"]:
    """Log of how much oftener an item's buyers come back to it than buyers do on average."""
    buyers, returned = (csr_array(times > few).sum(axis=0) for few in (0, 1))
    usual = max(returned.sum(), 1) / max(buyers.sum(), 1)
    return np.log((returned / usual + RETURN_PRIOR) / (buyers + RETURN_PRIOR)).astype(np.float32)


def _following_kinds(
    kind: Facet, after: csr_array, counts: Int[np.ndarray, " items"]
) -> Float32[np.ndarray, "kinds_plus_1 kinds_plus_1"]:
    """Log of how much oftener a kind follows a kind than it occurs; the last row and column are
    those of no kind."""
    member, size = indicator(kind), len(kind.labels)
    usual = member.T @ counts
    usual = usual / max(usual.sum(), 1)
    table = (member.T @ after @ member).toarray()
    shares = (table + KIND_PRIOR * usual) / (table.sum(axis=1, keepdims=True) + KIND_PRIOR)
    lift = np.zeros((size + 1, size + 1), np.float32)
    lift[:size, :size] = np.log(shares / np.maximum(usual, 1e-9) + 1e-3)
    return lift


def _unit(vectors: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "rows dim"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def best_items(
    scores: Scores, k: int
) -> tuple[Int[np.ndarray, "rows k"], Float32[np.ndarray, "rows k"]]:
    """The `k` best items of each row and their log shares; ties go to the lower item number."""
    part = np.sort(np.argpartition(-scores, min(k, scores.shape[1] - 1), axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    items = np.take_along_axis(part, order, axis=1)
    return items, np.take_along_axis(log_softmax(scores, axis=1), items, axis=1)
