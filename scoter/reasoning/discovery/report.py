"""What discovery found, and how it is written down in `pattern.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.errors import DataError
from scoter.reasoning.catalogue.reasoner import MODEL, PROMPT_VERSION
from scoter.reasoning.discovery.clusters import mean_over_users
from scoter.reasoning.discovery.validate import Recall, agresti_min, ndcg, wilson
from scoter.types import ReasoningPattern


@dataclass(frozen=True)
class ClusterReport:
    """A cluster's structures (step names, best first), recall and NDCG.

    For the catalogue reasoner `patterns` are the members and `recalls` their recalls; of single
    chains, written by a language model, the first one is the cluster's medoid and not every member
    is listed. `support` is the cluster's share of all patterns or chains, and its interval takes
    shoppers as the sample.
    """

    patterns: tuple[tuple[str, ...], ...]
    recalls: tuple[float, ...]
    support: float
    recall: Recall
    ndcg: Recall


@dataclass(frozen=True)
class Calls:
    """Chains written: to choose the pattern (and calls for templates with them), and at the fresh
    shoppers."""

    choosing: int
    fresh: int


@dataclass(frozen=True)
class Rival:
    """Another way to get a pattern, at the same fresh shoppers. `gain` is mined minus rival,
    paired, with 95 % interval."""

    steps: tuple[str, ...]
    recall: Recall
    gain: Recall
    ndcg: Recall
    ndcg_gain: Recall
    calls: Calls


@dataclass(frozen=True)
class Optimism:
    """How much choosing flatters: recall where a pattern was chosen minus recall at fresh shoppers.

    `bound` is sqrt(log N / (2 n)), N candidates and n shoppers: the most that the *expected*
    optimism of the best of N can be (sub-Gaussian maximum), where the candidates do not depend on
    those shoppers' hits. With several rounds the later ones do, and the bound is for orientation. A
    single `measured` value also carries the noise of both samples. N counts patterns for the
    catalogue reasoner, clusters for a language model, whose n is the fewest shoppers in a cluster.
    """

    bound: float
    measured: float
    measured_best_generated: float


@dataclass(frozen=True)
class Point:
    """A pattern, or a language model's chain, on the plane of the picture; `cluster` -1 is none, 0
    the chosen one."""

    x: float
    y: float
    cluster: int
    recall: float
    label: str


@dataclass(frozen=True)
class Discovery:
    """The mined pattern with support and provenance. `recall` is at fresh shoppers, `chosen_on`
    where it was chosen.

    `support` is the share of generated patterns (chains) in the mined cluster; `votes` says, for
    each step, which share of the votes of the cluster's best patterns stands behind it, where there
    was a vote; `distilled_by` says what made the template: "vote", or "best member" where one did
    better alone, "language model", or "medoid" where no model could. `counts` is what a language
    model's replies came to, and None for the catalogue reasoner. `finalists` are the mined pattern
    and then the best others, by recall where patterns were chosen: what a costlier judge may choose
    among. They are no part of `pattern.json`, and empty for a language model, whose chains choose
    their own steps.
    """

    pattern: ReasoningPattern
    support: float
    recall: Recall
    ndcg: Recall
    chosen_on: Recall
    distilled_by: str
    votes: tuple[float, ...]
    clusters: tuple[ClusterReport, ...]
    silhouette: float
    rivals: dict[str, Rival]
    optimism: Optimism
    calls: Calls
    points: tuple[Point, ...]
    provenance: dict[str, Any]
    counts: dict[str, Any] | None = None
    note: str = ""
    finalists: tuple[ReasoningPattern, ...] = ()

    def to_json(self) -> str:
        """A readable `pattern.json`; the picture's points are a file of their own."""
        tree = {
            "pattern": {
                "steps": self.pattern.to_json(),
                "support": self.support,
                "recall": asdict(self.recall),
                "ndcg": asdict(self.ndcg),
                "chosen_on": asdict(self.chosen_on),
                "distilled_by": self.distilled_by,
                "votes": list(self.votes),
            },
            "clusters": [asdict(cluster) for cluster in self.clusters],
            "silhouette": self.silhouette,
            "rivals": {name: _rival_as_json(rival) for name, rival in self.rivals.items()},
            "optimism": asdict(self.optimism),
            "calls": asdict(self.calls),
            "counts": self.counts,
            "note": self.note,
            "provenance": {"model": MODEL, "prompt_version": PROMPT_VERSION, **self.provenance},
        }
        return json.dumps(tree, indent=1)

    def points_json(self) -> str:
        """What the picture is drawn from."""
        return json.dumps([asdict(point) for point in self.points])


def compare(
    mined: Int[np.ndarray, " users"],
    rival: Int[np.ndarray, " users"],
    steps: Sequence[str],
    k: int,
    calls: Calls,
) -> Rival:
    """A rival's report from the target's ranks that both reach at the same shoppers; a rank beyond
    `k` is a miss.

    Where nobody hit anything, a normal interval would have no width; `agresti_min` then stands in
    for it, for NDCG too, whose differences are no larger.

    Example:
        >>> ranks = np.array([1, 11, 3, 11])
        >>> compare(ranks, np.array([11, 11, 1, 11]), ("direct",), 10, Calls(0, 4)).gain.mean
        0.25
    """
    gain = (mined <= k).astype(float) - (rival <= k)
    ndcg_gain = ndcg(mined, k) - ndcg(rival, k)
    blank = not (mined <= k).any() and not (rival <= k).any()
    return Rival(
        steps=tuple(steps),
        recall=wilson(rival <= k),
        gain=agresti_min(gain) if blank else mean_over_users(gain[None]),
        ndcg=wilson(ndcg(rival, k)),
        ndcg_gain=agresti_min(ndcg_gain) if blank else mean_over_users(ndcg_gain[None]),
        calls=calls,
    )


def _rival_as_json(rival: Rival) -> dict[str, Any]:
    return {
        **asdict(rival.recall),
        "steps": list(rival.steps),
        "gain_of_mined": asdict(rival.gain),
        "ndcg": asdict(rival.ndcg),
        "ndcg_gain_of_mined": asdict(rival.ndcg_gain),
        "calls": asdict(rival.calls),
    }


def pattern_from_json(text: str) -> ReasoningPattern:
    """The pattern in the text of a `pattern.json`, or in a shorter one that a person wrote.

    Example:
        >>> pattern_from_json('{"pattern": {"steps": [{"role": "recommendation"}]}}').steps[
        ...     0
        ... ].label()
        'recommendation'
    """
    try:
        return ReasoningPattern.from_json(json.loads(text)["pattern"]["steps"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"this is no pattern file ({type(error).__name__}: {error}); it should read "
            f'{{"pattern": {{"steps": [{{"role": ..., "parameters": {{...}}}}, ...]}}}}, but '
            f"starts {text[:60]!r}"
        ) from None
