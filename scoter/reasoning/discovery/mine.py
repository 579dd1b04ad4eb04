"""Mine: from tried patterns to one template; and `discover`: Generate, Validate and Mine.

Scores choose patterns, never a user's chain: chains are written afresh for every prefix.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.reasoner import CatalogReasoner
from scoter.reasoning.catalogue.statistics import FoldedStatistics
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.table import hand_written_pattern
from scoter.reasoning.discovery import report
from scoter.reasoning.discovery.clusters import Cluster, cluster_patterns, features, mean_over_users
from scoter.reasoning.discovery.generate import generate, hold_in, labels, vary
from scoter.reasoning.discovery.progress import Progress, silent
from scoter.reasoning.discovery.validate import EmbeddedSteps, Encode, Ranks, Trial, ndcg, wilson
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split, Step

_SEEDS = 3

Patterns = Sequence[ReasoningPattern]
Hits = Bool[np.ndarray, "patterns users"]


def discover(
    split: Split,
    catalog: Catalog,
    config: DiscoverConfig,
    encode: Encode,
    item_vectors: Float[np.ndarray, "items dim"],
    seed: int,
    progress: Progress = silent,
) -> report.Discovery:
    """Generate patterns, validate them on some users, mine the best cluster, confirm on others.

    `encode` turns sentences into vectors of the space of `item_vectors`, the items' texts. A round
    mines the best cluster's template (see `distil`), or that cluster's best member where
    the template validates worse; `distilled_by` says which. With `config.rounds` above 1, the first
    round tries half of the patterns; each further one tries variations of what was mined and of the
    best three patterns yet, beside new draws (a third), and clusters all patterns again. The result
    is the mined pattern that validates best, less the steps it does not need (see `shed`).

    The rival "best generated" is the best of as many drawn patterns as were tried here in all.
    """
    sizes = _round_sizes(config)
    samples = hold_in(split, config, seed)
    # As many as can be tried here in all: shedding takes at most one of each length.
    most = config.patterns + config.rounds + config.max_steps * (config.max_steps + 1) // 2
    drawn = generate(catalog, replace(config, patterns=most), seed)
    statistics = FoldedStatistics(split.train, catalog.item_count, derive_seed(seed, "folds"))
    reasoner = CatalogReasoner(catalog, statistics)
    tried, fresh = (
        Trial(
            EmbeddedSteps(reasoner, look(split, sample.users, sample.prefix_lengths), encode),
            sample,
            item_vectors,
            derive_seed(seed, "validate"),
            progress,
        )
        for sample in samples
    )
    search = _Search(catalog, config, seed, drawn, tried)
    for size in sizes:
        search.round(size, last=len(search.mined) + 1 == len(sizes))
    return _report(search, search.best(), fresh)


def planned_patterns(config: DiscoverConfig) -> int:
    """About how many patterns `discover` ranks, for a progress bar."""
    rivals, shed_once = 5, config.max_steps
    return config.patterns + 2 * config.rounds + 2 * shed_once + rivals


@dataclass(frozen=True, eq=False)
class _Mined:
    pattern: ReasoningPattern
    hits: Bool[np.ndarray, " users"]
    by_vote: bool  # whether the vote's template is the pattern, or the best member
    votes: dict[str, float]
    clusters: list[Cluster]
    silhouette: float
    points: Float[np.ndarray, "patterns features"]


@dataclass(eq=False)
class _Search:
    catalog: Catalog
    config: DiscoverConfig
    seed: int
    drawn: tuple[ReasoningPattern, ...]  # by the grammar, in the order they are tried in
    trial: Trial
    patterns: list[ReasoningPattern] = field(default_factory=list)  # tried so far
    mined: list[_Mined] = field(default_factory=list)  # by round
    used: int = 0  # of `drawn`
    counted: int = 0  # patterns tried in all, templates and shed ones included

    def hits(self, patterns: Patterns, part: str) -> Hits:
        return self.trial.ranks(patterns, part) <= self.config.top_k

    def round(self, size: int, last: bool) -> None:
        part = f"round {len(self.mined) + 1}"
        varied = self._varied(size - size // 3) if self.mined else ()
        new = self.drawn[self.used : self.used + size - len(varied)]
        self.used += len(new)
        self.patterns += [*new, *varied]
        self.mined.append(self._mine(part))
        template = self.mined[-1].pattern
        if not last and labels(template) not in map(labels, self.patterns):
            self.patterns.append(template)

    def best(self) -> _Mined:
        best = max(reversed(self.mined), key=lambda mined: mined.hits.mean())
        before = len(self.trial.known)
        pattern = shed(best.pattern, lambda shorter: self.hits(shorter, "shedding steps"))
        shed_count = len(self.trial.known) - before
        self.counted = self.config.patterns + self.config.rounds + shed_count
        return replace(best, pattern=pattern, hits=self.hits([pattern], "mined pattern")[0])

    def _varied(self, count: int) -> tuple[ReasoningPattern, ...]:
        recall = self.hits(self.patterns, "patterns").mean(axis=1)
        best = np.argsort(-recall, kind="stable")[:_SEEDS]
        seeds = [self.mined[-1].pattern, *(self.patterns[row] for row in best)]
        reserved = self.drawn[: self.config.patterns + self.config.rounds]
        known = {labels(pattern) for pattern in (*self.patterns, *reserved)}
        seed = derive_seed(self.seed, "round", len(self.mined))
        return vary(seeds, self.catalog, self.config, known, count, seed)

    def _mine(self, part: str) -> _Mined:
        config, patterns = self.config, self.patterns
        hits = self.hits(patterns, part)
        points = features(patterns, self.trial.steps, config.max_steps)
        clusters, silhouette = cluster_patterns(
            points, hits, config.max_clusters, derive_seed(self.seed, "clusters"), config.clustering
        )
        members = clusters[0].members
        template, votes = distil(patterns, hits, clusters[0])
        template_hits = self.hits([template], f"{part}, template")[0]
        leader = int(members[hits[members].mean(axis=1).argmax()])
        by_vote = bool(template_hits.mean() >= hits[leader].mean())
        chosen = (template, template_hits) if by_vote else (patterns[leader], hits[leader])
        return _Mined(*chosen, by_vote, votes, clusters, silhouette, points)


def _report(search: _Search, mined: _Mined, fresh: Trial) -> report.Discovery:
    config, patterns, last = search.config, search.patterns, search.mined[-1]
    k, users = config.top_k, len(search.trial.sample)
    drawn = search.drawn[: search.counted]
    drawn_recall = search.hits(drawn, "best of as many").mean(axis=1)
    best = int(drawn_recall.argmax())
    rivals = _rivals(search) | {"best generated": drawn[best]}
    fresh_ranks = fresh.ranks([mined.pattern, *rivals.values()], "fresh users")
    recall = wilson(fresh_ranks[0] <= k)
    ranks = search.trial.ranks(patterns)
    tried = (ranks <= k).mean(axis=1)
    members = [cluster.members for cluster in last.clusters]
    calls = report.Calls(search.counted * users, len(fresh.sample))
    compared = {}
    for (name, pattern), rank in zip(rivals.items(), fresh_ranks[1:], strict=True):
        paid = calls if name == "best generated" else replace(calls, choosing=0)
        compared[name] = report.compare(fresh_ranks[0], rank, labels(pattern), k, paid)
    return report.Discovery(
        pattern=mined.pattern,
        support=len(mined.clusters[0].members) / len(mined.points),
        recall=recall,
        ndcg=wilson(ndcg(fresh_ranks[0], k)),
        chosen_on=wilson(mined.hits),
        distilled_by="vote" if mined.by_vote else "best member",
        votes=tuple(mined.votes.get(label, 0.0) for label in labels(mined.pattern)),
        clusters=tuple(_cluster(cluster, patterns, ranks, k) for cluster in last.clusters),
        silhouette=last.silhouette,
        rivals=compared,
        optimism=report.Optimism(
            bound=float(np.sqrt(np.log(config.patterns) / (2 * users))),
            measured=float(mined.hits.mean() - recall.mean),
            measured_best_generated=float(drawn_recall[best] - (fresh_ranks[-1] <= k).mean()),
        ),
        calls=calls,
        points=report.draw_points(last.points, members, tried, [*map(labels, patterns)]),
        provenance={
            "seed": search.seed,
            "patterns": config.patterns,
            "rounds": config.rounds,
            "users": users,
            "fresh_users": len(fresh.sample),
            "top_k": k,
            "target": report.TARGET,
        },
    )


def distil(
    patterns: Patterns, hits: Hits, cluster: Cluster
) -> tuple[ReasoningPattern, dict[str, float]]:
    """One template from a cluster's best patterns, by vote; and each step's share of the votes.

    The best patterns are the members whose recall reaches the 95 % lower bound of the cluster's
    best one. Each votes with its recall for its steps, their places, and their number (a weighted
    median). The template takes the last step and the other steps with most votes, these ordered by
    weighted mean place. Ties go to the step met first.
    """
    recall = hits[cluster.members].mean(axis=1)
    chosen = np.flatnonzero(recall >= wilson(hits[cluster.members[recall.argmax()]]).low)
    voters = [patterns[member] for member in cluster.members[chosen]]
    weights = recall[chosen] if recall[chosen].any() else np.ones(len(chosen))
    weights = weights / weights.sum()
    known: dict[str, Step] = {}
    votes, finals, places = defaultdict(float), defaultdict(float), defaultdict(float)
    for pattern, weight in zip(voters, weights.tolist(), strict=True):
        *before, last = pattern.steps
        known |= {step.label(): step for step in pattern.steps}
        finals[last.label()] += weight
        for place, step in enumerate(before):
            votes[step.label()] += weight
            places[step.label()] += weight * place / len(before)
    final = max(finals, key=finals.__getitem__)
    length = _weighted_median([len(pattern) for pattern in voters], weights)
    ranked = sorted((name for name in votes if name != final), key=lambda name: -votes[name])
    ordered = sorted(ranked[: length - 1], key=lambda name: places[name] / votes[name])
    template = ReasoningPattern((*(known[name] for name in ordered), known[final]))
    return template, {name: votes[name] + finals[name] for name in known}


def shed(pattern: ReasoningPattern, hits: Callable[[Patterns], Hits]) -> ReasoningPattern:
    """The pattern without the steps that it validates no worse without.

    The step whose removal costs least goes first, while the loss is within one standard error of
    the paired difference (Breiman et al. 1984).
    """
    while len(pattern) > 1:
        left = itertools.combinations(pattern.steps, len(pattern) - 1)
        shorter = [ReasoningPattern(steps) for steps in left][::-1]
        now, *then = hits([pattern, *shorter]).astype(float)
        best = max(range(len(then)), key=lambda place: then[place].mean())
        lost = now - then[best]
        if lost.mean() > lost.std() / np.sqrt(len(lost)):
            break
        pattern = shorter[best]
    return pattern


def _rivals(search: _Search) -> dict[str, ReasoningPattern]:
    direct = Step("recommendation", {"count": search.config.top_k, "window": 3})
    seed = derive_seed(search.seed, "random rival")
    return {
        "hand-written": hand_written_pattern(search.catalog),
        "random": generate(search.catalog, search.config, seed)[0],
        "direct recommendation": ReasoningPattern((direct,)),
    }


def _weighted_median(values: Sequence[int], weights: Float[np.ndarray, " values"]) -> int:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= 0.5 - 1e-12
    return int(np.asarray(values)[order][reached.argmax()])


def _cluster(cluster: Cluster, patterns: Patterns, ranks: Ranks, k: int) -> report.ClusterReport:
    recall = (ranks[cluster.members] <= k).mean(axis=1)
    best_first = cluster.members[np.argsort(-recall, kind="stable")]
    return report.ClusterReport(
        patterns=tuple(labels(patterns[member]) for member in best_first),
        recalls=tuple(np.sort(recall)[::-1].tolist()),
        support=len(best_first) / len(patterns),
        recall=cluster.recall,
        ndcg=mean_over_users(ndcg(ranks[cluster.members], k)),
    )


def _round_sizes(config: DiscoverConfig) -> list[int]:
    rounds, patterns = config.rounds, config.patterns
    if rounds < 1 or (rounds > 1 and patterns < 4 * rounds):
        given = f"discover.rounds={rounds} and discover.patterns={patterns}"
        raise ConfigError(f"{given}: rounds must be 1 or more, patterns at least four a round")
    if rounds == 1:
        return [patterns]
    later = (patterns - (patterns + 1) // 2) // (rounds - 1)
    return [patterns - later * (rounds - 1), *[later] * (rounds - 1)]
