"""Answers of a fitted recommender as rows with keys and titles, for people and for JSON."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from scoter.recommenders.fitted import Fitted
from scoter.recommenders.requests import Requests, requests_of
from scoter.types import Rankings

GIVEN = "(items given)"  # the user of a history that was given by its items


class AnsweredItem(TypedDict):
    """A recommended item."""

    key: str
    title: str
    score: float  # nats
    contributions: NotRequired[list[float]]  # nats, of each step of the chain


class StepSaid(TypedDict):
    """A step of a chain."""

    step: str  # its label
    sentences: list[str]  # none where the step is missing


class Answer(TypedDict):
    """What one user gets; the last three where an explanation was asked for."""

    user: str
    method: str
    history: list[str]  # titles, oldest first
    items: list[AnsweredItem]  # best first
    gate: NotRequired[float]  # mean share of the chain that was let in
    attention: NotRequired[dict[str, float]]  # mean weight of each slot
    steps: NotRequired[list[StepSaid]]


def requests_for(model: Fitted, users: Sequence[str], items: Sequence[str]) -> Requests:
    """Users, the dataset's first three by default, or a history of these items.

    Raises:
        ConfigError: an unknown user or item.
    """
    if items:
        return requests_of(model.dataset, None, [items])
    dataset = model.dataset
    return requests_of(dataset, list(dict.fromkeys(users)) or dataset.users[:3], None)


def answered(model: Fitted, asked: Requests, rankings: Rankings) -> list[Answer]:
    """Rankings with keys and titles."""
    keys, names = model.dataset.catalog.keys, model.item_names
    rows: list[Answer] = []
    for row, (items, scores) in enumerate(zip(rankings.items, rankings.scores, strict=True)):
        user = asked.who[row] if asked.users[row] >= 0 else GIVEN
        history = [names[item] for item in asked.histories.sequence(row)]
        best = [
            AnsweredItem(key=keys[item], title=names[item], score=float(score))
            for item, score in zip(items, scores, strict=True)
            if item >= 0
        ]
        rows.append(Answer(user=user, method=model.name, history=history, items=best))
    return rows
