"""Generate-Validate-Mine with a language model: the same report as the catalogue reasoner's,
`Discovery`.

Generate: each shopper of a sample gets chains whose steps the model chooses. Validate: the names
that a chain recommends are grounded in the catalogue, and its recall is whether the held-in target
is among the first k items so meant. Mine: chains are clustered, the cluster of the best lower bound
is chosen, and its template is written (`chain_mining.py`). Confirm: one chain with that template
for each fresh shopper, beside one for each rival. A request without a valid chain is a miss for the
arm that it belongs to.

Scores choose a template, never a shopper's chain: chains that transfer uses are written afresh, and
only training items are read here.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError, LanguageModelError
from scoter.protocols import LanguageModel
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery.chain_mining import (
    ChainCluster,
    Template,
    chain_features,
    cluster_chains,
    outlined,
    write_template,
)
from scoter.reasoning.discovery.clusters import on_a_plane
from scoter.reasoning.discovery.generate import HeldIn, hold_in, labels
from scoter.reasoning.discovery.grounding import Grounding, target_ranks
from scoter.reasoning.discovery.report import (
    Calls,
    ClusterReport,
    Discovery,
    Optimism,
    Point,
    compare,
)
from scoter.reasoning.discovery.sampling import (
    HAND_WRITTEN,
    STEP_BY_STEP,
    Arm,
    ChainSampler,
    SampledChain,
    outline,
    seeded_instructions,
    writing_config,
)
from scoter.reasoning.discovery.validate import Encode, ndcg, wilson
from scoter.reasoning.language.prompts import INSTRUCTIONS
from scoter.seeding import derive_seed
from scoter.types import Catalog, ReasoningPattern, Split

LISTED = 5
Progress = Callable[[str, int, int], None]


def discover_with_model(
    split: Split,
    catalog: Catalog,
    config: DiscoverConfig,
    model: LanguageModel,
    name: str,
    encode: Encode,
    seed: int,
    progress: Progress = lambda name, done, total: None,
) -> Discovery:
    """Mine a pattern from chains that the language model `name` writes.

    Calls: `rounds * (users * samples + 1)` to choose (the last one for a template), `fresh_users`
    for the mined pattern and for each rival; with several rounds as many again, less the first
    round's, for the rival that does not mine. Replies that are sent back come on top, and are
    counted.

    Raises:
        ConfigError: too few shoppers for `config`.
        BudgetError: the model's token budget is spent; what was answered is kept where `model`
            stores it.
        LanguageModelError: the server refuses us, or there are too few valid chains to mine.
    """
    if config.rounds < 1 or config.max_steps < 2:
        raise ConfigError(
            f"discover.rounds={config.rounds} and max_steps={config.max_steps}: need rounds >= 1 "
            f"and max_steps >= 2"
        )
    tried, fresh = hold_in(split, config, seed)
    names = item_names(catalog)
    writing = writing_config(name, config, derive_seed(seed, "language model") % 2**31)
    grounding = Grounding(names, np.asarray(encode(names), np.float32), encode)

    def sampler(sample: HeldIn) -> ChainSampler:
        recent = look(split, sample.users, sample.prefix_lengths).recent
        histories = [[names[item] for item in row[::-1] if item >= 0] for row in recent]
        return ChainSampler(model, writing, config, histories, progress)

    asking = sampler(tried)
    judge = _Judge(grounding, config.top_k)
    arms: dict[str, Arm] = {}
    found: list[_Round] = []
    chains: list[SampledChain] = []
    for number in range(config.rounds):
        samples = range(number * config.sampling.samples, (number + 1) * config.sampling.samples)
        instructions = seeded_instructions([found[-1].template.pattern]) if found else INSTRUCTIONS
        part = f"round {number + 1}"
        arms[part] = asking.free(samples, instructions, part)
        if not arms[part].chains:
            raise LanguageModelError(
                f"none of the {arms[part].counts.requests:,} requests of {part} gave a chain, "
                f"most often because {arms[part].problem}"
            )
        chains = [*chains, *arms[part].chains]
        found.append(
            _mine(chains, tried, judge, encode, asking, config, derive_seed(seed, "clusters"))
        )
    unseeded = list(arms["round 1"].chains)
    if config.rounds > 1:
        rest = range(config.sampling.samples, config.rounds * config.sampling.samples)
        arms["best generated, choosing"] = asking.free(rest, name="best generated, choosing")
        unseeded += arms["best generated, choosing"].chains

    last = found[-1]
    best = _best_chain(
        unseeded, judge.ranks(unseeded, tried), derive_seed(seed, "best generated"), config
    )
    patterns = {
        "mined": last.template.pattern,
        "hand-written": outline(HAND_WRITTEN),
        "random": _random_pattern(unseeded, derive_seed(seed, "random rival"), config),
        "best generated": _pattern_of(unseeded[best], config),
    }
    confirming = sampler(fresh)
    for arm, pattern in patterns.items():
        arms[arm] = confirming.following(pattern, arm)
    arms["think step by step"] = confirming.free(range(1), (STEP_BY_STEP,), "think step by step")
    arms["direct recommendation"] = confirming.direct("direct recommendation")
    ranks = {
        arm: judge.by_shopper(arms[arm], fresh)
        for arm in (*patterns, "think step by step", "direct recommendation")
    }
    steps = {arm: labels(patterns[arm]) if arm in patterns else (arm,) for arm in ranks}
    choosing = config.rounds * config.sampling.samples * len(tried)
    mined = ranks.pop("mined")
    fewest = min(cluster.recall.users for cluster in last.clusters)
    chosen = last.clusters[0]
    best_hit = float(judge.ranks([unseeded[best]], tried)[0] <= config.top_k)
    return Discovery(
        pattern=last.template.pattern,
        support=len(chosen.members) / len(chains),
        recall=wilson(mined <= config.top_k),
        ndcg=wilson(ndcg(mined, config.top_k)),
        chosen_on=chosen.recall,
        distilled_by=last.template.distilled_by,
        votes=(),
        clusters=tuple(_report(cluster, chains, last.ranks, config) for cluster in last.clusters),
        silhouette=last.silhouette,
        rivals={
            arm: compare(
                mined,
                rank,
                steps[arm],
                config.top_k,
                Calls(choosing if arm == "best generated" else 0, len(fresh)),
            )
            for arm, rank in ranks.items()
        },
        optimism=Optimism(
            bound=float(np.sqrt(np.log(len(last.clusters)) / (2 * fewest))),
            measured=chosen.recall.mean - float((mined <= config.top_k).mean()),
            measured_best_generated=best_hit
            - float((ranks["best generated"] <= config.top_k).mean()),
        ),
        calls=Calls(choosing + sum(len(one.template.replies) for one in found), len(fresh)),
        points=_points(last, chains, config),
        provenance={
            "model": name,
            "prompt_version": writing.prompt_version,
            "seed": seed,
            "rounds": config.rounds,
            "samples": config.sampling.samples,
            "chains": len(chains),
            "users": len(tried),
            "fresh_users": len(fresh),
            "top_k": config.top_k,
            "target": "each shopper's last training item, from the training items before it",
        },
        counts=_counts(arms, judge, [one.template for one in found]),
    )


@dataclass(frozen=True, eq=False)
class _Judge:
    """Grounds chains and finds the target's place in them."""

    grounding: Grounding
    k: int

    def ranks(
        self, chains: "list[SampledChain] | tuple[SampledChain, ...]", sample: HeldIn
    ) -> Int[np.ndarray, " chains"]:
        ranked, _ = self.grounding.rank([one.chain.recommendations for one in chains], self.k)
        return target_ranks(ranked, sample.targets[np.array([one.row for one in chains], np.int64)])

    def by_shopper(self, arm: Arm, sample: HeldIn) -> Int[np.ndarray, " users"]:
        """One rank for each shopper; k + 1, a miss, where there is no valid chain."""
        ranks = np.full(len(sample), self.k + 1, np.int64)
        ranks[[one.row for one in arm.chains]] = self.ranks(arm.chains, sample)
        return ranks

    def grounded(self, arm: Arm) -> tuple[int, int]:
        """How many names the arm's chains recommend, and how many of them an item matches."""
        names = [name for one in arm.chains for name in one.chain.recommendations]
        return len(names), int((self.grounding.ground(names).items >= 0).sum())


@dataclass(frozen=True, eq=False)
class _Round:
    """What a round's mining gave, over the chains of all rounds so far."""

    template: Template
    clusters: list[ChainCluster]
    silhouette: float
    points: Float[np.ndarray, "chains features"]
    ranks: Int[np.ndarray, " chains"]


def _mine(
    chains: list[SampledChain],
    sample: HeldIn,
    judge: _Judge,
    encode: Encode,
    asking: ChainSampler,
    config: DiscoverConfig,
    seed: int,
) -> _Round:
    ranks = judge.ranks(chains, sample)
    points = chain_features(chains, encode, config.max_steps) if chains else np.zeros((0, 1))
    rows = np.array([one.row for one in chains], np.int64)
    clusters, silhouette = cluster_chains(points, rows, ranks, config, seed)
    template = write_template(asking.model, asking.writing, chains, clusters[0], config)
    return _Round(template, clusters, silhouette, points, ranks)


def _best_chain(
    chains: list[SampledChain], ranks: Int[np.ndarray, " chains"], seed: int, config: DiscoverConfig
) -> int:
    """The chain whose target stands first; any of those that tie (all of them, where none hits)."""
    able = np.array([bool(outlined(one, config.max_steps - 1)) for one in chains])
    score = np.where(able, ndcg(ranks, config.top_k), -1.0)
    return int(np.random.default_rng(seed).choice(np.flatnonzero(score == score.max())))


def _random_pattern(
    chains: list[SampledChain], seed: int, config: DiscoverConfig
) -> ReasoningPattern:
    able = [one for one in chains if outlined(one, config.max_steps - 1)]
    return _pattern_of(able[int(np.random.default_rng(seed).integers(len(able)))], config)


def _pattern_of(one: SampledChain, config: DiscoverConfig) -> ReasoningPattern:
    return outline(outlined(one, config.max_steps - 1))


def _report(
    cluster: ChainCluster,
    chains: list[SampledChain],
    ranks: Int[np.ndarray, " chains"],
    config: DiscoverConfig,
) -> ClusterReport:
    central = cluster.members[:LISTED]
    return ClusterReport(
        patterns=tuple(chains[member].roles for member in central),
        recalls=tuple((ranks[central] <= config.top_k).astype(float).tolist()),
        support=len(cluster.members) / len(chains),
        recall=cluster.recall,
        ndcg=cluster.ndcg,
    )


def _points(last: _Round, chains: list[SampledChain], config: DiscoverConfig) -> tuple[Point, ...]:
    numbers = np.full(len(chains), -1)
    for number, cluster in enumerate(last.clusters):
        numbers[cluster.members] = number
    rows = zip(on_a_plane(last.points), numbers, last.ranks, chains, strict=True)
    return tuple(
        Point(float(x), float(y), int(number), float(rank <= config.top_k), " > ".join(one.roles))
        for (x, y), number, rank, one in rows
    )


def _counts(arms: dict[str, Arm], judge: _Judge, templates: list[Template]) -> dict[str, Any]:
    """How all requests ended and what they used, in all and by part."""
    parts: dict[str, dict[str, Any]] = {}
    for name, arm in arms.items():
        named, grounded = judge.grounded(arm)
        tokens = {"prompt_tokens": arm.prompt_tokens, "completion_tokens": arm.completion_tokens}
        parts[name] = {**asdict(arm.counts), "names": named, "grounded": grounded, **tokens}
    total = {key: sum(part[key] for part in parts.values()) for key in next(iter(parts.values()))}
    replies = [reply for template in templates for reply in template.replies]
    total["prompt_tokens"] += sum(reply.prompt_tokens for reply in replies)
    total["completion_tokens"] += sum(reply.completion_tokens for reply in replies)
    shares = {
        "valid_share": (total["at_once"] + total["mended"]) / max(1, total["requests"]),
        "grounded_share": total["grounded"] / max(1, total["names"]),
    }
    return {**total, **shares, "template_replies": len(replies), "by_part": parts}
