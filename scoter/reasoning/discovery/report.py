"""What discovery found, and how it is written down in `pattern.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int

from scoter.errors import DataError
from scoter.reasoning.catalogue.reasoner import MODEL, PROMPT_VERSION
from scoter.reasoning.discovery.clusters import mean_over_users, on_a_plane
from scoter.reasoning.discovery.validate import Recall, agresti_min, ndcg, wilson
from scoter.storage.untrusted import parse_json
from scoter.types import Json, ReasoningPattern

TARGET = "each shopper's last training item, from the training items before it"


@dataclass(frozen=True)
class ClusterReport:
    """A cluster of patterns, or of a language model's chains."""

    # step names: all members, best first; of chains the most central ones only, the medoid first
    patterns: tuple[tuple[str, ...], ...]
    gains: tuple[float, ...]  # of each of `patterns`: NDCG@k, or whether a chain hit its target
    support: float  # the cluster's share of all patterns or chains
    recall: Recall  # its interval takes users as the sample
    ndcg: Recall


@dataclass(frozen=True)
class Calls:
    """How many chains were written."""

    choosing: int  # to choose the pattern, calls for templates included
    fresh: int  # at the fresh users


@dataclass(frozen=True)
class Rival:
    """Another way to get a pattern, at the same fresh users."""

    steps: tuple[str, ...]
    recall: Recall
    gain: Recall  # recall of the mined pattern minus the rival's, paired
    ndcg: Recall
    ndcg_gain: Recall  # the same for NDCG
    calls: Calls
    pattern: ReasoningPattern | None = None  # where it has one that can be followed

    def to_json(self) -> dict[str, object]:
        return {
            **asdict(self.recall),
            "steps": list(self.steps),
            "gain_of_mined": asdict(self.gain),
            "ndcg": asdict(self.ndcg),
            "ndcg_gain_of_mined": asdict(self.ndcg_gain),
            "calls": asdict(self.calls),
            "pattern": None if self.pattern is None else self.pattern.to_json(),
        }


@dataclass(frozen=True)
class Optimism:
    """How much choosing flatters: the score where a pattern was chosen less that at fresh users."""

    # sqrt(log N / (2 n)) bounds the *expected* optimism of the best of N candidates at n users, if
    # candidates do not depend on those users' hits; in later rounds they do. For a language model N
    # counts clusters, and n is the fewest users in one.
    bound: float
    measured: float  # of the mined pattern; it also carries the noise of both samples
    measured_best_generated: float  # of the best of n


@dataclass(frozen=True)
class Point:
    """A pattern, or a language model's chain, on the plane of the picture."""

    x: float
    y: float
    cluster: int  # 0 is the chosen one, -1 none
    gain: float
    label: str


@dataclass(frozen=True)
class Discovery:
    """The mined pattern, what it was measured on, and what it was chosen among."""

    pattern: ReasoningPattern
    support: float  # share of generated patterns (chains) in the mined cluster
    recall: Recall  # at fresh users
    ndcg: Recall  # at fresh users
    chosen_on: Recall  # NDCG (for a language model, recall) where the pattern was chosen
    distilled_by: str  # "vote", "best member" (did better), "language model", or else "medoid"
    votes: tuple[float, ...]  # by step, its share of the cluster's vote; empty where there was none
    clusters: tuple[ClusterReport, ...]  # the chosen one first
    silhouette: float
    rivals: dict[str, Rival]
    optimism: Optimism
    calls: Calls
    points: tuple[Point, ...]
    provenance: Mapping[str, Json]
    counts: Mapping[str, Json] | None = None  # how a language model's requests ended and their cost
    note: str = ""
    # at fresh users: the recommender alone, and what each step adds to NDCG over those before it;
    # not for a language model, whose chains are judged by the items that they recommend
    over_recommender: Rival | None = None
    added: tuple[Recall, ...] = ()

    def to_json(self) -> str:
        """A readable `pattern.json`; the picture's points are a file of their own."""
        parts = asdict(self)
        mined = ("support", "recall", "ndcg", "chosen_on", "distilled_by", "votes", "added")
        tree = {
            "pattern": {"steps": self.pattern.to_json()} | {name: parts[name] for name in mined},
            "clusters": parts["clusters"],
            "silhouette": self.silhouette,
            "recommender": self.over_recommender and self.over_recommender.to_json(),
            "rivals": {name: rival.to_json() for name, rival in self.rivals.items()},
            **{name: parts[name] for name in ("optimism", "calls", "counts", "note")},
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
    pattern: ReasoningPattern | None = None,
) -> Rival:
    """A rival's report, from the target's ranks for both at the same users; beyond `k` is a miss.

    Where nobody hit anything, `agresti_min` replaces the normal interval, which has no width.
    """
    blank = not ((mined <= k) | (rival <= k)).any()

    def paired(gain: Float[np.ndarray, " users"]) -> Recall:
        return agresti_min(gain) if blank else mean_over_users(gain[None])

    return Rival(
        steps=tuple(steps),
        recall=wilson(rival <= k),
        gain=paired((mined <= k).astype(float) - (rival <= k)),
        ndcg=wilson(ndcg(rival, k)),
        ndcg_gain=paired(ndcg(mined, k) - ndcg(rival, k)),
        calls=calls,
        pattern=pattern,
    )


def draw_points(
    features: Float[np.ndarray, "rows features"],
    clusters: Sequence[Int[np.ndarray, " _"]],
    gains: Float[np.ndarray, " rows"],
    names: Sequence[tuple[str, ...]],
) -> tuple[Point, ...]:
    """The points of the picture; `clusters` are row numbers, `names` each row's steps."""
    numbers = np.full(len(features), -1)
    for number, members in enumerate(clusters):
        numbers[members] = number
    columns = (on_a_plane(features).tolist(), numbers.tolist(), gains.tolist(), names)
    rows = zip(*columns, strict=True)
    return tuple(Point(x, y, at, gain, " > ".join(name)) for (x, y), at, gain, name in rows)


def pattern_from_json(text: str | bytes) -> ReasoningPattern:
    """The pattern in the text of a `pattern.json`, or in a shorter one that a person wrote.

    >>> pattern_from_json('{"pattern": {"steps": [{"role": "recommendation"}]}}').steps
    (Step(role='recommendation', parameters={}),)
    """
    try:
        return ReasoningPattern.from_json(parse_json(text)["pattern"]["steps"])
    except (ValueError, KeyError, TypeError) as error:
        cause = f"this is no pattern file ({type(error).__name__}: {error}); it should read"
        form = '{"pattern": {"steps": [{"role": ..., "parameters": {...}}, ...]}}'
        raise DataError(f"{cause} {form}, but starts {text[:60]!r}") from None
