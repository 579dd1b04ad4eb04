"""A model that can answer, what it is asked, and how its answers are said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from scoter.config import MethodConfig
from scoter.errors import ConfigError
from scoter.models.backbones.backbone import Backbone
from scoter.protocols import StepSource
from scoter.serving.newest_chains import NewestChains
from scoter.types import Histories, Rankings, ReasoningPattern


@dataclass(frozen=True, eq=False)
class Service:
    """A trained method that can answer: the model, what its items are called, the pattern of the
    chains it reads."""

    method: str
    config: MethodConfig
    model: Backbone
    item_keys: Sequence[str]
    item_names: Sequence[str]
    pattern: ReasoningPattern | None


@dataclass(frozen=True, eq=False)
class Question:
    """Histories of some users with their names and their chains, if the method reads any.

    `reader` is asked for `histories.users`, whatever these are numbers of; `texts` is asked for a
    row of `histories`.
    """

    who: list[str]
    histories: Histories
    reader: StepSource | None = None
    texts: Any = None


def ask(who: list[str], histories: Histories, chains: NewestChains | None) -> Question:
    """A question about these histories, whose users become row numbers."""
    rows = Histories(np.arange(len(histories)), histories.items, histories.offsets)
    return (
        Question(who, rows)
        if chains is None
        else Question(who, rows, chains.reader(), chains.texts)
    )


def described(service: Service, question: Question, rankings: Rankings) -> list[dict[str, Any]]:
    """Rankings with keys and titles."""
    return [
        {
            "user": name,
            "method": service.method,
            "history": [service.item_names[item] for item in question.histories.sequence(row)],
            "items": [
                {
                    "key": service.item_keys[item],
                    "title": service.item_names[item],
                    "score": float(score),
                }
                for item, score in zip(rankings.items[row], rankings.scores[row], strict=True)
                if item >= 0
            ],
        }
        for row, name in enumerate(question.who)
    ]


def numbers_of(keys: Sequence[str], wanted: Sequence[str], of: str) -> Int[np.ndarray, " wanted"]:
    """The numbers of some items by their keys; `of` is who has them.

    Example:
        >>> numbers_of(("a", "b"), ["b"], "the catalogue").tolist()
        [1]
    """
    numbers = {key: item for item, key in enumerate(keys)}
    unknown = [key for key in wanted if key not in numbers]
    if unknown:
        raise ConfigError(
            f"{of} has no item {unknown[0]!r}; its keys look like {', '.join(keys[:3])}"
        )
    return np.array([numbers[key] for key in wanted], np.int64)
