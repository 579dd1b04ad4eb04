"""Answers of a finished run or a bundle, as rows with keys and titles, and their explanations."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from scoter.errors import ConfigError
from scoter.recommenders.estimators import Estimator
from scoter.recommenders.fitted import Fitted, Requests, requests_of
from scoter.stages.finished import FinishedRun
from scoter.types import Rankings

GIVEN = "(items given)"  # the user of a history that was given by its items


class AnsweredItem(TypedDict):
    """A recommended item."""

    key: str
    title: str
    score: float  # nats
    contributions: NotRequired[list[float]]  # nats, of each step of the chain
    reasons: NotRequired[dict[str, float]]  # nats that each adds to the score that steps rank by


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
    """Users, the dataset's first three by default, or a history of these items."""
    dataset = model.dataset
    if items:
        return requests_of(dataset, None, [items])
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


def open_method(run: FinishedRun, method: str | None) -> Estimator:
    """One method of a run, by default its last one, ready to answer as its bundle does.

    Chains are read in half precision, as a bundle keeps them.
    """
    model = run.model(method)
    model.half_steps = True
    return model


def answers(
    model: Fitted, users: Sequence[str], items: Sequence[str], count: int, explain: bool = False
) -> list[Answer]:
    """The `count` best next items for some users, or after `items` (keys, oldest first).

    A user's history is the whole one, with the held-out items: this is for use, not for
    measurement.
    """
    asked = requests_for(model, users, items)
    if explain:
        return explained(model, asked, count)
    reading = model.read(asked)
    steps = None if reading is None else reading.steps
    return answered(model, asked, model.network.recommend(asked.histories, count, steps))


def explained(model: Fitted, asked: Requests, count: int) -> list[Answer]:
    """Recommendations with the chain's steps, mean gate and attention, and steps' contributions.

    The contribution of a step to an item is its score (log-likelihood in nats, exact) minus what
    the same model gives the same item when the step is hidden; above zero, the step speaks for the
    item. Contributions need not add up to the effect of the whole chain: steps that say the same
    hide each other (T3 of theory/STATEMENTS.md). Where steps rank by reasons, each item also has
    what each reason adds to its score there.
    """
    from scoter.recommenders.network import rank_with_readings
    from scoter.serving.explanation import contributions
    from scoter.transfer.build import slot_labels

    network, pattern, fusion = model.network, model.pattern, model.config.fusion
    reading = model.read(asked)
    if pattern is None or fusion is None or reading is None:
        unread = f"{model.name!r} reads no chain, so no step explains it"
        raise ConfigError(f"{unread}; choose a --method with a fusion")
    if reading.sentences is None:
        lacks = f"{model.dataset.origin} has no sentences.parquet to explain with"
        raise ConfigError(f"{lacks}; export it again without --no-texts")
    rankings, read = rank_with_readings(network, asked.histories, count, reading.steps)
    variants = len(pattern) + 1
    parts = contributions(network, asked.histories, rankings.items, reading.steps, variants)
    labels = [step.label() for step in pattern.steps]
    slots = [*slot_labels(fusion, pattern), "nothing"]
    rows, reasons = answered(model, asked, rankings), model.reasons_of(asked, rankings.items)
    for number, row in enumerate(rows):
        row["gate"] = float(read["gate"][number])
        row["attention"] = dict(zip(slots, read["attention"][number].tolist(), strict=True))
        row["steps"] = [
            StepSaid(step=label, sentences=sentences)
            for label, sentences in zip(labels, reading.texts(number), strict=True)
        ]
        for place, item in enumerate(row["items"]):
            item["contributions"] = parts[number, :, place].tolist()
            if reasons is not None:
                item["reasons"] = reasons[number][place]
    return rows
