"""Mine: from tried patterns to one template, and `discover`, which runs Generate, Validate and Mine.

Scores choose patterns, never a shopper's chain: whatever is mined here, chains are written afresh afterwards, one for
each prefix, and no chain is kept or dropped because it hit its target. Only training items are read.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from scoter.config import DiscoverConfig
from scoter.reasoning.catalog_reasoner import CatalogReasoner
from scoter.reasoning.chains import hand_written_pattern
from scoter.reasoning.clusters import Cluster, cluster_patterns, features, mean_over_users
from scoter.reasoning.discovery import ClusterReport, Discovery, Optimism, Rival, pattern_from_json
from scoter.reasoning.generate import HeldIn, generate, hold_in, labels
from scoter.reasoning.statistics import FoldedStatistics
from scoter.reasoning.validate import EmbeddedSteps, Encode, validate, wilson
from scoter.reasoning.view import look
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split, Step

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

    The mined pattern is the best cluster's template (see `distil`), or that cluster's best member where the template
    validates worse than it; `distilled_by` says which.

    `encode` turns sentences into vectors of the space that `item_vectors` (row i: the text of item i) lie in.

    Raises:
        ConfigError: too few shoppers, patterns or clusters for `config`; the message says which.
    """
    tried, fresh = hold_in(split, config, seed)
    patterns = generate(catalog, config, seed)
    reasoner = CatalogReasoner(catalog, FoldedStatistics(split.train, catalog.item_count, derive_seed(seed, "folds")))

    def embedded(sample: HeldIn) -> EmbeddedSteps:
        return EmbeddedSteps(reasoner, look(split, sample.users, sample.prefix_lengths), encode)

    def measure(candidates: Sequence[ReasoningPattern], sample: HeldIn, steps: EmbeddedSteps) -> Bool[np.ndarray, "n users"]:
        return validate(candidates, steps, sample, item_vectors, derive_seed(seed, "validate")) <= config.top_k

    steps = embedded(tried)
    hits = measure(patterns, tried, steps)
    points = features(patterns, steps, config.max_steps)
    clusters, silhouette = cluster_patterns(points, hits, config.max_clusters, derive_seed(seed, "clusters"))
    voted, votes = distil(patterns, hits, clusters[0])
    voted_hits = measure([voted], tried, steps)[0]
    leader = int(clusters[0].members[hits[clusters[0].members].mean(axis=1).argmax()])
    by_vote = voted_hits.mean() >= hits[leader].mean()
    mined, mined_hits = (voted, voted_hits) if by_vote else (patterns[leader], hits[leader])

    best = int(hits.mean(axis=1).argmax())
    rivals = _rivals(catalog, config, seed) | {"best generated": patterns[best]}
    fresh_hits = measure([mined, *rivals.values()], fresh, embedded(fresh))
    return Discovery(
        pattern=mined,
        support=len(clusters[0].members) / len(patterns),
        recall=wilson(fresh_hits[0]),
        chosen_on=wilson(mined_hits),
        distilled_by="vote" if by_vote else "best member",
        votes=tuple(votes.get(label, 0.0) for label in labels(mined)),
        clusters=tuple(_report(cluster, patterns, hits) for cluster in clusters),
        silhouette=silhouette,
        rivals={
            name: Rival(labels(pattern), wilson(rival), mean_over_users(fresh_hits[:1].astype(float) - rival[None]))
            for (name, pattern), rival in zip(rivals.items(), fresh_hits[1:], strict=True)
        },
        optimism=Optimism(
            bound=float(np.sqrt(np.log(len(patterns)) / (2 * len(tried)))),
            measured=float(mined_hits.mean() - fresh_hits[0].mean()),
            measured_best_generated=float(hits[best].mean() - fresh_hits[-1].mean()),
        ),
        provenance={
            "seed": seed,
            "patterns": len(patterns),
            "users": len(tried),
            "fresh_users": len(fresh),
            "top_k": config.top_k,
            "target": "each shopper's last training item, from the training items before it",
        },
    )


def distil(
    patterns: Sequence[ReasoningPattern], hits: Bool[np.ndarray, "patterns users"], cluster: Cluster
) -> tuple[ReasoningPattern, dict[str, float]]:
    """One template from a cluster's best patterns, by vote; and each step's share of the votes.

    The best patterns are the members whose recall reaches the 95 % lower bound of the cluster's best one. Each votes with
    its recall: for its last step, for every other step, for the place of each, and for the number of steps (a weighted
    median). The template takes the last step with most votes, fills up with the other steps with most votes, and orders
    these by their weighted mean place. Ties go to the step met first, so the outcome is determined.
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
    length = _weighted_median([len(patterns[member]) for member in cluster.members[chosen]], weights)
    ranked = sorted((name for name in votes if name != final), key=lambda name: -votes[name])[: length - 1]
    ordered = sorted(ranked, key=lambda name: places[name] / votes[name])
    template = ReasoningPattern((*(known[name] for name in ordered), known[final]))
    return template, {name: votes[name] + finals[name] for name in known}


def _rivals(catalog: Catalog, config: DiscoverConfig, seed: int) -> dict[str, ReasoningPattern]:
    return {
        "hand-written": hand_written_pattern(catalog),
        "random": generate(catalog, config, derive_seed(seed, "random rival"))[0],
        "direct recommendation": ReasoningPattern((Step("recommendation", {"count": config.top_k, "window": 3}),)),
    }


def _weighted_median(values: Sequence[int], weights: Float[np.ndarray, " values"]) -> int:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= 0.5 - 1e-12
    return int(np.asarray(values)[order][reached.argmax()])


def _report(cluster: Cluster, patterns: Sequence[ReasoningPattern], hits: Bool[np.ndarray, "patterns users"]) -> ClusterReport:
    recall = hits[cluster.members].mean(axis=1)
    best_first = cluster.members[np.argsort(-recall, kind="stable")]
    names = tuple(labels(patterns[member]) for member in best_first)
    return ClusterReport(names, tuple(np.sort(recall)[::-1].tolist()), len(names) / len(patterns), cluster.recall)
