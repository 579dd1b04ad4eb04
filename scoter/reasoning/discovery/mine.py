"""Mine: from tried patterns to one template; and `discover`: Generate, Validate and Mine.

Scores choose patterns, never a user's chain: chains are written afresh for every prefix. A score is
NDCG@k of the transfer, see `validate`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError
from scoter.progress import Progress, silent
from scoter.reasoning.catalogue.reasoner import CatalogReasoner, offered_steps, ranked_steps
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.chains.table import hand_written_pattern
from scoter.reasoning.discovery import report
from scoter.reasoning.discovery.clusters import Cluster, cluster_patterns, features, mean_over_users
from scoter.reasoning.discovery.generate import (
    Move,
    generate,
    hold_in,
    labels,
    moves,
    vary,
    without_targets,
)
from scoter.reasoning.discovery.validate import (
    EmbeddedSteps,
    Encode,
    Ranks,
    Recall,
    Scorer,
    Trial,
    choices_of,
    named_items,
    ndcg,
    wilson,
)
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split, Step

_SEEDS = 3
_TOLD = ("patterns", "rounds", "users", "fresh_users", "top_k", "recommender", "epochs")
_DRAWN = 200  # random patterns, among which one of a given length is sought

Patterns = Sequence[ReasoningPattern]
Gains = Float[np.ndarray, "patterns users"]


def discover(
    split: Split,
    catalog: Catalog,
    config: DiscoverConfig,
    encode: Encode,
    item_vectors: Float[np.ndarray, "items dim"],
    seed: int,
    train: Callable[[Split], Scorer],
    progress: Progress = silent,
    hand_written: ReasoningPattern | None = None,
) -> report.Discovery:
    """Generate patterns, validate them on some users, mine the best cluster, confirm on others.

    `encode` turns sentences into vectors of the space of `item_vectors`, the items' texts. `train`
    makes the recommender that patterns are validated over, from a split without the held-in
    targets. Of each cluster a round distils a template (see `distil`), or takes the best member
    where the template validates worse; `distilled_by` says which. The best of these is mined. With
    `config.rounds` above 1, the first round tries half of the patterns; each further one tries
    variations of what was mined and of the best three patterns yet, beside new draws (a third), and
    clusters all patterns again. The result is the mined pattern that validates best, less the steps
    it does not need (see `shed`).

    The rival "best generated" is the best of as many drawn patterns as were tried here in all.
    """
    sizes = _round_sizes(config)
    samples = hold_in(split, config, seed)
    # As many as can be tried here in all: shedding tries at most one for each number and move.
    most = config.patterns + config.rounds + config.max_steps**2
    drawn = generate(catalog, replace(config, patterns=most), seed)
    held_in = without_targets(split, samples)
    recommender, histories = train(held_in), held_in.histories("valid")
    folds = derive_seed(seed, "folds")
    reasoner = CatalogReasoner.of(split.train, catalog, folds, lambda: item_vectors)
    trials = []
    for sample in samples:
        view = look(split, sample.users, sample.prefix_lengths)
        choices = choices_of(sample, histories, recommender, named_items(reasoner, view))
        steps = EmbeddedSteps(reasoner, view, encode)
        draws = derive_seed(seed, "validate")
        trials.append(Trial(steps, sample, choices, item_vectors, draws, progress))
    search = _Search(catalog, config, seed, drawn, trials[0], hand_written)
    for size in sizes:
        search.round(size, last=len(search.mined) + 1 == len(sizes))
    return _report(search, search.best(), trials[1])


def planned_patterns(config: DiscoverConfig) -> int:
    """About how many patterns `discover` ranks, for a progress bar."""
    single, shed = 70, config.max_steps**2 // 2
    return config.patterns + 2 * config.rounds + shed + single


@dataclass(frozen=True, eq=False)
class _Mined:
    pattern: ReasoningPattern
    gains: Float[np.ndarray, " users"]
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
    hand_written: ReasoningPattern | None
    patterns: list[ReasoningPattern] = field(default_factory=list)  # tried so far
    mined: list[_Mined] = field(default_factory=list)  # by round
    used: int = 0  # of `drawn`
    counted: int = 0  # patterns tried in all, templates and shed ones included

    def gains(self, patterns: Patterns, part: str) -> Gains:
        return ndcg(self.trial.ranks(patterns, part), self.config.top_k)

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
        best = max(reversed(self.mined), key=lambda mined: mined.gains.mean())
        before = len(self.trial.known)
        pattern = shed(best.pattern, lambda shorter: self.gains(shorter, "shedding steps"))
        shed_count = len(self.trial.known) - before
        self.counted = self.config.patterns + self.config.rounds + shed_count
        return replace(best, pattern=pattern, gains=self.gains([pattern], "mined pattern")[0])

    def _varied(self, count: int) -> tuple[ReasoningPattern, ...]:
        reached = self.gains(self.patterns, "patterns").mean(axis=1)
        best = np.argsort(-reached, kind="stable")[:_SEEDS]
        seeds = [self.mined[-1].pattern, *(self.patterns[row] for row in best)]
        reserved = self.drawn[: self.config.patterns + self.config.rounds]
        known = {labels(pattern) for pattern in (*self.patterns, *reserved)}
        seed = derive_seed(self.seed, "round", len(self.mined))
        return vary(seeds, self.catalog, self.config, known, count, seed)

    def _mine(self, part: str) -> _Mined:
        config, patterns = self.config, self.patterns
        gains = self.gains(patterns, part)
        points = features(patterns, self.trial.steps)
        clusters, silhouette = cluster_patterns(
            points,
            gains,
            config.max_clusters,
            derive_seed(self.seed, "clusters"),
            config.clustering,
        )
        drafts = [distil(patterns, gains, cluster) for cluster in clusters]
        of_templates = self.gains([template for template, _ in drafts], f"{part}, templates")
        mined = []
        for place, (cluster, (template, votes)) in enumerate(zip(clusters, drafts, strict=True)):
            leader = int(cluster.members[gains[cluster.members].mean(axis=1).argmax()])
            by_vote = bool(of_templates[place].mean() >= gains[leader].mean())
            own = (template, of_templates[place]) if by_vote else (patterns[leader], gains[leader])
            chosen_first = [cluster, *clusters[:place], *clusters[place + 1 :]]
            mined.append(_Mined(*own, by_vote, votes, chosen_first, silhouette, points))
        return max(mined, key=lambda each: each.gains.mean())


def _report(search: _Search, mined: _Mined, fresh: Trial) -> report.Discovery:
    config, patterns, last = search.config, search.patterns, search.mined[-1]
    k, users = config.top_k, len(search.trial.sample)
    drawn = search.drawn[: search.counted]
    drawn_gains = search.gains(drawn, "best of as many").mean(axis=1)
    best = int(drawn_gains.argmax())
    rivals = _rivals(search, len(mined.pattern)) | {"best generated": drawn[best]}
    fresh_ranks = fresh.ranks([mined.pattern, *rivals.values()], "fresh users")
    alone = fresh.ranks([ReasoningPattern(())])[0]
    reached = mean_over_users(ndcg(fresh_ranks[:1], k))
    ranks = search.trial.ranks(patterns)
    members = [cluster.members for cluster in last.clusters]
    calls = report.Calls(search.counted * users, len(fresh.sample))
    compared = {}
    for (name, pattern), rank in zip(rivals.items(), fresh_ranks[1:], strict=True):
        paid = calls if name == "best generated" else replace(calls, choosing=0)
        compared[name] = report.compare(fresh_ranks[0], rank, labels(pattern), k, paid, pattern)
    return report.Discovery(
        pattern=mined.pattern,
        support=len(mined.clusters[0].members) / len(mined.points),
        recall=wilson(fresh_ranks[0] <= k),
        ndcg=reached,
        over_recommender=report.compare(fresh_ranks[0], alone, (), k, replace(calls, choosing=0)),
        added=added_by_step(mined.pattern, fresh, k),
        chosen_on=mean_over_users(mined.gains[None]),
        distilled_by="vote" if mined.by_vote else "best member",
        votes=tuple(mined.votes.get(label, 0.0) for label in labels(mined.pattern)),
        clusters=tuple(_cluster(cluster, patterns, ranks, k) for cluster in last.clusters),
        silhouette=last.silhouette,
        rivals=compared,
        optimism=report.Optimism(
            bound=float(np.sqrt(np.log(config.patterns) / (2 * users))),
            measured=float(mined.gains.mean() - reached.mean),
            measured_best_generated=float(drawn_gains[best] - ndcg(fresh_ranks[-1], k).mean()),
        ),
        calls=calls,
        points=report.draw_points(
            last.points, members, ndcg(ranks, k).mean(axis=1), [*map(labels, patterns)]
        ),
        provenance={
            "seed": search.seed,
            "target": report.TARGET,
            **{name: getattr(config, name) for name in _TOLD},
        },
    )


def added_by_step(pattern: ReasoningPattern, trial: Trial, k: int) -> tuple[Recall, ...]:
    """What each step adds to NDCG@k over the steps before it."""
    parts = [ReasoningPattern(pattern.steps[:count]) for count in range(len(pattern) + 1)]
    reached = ndcg(trial.ranks(parts, "what each step adds"), k)
    return tuple(mean_over_users(gain[None]) for gain in np.diff(reached, axis=0))


def distil(
    patterns: Patterns, gains: Gains, cluster: Cluster
) -> tuple[ReasoningPattern, dict[str, float]]:
    """One template from a cluster's best patterns, by vote; and each step's share of the votes.

    The best patterns are the members whose gain reaches the 95 % lower bound of the cluster's best
    one. Each votes with its gain for its moves, their places, and their number (a weighted median).
    The template takes the last move and the other moves with most votes, these ordered by weighted
    mean place. Ties go to the move met first.
    """
    reached = gains[cluster.members].mean(axis=1)
    least = mean_over_users(gains[cluster.members[reached.argmax()]][None]).low
    chosen = np.flatnonzero(reached >= least)
    voters = [moves(patterns[member]) for member in cluster.members[chosen]]
    weights = reached[chosen] if reached[chosen].any() else np.ones(len(chosen))
    weights = weights / weights.sum()
    votes, finals, places = defaultdict(float), defaultdict(float), defaultdict(float)
    known: dict[tuple[str, ...], Move] = {}
    for parts, weight in zip(voters, weights.tolist(), strict=True):
        names = [labels(ReasoningPattern(move)) for move in parts]
        known |= dict(zip(names, parts, strict=True))
        *before, last = names
        finals[last] += weight
        for place, name in enumerate(before):
            votes[name] += weight
            places[name] += weight * place / len(before)
    final = max(finals, key=finals.__getitem__)
    length = _weighted_median([len(parts) for parts in voters], weights)
    in_final = set(final)
    ranked = sorted(
        (name for name in votes if not in_final & {*name}), key=lambda name: -votes[name]
    )
    kept = _disjoint(ranked)[: length - 1]
    ordered = sorted(kept, key=lambda name: places[name] / votes[name])
    template = ReasoningPattern(tuple(step for name in (*ordered, final) for step in known[name]))
    shares = defaultdict(float)
    for name in known:
        for label in name:
            shares[label] += votes[name] + finals[name]
    return template, dict(shares)


def _disjoint(ranked: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The moves that share no step with one before them."""
    kept, used = [], set()
    for name in ranked:
        if not used & {*name}:
            kept.append(name)
            used |= {*name}
    return kept


def shed(pattern: ReasoningPattern, gains: Callable[[Patterns], Gains]) -> ReasoningPattern:
    """The pattern without the steps that it validates no worse without; a ladder goes as a whole.

    The one whose removal costs least goes first. Since a reader is judged on other users than it
    was fitted on, a step that says nothing costs more than it adds.
    """
    reached = gains([pattern])[0].mean()
    while len(parts := moves(pattern)) > 1:
        shorter = [
            ReasoningPattern(tuple(step for move in left for step in move))
            for place in reversed(range(len(parts)))
            for left in [[*parts[:place], *parts[place + 1 :]]]
        ]
        then = gains(shorter).mean(axis=1)
        if then.max() < reached:
            break
        reached, pattern = then.max(), shorter[int(then.argmax())]
    return pattern


def _rivals(search: _Search, steps: int) -> dict[str, ReasoningPattern]:
    """Other ways to a pattern; the random one has as many steps as the mined one, or nearly so."""
    direct = Step("recommendation", {"count": DiscoverConfig.top_k, "window": 3})
    alone = [ReasoningPattern((step,)) for step in offered_steps(search.catalog)]
    alone += [ReasoningPattern((step,)) for step in ranked_steps(search.catalog)]
    best = int(search.gains(alone, "single steps").mean(axis=1).argmax())
    seed = derive_seed(search.seed, "random rival")
    some = generate(search.catalog, replace(search.config, patterns=_DRAWN), seed)
    return {
        "hand-written": search.hand_written or hand_written_pattern(search.catalog),
        "random": min(some, key=lambda pattern: abs(len(pattern) - steps)),
        "single-step": alone[best],
        "zero-shot": ReasoningPattern((direct,)),
    }


def _weighted_median(values: Sequence[int], weights: Float[np.ndarray, " values"]) -> int:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= 0.5 - 1e-12
    return int(np.asarray(values)[order][reached.argmax()])


def _cluster(cluster: Cluster, patterns: Patterns, ranks: Ranks, k: int) -> report.ClusterReport:
    gains = ndcg(ranks[cluster.members], k)
    reached = gains.mean(axis=1)
    best_first = cluster.members[np.argsort(-reached, kind="stable")]
    return report.ClusterReport(
        patterns=tuple(labels(patterns[member]) for member in best_first),
        gains=tuple(np.sort(reached)[::-1].tolist()),
        support=len(best_first) / len(patterns),
        recall=mean_over_users(ranks[cluster.members] <= k),
        ndcg=mean_over_users(gains),
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
