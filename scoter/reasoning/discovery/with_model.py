"""Generate-Validate-Mine with a language model; the report is the catalogue reasoner's.

Generate: each user of a sample gets chains whose steps the model chooses. Validate: the names that
a chain recommends are grounded in the catalogue; a chain hits if the held-in target is among the
first k of these items. Mine: chains are clustered, the cluster of the best lower bound is chosen,
and its template is written (`chain_mining.py`). Confirm: one chain with that template for each
fresh user, beside one for each rival. A request without a valid chain is a miss for its arm.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from jaxtyping import Float, Int

from scoter.config import DiscoverConfig
from scoter.errors import ConfigError, LanguageModelError
from scoter.progress import Progress, silent
from scoter.protocols import LanguageModel
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.catalogue.view import look
from scoter.reasoning.discovery import chain_mining as mining
from scoter.reasoning.discovery import report, sampling
from scoter.reasoning.discovery.generate import HeldIn, hold_in, labels
from scoter.reasoning.discovery.grounding import Grounding, target_ranks
from scoter.reasoning.discovery.sampling import Arm, ChainSampler, SampledChain, outline
from scoter.reasoning.discovery.validate import Encode, ndcg, wilson
from scoter.reasoning.language.prompts import INSTRUCTIONS
from scoter.seeding import derive_seed
from scoter.types import Catalog, Json, ReasoningPattern, Split

LISTED = 5
_FRESH_ARMS = 6


def discover_with_model(
    split: Split,
    catalog: Catalog,
    config: DiscoverConfig,
    model: LanguageModel,
    name: str,
    encode: Encode,
    seed: int,
    progress: Progress = silent,
) -> report.Discovery:
    """Mine a pattern from chains that the language model `name` writes.

    Raises:
        BudgetError: the model's token budget is spent; `model` keeps what was answered.
        LanguageModelError: the server refuses us, or there are too few valid chains to mine.
    """
    if config.rounds < 1 or config.max_steps < 2:
        given = f"discover.rounds={config.rounds} and max_steps={config.max_steps}"
        raise ConfigError(f"{given}: need rounds >= 1 and max_steps >= 2")
    samples = hold_in(split, config, seed)
    names = item_names(catalog)
    writing = sampling.writing_config(name, config, derive_seed(seed, "language model") % 2**31)
    grounding = Grounding(names, np.asarray(encode(names), np.float32), encode)

    def panel(sample: HeldIn) -> _Panel:
        recent = look(split, sample.users, sample.prefix_lengths).recent
        histories = [[names[item] for item in row[::-1] if item >= 0] for row in recent]
        sampler = ChainSampler(model, writing, config, histories, progress)
        return _Panel(sampler, sample, grounding, config.top_k)

    tried, fresh = map(panel, samples)
    search = _Search(tried, encode, seed)
    for _ in range(config.rounds):
        search.round()
    patterns = search.choose()
    return _report(search, patterns, fresh, _confirm(patterns, fresh))


def planned_chains(config: DiscoverConfig) -> int:
    """How many chains `discover_with_model` asks for, with those of the rival without mining."""
    choosing = config.users * config.sampling.samples * (2 * config.rounds - 1)
    return choosing + _FRESH_ARMS * config.fresh_users


@dataclass(frozen=True, eq=False)
class _Panel:
    sampler: ChainSampler
    sample: HeldIn
    grounding: Grounding
    k: int

    def ranks(self, chains: Sequence[SampledChain]) -> Int[np.ndarray, " chains"]:
        """The target's place among the items that each chain recommends; k + 1 for a miss."""
        ranked = self.grounding.rank([each.chain.recommendations for each in chains], self.k)
        return target_ranks(ranked, self.sample.targets[_rows(chains)])

    def by_user(self, arm: Arm) -> Int[np.ndarray, " users"]:
        ranks = np.full(len(self.sample), self.k + 1, np.int64)
        ranks[_rows(arm.chains)] = self.ranks(arm.chains)
        return ranks

    def grounded(self, arm: Arm) -> tuple[int, int]:
        names = [name for each in arm.chains for name in each.chain.recommendations]
        return len(names), int((self.grounding.ground(names) >= 0).sum())


@dataclass(frozen=True, eq=False)
class _Round:
    template: mining.Template
    clusters: list[mining.ChainCluster]
    silhouette: float
    points: Float[np.ndarray, "chains features"]
    ranks: Int[np.ndarray, " chains"]


@dataclass(eq=False)
class _Search:
    tried: _Panel
    encode: Encode
    seed: int
    arms: dict[str, Arm] = field(default_factory=dict)
    chains: list[SampledChain] = field(default_factory=list)  # of all rounds
    mined: list[_Round] = field(default_factory=list)
    best_hit: float = 0.0  # whether the best chain of "best generated" hit its target: 0 or 1

    @property
    def config(self) -> DiscoverConfig:
        return self.tried.sampler.config

    def round(self) -> None:
        number, each = len(self.mined), self.config.sampling.samples
        part, samples = f"round {number + 1}", range(number * each, (number + 1) * each)
        mined = self.mined[-1].template.pattern if self.mined else None
        seeded = sampling.seeded_instructions(mined) if mined else INSTRUCTIONS
        arm = self.arms[part] = self.tried.sampler.free(samples, seeded, part)
        if not arm.chains:
            asked = f"none of the {arm.counts.requests:,} requests of {part} gave a chain"
            raise LanguageModelError(f"{asked}, most often because {arm.problem}")
        self.chains += arm.chains
        self.mined.append(self._mine())

    def _mine(self) -> _Round:
        chains, config, sampler = self.chains, self.config, self.tried.sampler
        ranks = self.tried.ranks(chains)
        points = mining.chain_features(chains, self.encode, config.max_steps)
        seed = derive_seed(self.seed, "clusters")
        clusters, silhouette = mining.cluster_chains(points, _rows(chains), ranks, config, seed)
        asked = (sampler.model, sampler.writing)
        template = mining.write_template(*asked, chains, clusters[0], config)
        return _Round(template, clusters, silhouette, points, ranks)

    def choose(self) -> dict[str, ReasoningPattern]:
        """The mined pattern and its rivals, by arm. The rivals' chains follow no mined pattern."""
        config, unseeded = self.config, list(self.arms["round 1"].chains)
        if config.rounds > 1:
            rest = range(config.sampling.samples, config.rounds * config.sampling.samples)
            part = "best generated, choosing"
            self.arms[part] = self.tried.sampler.free(rest, name=part)
            unseeded += self.arms[part].chains
        outlines = [mining.outlined(each, config.max_steps - 1) for each in unseeded]
        able = np.flatnonzero([bool(roles) for roles in outlines])
        drawn = np.random.default_rng(derive_seed(self.seed, "random rival")).integers(len(able))
        best = self._best(unseeded, able)
        return {
            "mined": self.mined[-1].template.pattern,
            "hand-written": outline(sampling.HAND_WRITTEN),
            "random": outline(outlines[able[int(drawn)]]),
            "best generated": outline(outlines[best]),
        }

    def _best(self, chains: list[SampledChain], able: Int[np.ndarray, " able"]) -> int:
        """The chain whose target stands first; any of those that tie (all, where none hits)."""
        ranks = self.tried.ranks(chains)
        score = np.full(len(chains), -1.0)
        score[able] = ndcg(ranks, self.config.top_k)[able]
        rng = np.random.default_rng(derive_seed(self.seed, "best generated"))
        best = int(rng.choice(np.flatnonzero(score == score.max())))
        self.best_hit = float(ranks[best] <= self.config.top_k)
        return best


def _confirm(patterns: dict[str, ReasoningPattern], fresh: _Panel) -> dict[str, Arm]:
    sampler, direct, free = fresh.sampler, "direct recommendation", "think step by step"
    arms = {name: sampler.following(pattern, name) for name, pattern in patterns.items()}
    arms[free] = sampler.free(range(1), (sampling.STEP_BY_STEP,), free)
    return {**arms, direct: sampler.direct(direct)}


def _report(
    search: _Search, patterns: dict[str, ReasoningPattern], fresh: _Panel, arms: dict[str, Arm]
) -> report.Discovery:
    config, last, users = search.config, search.mined[-1], len(search.tried.sample)
    k, chosen = config.top_k, last.clusters[0]
    members = [cluster.members for cluster in last.clusters]
    hits, names = (last.ranks <= k).astype(float), [each.roles for each in search.chains]
    ranks = {name: fresh.by_user(arm) for name, arm in arms.items()}
    mined = ranks.pop("mined")
    recall = wilson(mined <= k)
    choosing = config.rounds * config.sampling.samples * users
    fewest = min(cluster.recall.users for cluster in last.clusters)
    replies = sum(len(each.template.replies) for each in search.mined)
    rivals = {}
    for name, rank in ranks.items():
        steps = labels(patterns[name]) if name in patterns else (name,)
        calls = report.Calls(choosing if name == "best generated" else 0, len(fresh.sample))
        rivals[name] = report.compare(mined, rank, steps, k, calls)
    return report.Discovery(
        pattern=last.template.pattern,
        support=len(chosen.members) / len(search.chains),
        recall=recall,
        ndcg=wilson(ndcg(mined, k)),
        chosen_on=chosen.recall,
        distilled_by=last.template.distilled_by,
        votes=(),
        clusters=tuple(_cluster(cluster, search) for cluster in last.clusters),
        silhouette=last.silhouette,
        rivals=rivals,
        optimism=report.Optimism(
            bound=float(np.sqrt(np.log(len(last.clusters)) / (2 * fewest))),
            measured=chosen.recall.mean - recall.mean,
            measured_best_generated=search.best_hit - rivals["best generated"].recall.mean,
        ),
        calls=report.Calls(choosing + replies, len(fresh.sample)),
        points=report.draw_points(last.points, members, hits, names),
        provenance={
            "model": fresh.sampler.writing.model,
            "prompt_version": fresh.sampler.writing.prompt_version,
            "seed": search.seed,
            "rounds": config.rounds,
            "samples": config.sampling.samples,
            "chains": len(search.chains),
            "users": users,
            "fresh_users": len(fresh.sample),
            "top_k": k,
            "target": report.TARGET,
        },
        counts=_counts(search.arms | arms, fresh, [each.template for each in search.mined]),
    )


def _rows(chains: Sequence[SampledChain]) -> Int[np.ndarray, " chains"]:
    return np.array([each.row for each in chains], np.int64)


def _cluster(cluster: mining.ChainCluster, search: _Search) -> report.ClusterReport:
    central, chains = cluster.members[:LISTED], search.chains
    hits = search.mined[-1].ranks[central] <= search.config.top_k
    return report.ClusterReport(
        patterns=tuple(chains[member].roles for member in central),
        gains=tuple(hits.astype(float).tolist()),
        support=len(cluster.members) / len(chains),
        recall=cluster.recall,
        ndcg=cluster.ndcg,
    )


def _counts(
    arms: dict[str, Arm], panel: _Panel, templates: list[mining.Template]
) -> dict[str, Json]:
    parts: dict[str, dict[str, int]] = {}
    for name, arm in arms.items():
        named, grounded = panel.grounded(arm)
        tokens = {"prompt_tokens": arm.prompt_tokens, "completion_tokens": arm.completion_tokens}
        parts[name] = {**asdict(arm.counts), "names": named, "grounded": grounded, **tokens}
    total = {key: sum(part[key] for part in parts.values()) for key in next(iter(parts.values()))}
    replies = [reply for template in templates for reply in template.replies]
    total["prompt_tokens"] += sum(reply.prompt_tokens for reply in replies)
    total["completion_tokens"] += sum(reply.completion_tokens for reply in replies)
    return {
        **total,
        "valid_share": (total["at_once"] + total["mended"]) / max(1, total["requests"]),
        "grounded_share": total["grounded"] / max(1, total["names"]),
        "template_replies": len(replies),
        "by_part": {name: {**part} for name, part in parts.items()},
    }
