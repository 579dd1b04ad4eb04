"""Mine: from tried patterns to one template, and `discover`, which runs Generate, Validate and
Mine.

Scores choose patterns, never a shopper's chain: whatever is mined here, chains are written afresh
afterwards, one for each prefix, and no chain is kept or dropped because it hit its target. Only
training items are read.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.table import hand_written_pattern
from scoter.reasoning.discovery.clusters import (
    Cluster,
    cluster_patterns,
    features,
    mean_over_users,
    on_a_plane,
)
from scoter.reasoning.discovery.generate import HeldIn, generate, hold_in, labels, vary
from scoter.reasoning.discovery.report import (
    Calls,
    ClusterReport,
    Discovery,
    Optimism,
    Point,
    compare,
    pattern_from_json,
)
from scoter.reasoning.discovery.validate import EmbeddedSteps, Encode, ndcg, validate, wilson
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split, Step

_SEEDS = 3
_FINALISTS = 16

__all__ = ["Discovery", "discover", "distil", "pattern_from_json"]


def discover(
    split: Split,
    catalog: Catalog,
    config: DiscoverConfig,
    encode: Encode,
    item_vectors: Float[np.ndarray, "items dim"],
    seed: int,
) -> Discovery:
    """Generate patterns, validate them on some shoppers, mine the best cluster, confirm on others.

    A round mines the best cluster's template (see `distil`), or that cluster's best member where
    the template validates worse than it; `distilled_by` says which. With `config.rounds` above 1,
    the first round tries half of the patterns; each further one tries variations of what was mined
    and of the best three patterns yet, beside new draws (a third), and clusters all patterns again.
    The pattern is the one mined in any round that validates best, less the steps that it validates
    no worse without (see `shed`).

    The rival "best generated" is best of n without mining: the best of as many drawn patterns as
    were tried here in all.

    `encode` turns sentences into vectors of the space that `item_vectors` (row i: the text of item
    i) lie in.

    Raises:
        ConfigError: too few shoppers, patterns or clusters for `config`; the message says which.
    """
    sizes = _round_sizes(config)
    tried, fresh = hold_in(split, config, seed)
    # As many as can be tried here in all: one of each length is the longest that shedding can take.
    most = config.patterns + config.rounds + config.max_steps * (config.max_steps + 1) // 2
    drawn = generate(catalog, replace(config, patterns=most), seed)
    reasoner = CatalogReasoner(
        catalog, FoldedStatistics(split.train, catalog.item_count, derive_seed(seed, "folds"))
    )

    def measured(sample: HeldIn) -> "_Measured":
        steps = EmbeddedSteps(reasoner, look(split, sample.users, sample.prefix_lengths), encode)
        return _Measured(steps, sample, item_vectors, derive_seed(seed, "validate"))

    trial = measured(tried)
    patterns: list[ReasoningPattern] = []
    mined: list[_Mined] = []
    used = 0
    for number, size in enumerate(sizes):
        varied = ()
        if number:
            best = np.argsort(-trial.hits(patterns, config.top_k).mean(axis=1), kind="stable")[
                :_SEEDS
            ]
            seeds = [mined[-1].pattern, *(patterns[row] for row in best)]
            known = {
                labels(pattern)
                for pattern in (*patterns, *drawn[: config.patterns + config.rounds])
            }
            varied = vary(
                seeds, catalog, config, known, size - size // 3, derive_seed(seed, "round", number)
            )
        new = drawn[used : used + size - len(varied)]
        used += len(new)
        patterns += [*new, *varied]
        mined.append(_mine(patterns, trial, config, derive_seed(seed, "clusters")))
        if number + 1 < len(sizes) and labels(mined[-1].pattern) not in map(labels, patterns):
            patterns.append(mined[-1].pattern)
    found = mined[max(range(len(mined)), key=lambda row: (mined[row].hits.mean(), row))]
    last = mined[-1]
    before = len(trial.known)
    pattern = shed(found.pattern, lambda some: trial.hits(some, config.top_k))
    found = replace(found, pattern=pattern, hits=trial.hits([pattern], config.top_k)[0])
    count = (
        config.patterns + config.rounds + len(trial.known) - before
    )  # the templates are tried too
    return _confirmed(
        found, last, patterns, drawn[:count], trial, measured(fresh), catalog, config, seed
    )


@dataclass(eq=False)
class _Measured:
    """Patterns' ranks of the target at one sample of shoppers, each pattern measured once."""

    steps: EmbeddedSteps
    sample: HeldIn
    item_vectors: Float[np.ndarray, "items dim"]
    seed: int
    known: dict[tuple[str, ...], Int[np.ndarray, " users"]] = field(default_factory=dict)

    def ranks(self, patterns: Sequence[ReasoningPattern]) -> Int[np.ndarray, "patterns users"]:
        new = list(
            {
                labels(pattern): pattern
                for pattern in patterns
                if labels(pattern) not in self.known
            }.values()
        )
        if new:
            found = validate(new, self.steps, self.sample, self.item_vectors, self.seed)
            self.known |= {labels(pattern): row for pattern, row in zip(new, found, strict=True)}
        return np.stack([self.known[labels(pattern)] for pattern in patterns])

    def hits(
        self, patterns: Sequence[ReasoningPattern], k: int
    ) -> Bool[np.ndarray, "patterns users"]:
        return self.ranks(patterns) <= k


@dataclass(frozen=True, eq=False)
class _Mined:
    """What one round's mining gave."""

    pattern: ReasoningPattern
    hits: Bool[np.ndarray, " users"]
    by_vote: bool
    votes: dict[str, float]
    clusters: list[Cluster]
    silhouette: float
    points: Float[np.ndarray, "patterns features"]

    def support(self) -> float:
        return len(self.clusters[0].members) / len(self.points)


def _mine(
    patterns: Sequence[ReasoningPattern], trial: _Measured, config: DiscoverConfig, seed: int
) -> _Mined:
    hits = trial.hits(patterns, config.top_k)
    points = features(patterns, trial.steps, config.max_steps)
    clusters, silhouette = cluster_patterns(
        points, hits, config.max_clusters, seed, config.clustering
    )
    voted, votes = distil(patterns, hits, clusters[0])
    voted_hits = trial.hits([voted], config.top_k)[0]
    leader = int(clusters[0].members[hits[clusters[0].members].mean(axis=1).argmax()])
    by_vote = bool(voted_hits.mean() >= hits[leader].mean())
    pattern, its_hits = (voted, voted_hits) if by_vote else (patterns[leader], hits[leader])
    return _Mined(pattern, its_hits, by_vote, votes, clusters, silhouette, points)


def _confirmed(
    found: _Mined,
    last: _Mined,
    patterns: Sequence[ReasoningPattern],
    drawn: Sequence[ReasoningPattern],
    trial: _Measured,
    fresh: _Measured,
    catalog: Catalog,
    config: DiscoverConfig,
    seed: int,
) -> Discovery:
    """The report: the mined pattern and its rivals at fresh shoppers, and the clusters of the last
    round.

    `drawn` are as many patterns as were tried in all.
    """
    k, users, tried = config.top_k, len(trial.sample), len(drawn)
    drawn_hits = trial.hits(drawn, k).mean(axis=1)
    best = int(drawn_hits.argmax())
    rivals = _rivals(catalog, config, seed) | {"best generated": drawn[best]}
    fresh_ranks = fresh.ranks([found.pattern, *rivals.values()])
    ranks = trial.ranks(patterns)
    choosing = {"best generated": tried * users}
    numbers = np.full(len(patterns), -1)
    for number, cluster in enumerate(last.clusters):
        numbers[cluster.members] = number
    plane = on_a_plane(last.points)
    return Discovery(
        pattern=found.pattern,
        support=found.support(),
        recall=wilson(fresh_ranks[0] <= k),
        ndcg=wilson(ndcg(fresh_ranks[0], k)),
        chosen_on=wilson(found.hits),
        distilled_by="vote" if found.by_vote else "best member",
        votes=tuple(found.votes.get(label, 0.0) for label in labels(found.pattern)),
        clusters=tuple(_report(cluster, patterns, ranks, k) for cluster in last.clusters),
        silhouette=last.silhouette,
        rivals={
            name: compare(
                fresh_ranks[0],
                rank,
                labels(pattern),
                k,
                Calls(choosing.get(name, 0), len(fresh.sample)),
            )
            for (name, pattern), rank in zip(rivals.items(), fresh_ranks[1:], strict=True)
        },
        optimism=Optimism(
            bound=float(np.sqrt(np.log(config.patterns) / (2 * users))),
            measured=float(found.hits.mean() - (fresh_ranks[0] <= k).mean()),
            measured_best_generated=float(drawn_hits[best] - (fresh_ranks[-1] <= k).mean()),
        ),
        calls=Calls(tried * users, len(fresh.sample)),
        points=tuple(
            Point(
                float(x),
                float(y),
                int(number),
                float((rank <= k).mean()),
                " > ".join(labels(pattern)),
            )
            for (x, y), number, rank, pattern in zip(plane, numbers, ranks, patterns, strict=True)
        ),
        provenance={
            "seed": seed,
            "patterns": config.patterns,
            "rounds": config.rounds,
            "users": users,
            "fresh_users": len(fresh.sample),
            "top_k": k,
            "target": "each shopper's last training item, from the training items before it",
        },
        finalists=_finalists(found.pattern, patterns, (ranks <= k).mean(axis=1)),
    )


def distil(
    patterns: Sequence[ReasoningPattern], hits: Bool[np.ndarray, "patterns users"], cluster: Cluster
) -> tuple[ReasoningPattern, dict[str, float]]:
    """One template from a cluster's best patterns, by vote; and each step's share of the votes.

    The best patterns are the members whose recall reaches the 95 % lower bound of the cluster's
    best one. Each votes with its recall: for its last step, for every other step, for the place of
    each, and for the number of steps (a weighted median). The template takes the last step with
    most votes, fills up with the other steps with most votes, and orders these by their weighted
    mean place. Ties go to the step met first, so the outcome is determined.
    """
    recall = hits[cluster.members].mean(axis=1)
    chosen = np.flatnonzero(recall >= wilson(hits[cluster.members[recall.argmax()]]).low)
    weights = recall[chosen] if recall[chosen].any() else np.ones(len(chosen))
    weights = weights / weights.sum()
    known: dict[str, Step] = {}
    votes, finals, places = defaultdict(float), defaultdict(float), defaultdict(float)
    for member, weight in zip(cluster.members[chosen], weights, strict=True):
        *before, last = patterns[member].steps
        known |= {step.label(): step for step in patterns[member].steps}
        finals[last.label()] += float(weight)
        for place, step in enumerate(before):
            votes[step.label()] += float(weight)
            places[step.label()] += float(weight) * place / len(before)
    final = max(finals, key=finals.__getitem__)
    length = _weighted_median(
        [len(patterns[member]) for member in cluster.members[chosen]], weights
    )
    ranked = sorted((name for name in votes if name != final), key=lambda name: -votes[name])[
        : length - 1
    ]
    ordered = sorted(ranked, key=lambda name: places[name] / votes[name])
    template = ReasoningPattern((*(known[name] for name in ordered), known[final]))
    return template, {name: votes[name] + finals[name] for name in known}


def shed(
    pattern: ReasoningPattern,
    hits: Callable[[Sequence[ReasoningPattern]], Bool[np.ndarray, "patterns users"]],
) -> ReasoningPattern:
    """The pattern without the steps that earn nothing: one at a time, the one whose loss costs
    least, as long as that is within a standard error of the paired difference (the
    one-standard-error rule of Breiman et al. 1984).

    Example:
        >>> first, second, third = (
        ...     Step("recent_item", {"field": "item", "lag": lag}) for lag in (3, 2, 1)
        ... )
        >>> left = shed(
        ...     ReasoningPattern((first, second, third)),
        ...     lambda some: np.array([[second in one.steps] for one in some]),
        ... )
        >>> left.steps == (second,)
        True
    """
    while len(pattern) > 1:
        shorter = [
            ReasoningPattern(pattern.steps[:place] + pattern.steps[place + 1 :])
            for place in range(len(pattern))
        ]
        now, *then = hits([pattern, *shorter]).astype(float)
        best = max(range(len(then)), key=lambda place: then[place].mean())
        lost = now - then[best]
        if lost.mean() > lost.std() / np.sqrt(len(lost)):
            break
        pattern = shorter[best]
    return pattern


def _finalists(
    mined: ReasoningPattern,
    patterns: Sequence[ReasoningPattern],
    recall: Float[np.ndarray, " patterns"],
) -> tuple[ReasoningPattern, ...]:
    best_first = [mined, *(patterns[row] for row in np.argsort(-recall, kind="stable"))]
    return tuple({labels(pattern): pattern for pattern in best_first}.values())[:_FINALISTS]


def _rivals(catalog: Catalog, config: DiscoverConfig, seed: int) -> dict[str, ReasoningPattern]:
    return {
        "hand-written": hand_written_pattern(catalog),
        "random": generate(catalog, config, derive_seed(seed, "random rival"))[0],
        "direct recommendation": ReasoningPattern(
            (Step("recommendation", {"count": config.top_k, "window": 3}),)
        ),
    }


def _weighted_median(values: Sequence[int], weights: Float[np.ndarray, " values"]) -> int:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= 0.5 - 1e-12
    return int(np.asarray(values)[order][reached.argmax()])


def _report(
    cluster: Cluster,
    patterns: Sequence[ReasoningPattern],
    ranks: Int[np.ndarray, "patterns users"],
    k: int,
) -> ClusterReport:
    recall = (ranks[cluster.members] <= k).mean(axis=1)
    best_first = cluster.members[np.argsort(-recall, kind="stable")]
    return ClusterReport(
        patterns=tuple(labels(patterns[member]) for member in best_first),
        recalls=tuple(np.sort(recall)[::-1].tolist()),
        support=len(best_first) / len(patterns),
        recall=cluster.recall,
        ndcg=mean_over_users(ndcg(ranks[cluster.members], k)),
    )


def _round_sizes(config: DiscoverConfig) -> list[int]:
    """How many patterns each round generates: the first one half of them, the others the rest in
    equal parts."""
    if config.rounds < 1 or (config.rounds > 1 and config.patterns < 4 * config.rounds):
        raise ConfigError(
            f"discover.rounds={config.rounds} and discover.patterns={config.patterns}: rounds "
            "must be 1 or more, and patterns at least four for each round"
        )
    if config.rounds == 1:
        return [config.patterns]
    first = (config.patterns + 1) // 2
    later = (config.patterns - first) // (config.rounds - 1)
    return [config.patterns - later * (config.rounds - 1), *[later] * (config.rounds - 1)]
