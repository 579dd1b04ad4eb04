"""What discovery found, and how it is written down in `pattern.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scoter.errors import DataError
from scoter.reasoning.catalog_reasoner import MODEL, PROMPT_VERSION
from scoter.reasoning.validate import Recall
from scoter.types import ReasoningPattern, Step


@dataclass(frozen=True)
class ClusterReport:
    """A cluster's patterns (step names, best first) with the recall of each, its share of all patterns, and its recall."""

    patterns: tuple[tuple[str, ...], ...]
    recalls: tuple[float, ...]
    support: float
    recall: Recall


@dataclass(frozen=True)
class Rival:
    """Another way to get a pattern, at the same fresh shoppers. `gain` is mined minus rival, paired, with 95 % interval."""

    steps: tuple[str, ...]
    recall: Recall
    gain: Recall


@dataclass(frozen=True)
class Optimism:
    """How much choosing flatters: recall where a pattern was chosen minus recall at fresh shoppers.

    `bound` is sqrt(log N / (2 n)), N patterns and n shoppers: the most that the *expected* optimism of the best of N
    can be (sub-Gaussian maximum); a single `measured` value also carries the noise of both samples.
    """

    bound: float
    measured: float
    measured_best_generated: float


@dataclass(frozen=True)
class Discovery:
    """The mined pattern with support and provenance. `recall` is at fresh shoppers, `chosen_on` where it was chosen.

    `support` is the share of generated patterns in the mined cluster; `votes` says, for each step, which share of the
    votes of the cluster's best patterns stands behind it; `distilled_by` whether those votes made it ("vote") or one did
    better alone ("best member").
    """

    pattern: ReasoningPattern
    support: float
    recall: Recall
    chosen_on: Recall
    distilled_by: str
    votes: tuple[float, ...]
    clusters: tuple[ClusterReport, ...]
    silhouette: float
    rivals: dict[str, Rival]
    optimism: Optimism
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """A readable `pattern.json`."""
        tree = {
            "pattern": {
                "steps": steps_as_json(self.pattern),
                "support": self.support,
                "recall": asdict(self.recall),
                "chosen_on": asdict(self.chosen_on),
                "distilled_by": self.distilled_by,
                "votes": list(self.votes),
            },
            "clusters": [
                {
                    "support": cluster.support,
                    "recall": asdict(cluster.recall),
                    "patterns": [list(row) for row in cluster.patterns],
                }
                for cluster in self.clusters
            ],
            "silhouette": self.silhouette,
            "rivals": {
                name: {**asdict(rival.recall), "steps": list(rival.steps), "gain_of_mined": asdict(rival.gain)}
                for name, rival in self.rivals.items()
            },
            "optimism": asdict(self.optimism),
            "provenance": {"model": MODEL, "prompt_version": PROMPT_VERSION, **self.provenance},
        }
        return json.dumps(tree, indent=1)


def steps_as_json(pattern: ReasoningPattern) -> list[dict[str, Any]]:
    """The steps as plain values: `[{"role": ..., "parameters": {...}}, ...]`."""
    return [{"role": step.role, "parameters": dict(step.parameters)} for step in pattern.steps]


def steps_from_json(steps: Sequence[Any]) -> ReasoningPattern:
    """The inverse of `steps_as_json`; `parameters` may be left out."""
    return ReasoningPattern(tuple(Step(step["role"], step.get("parameters", {})) for step in steps))


def pattern_from_json(text: str) -> ReasoningPattern:
    """The pattern in the text of a `pattern.json`, or in a shorter one that a person wrote.

    Example:
        >>> pattern_from_json('{"pattern": {"steps": [{"role": "recommendation"}]}}').steps[0].label()
        'recommendation'
    """
    try:
        return steps_from_json(json.loads(text)["pattern"]["steps"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"this is no pattern file ({type(error).__name__}: {error}); it should read "
            f'{{"pattern": {{"steps": [{{"role": ..., "parameters": {{...}}}}, ...]}}}}, but starts {text[:60]!r}'
        ) from None
