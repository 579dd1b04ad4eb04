"""Recommendations of today by a finished run or a bundle: trained weights, the newest chain."""

from collections.abc import Sequence

from scoter.recommenders.estimators import Estimator
from scoter.recommenders.fitted import Fitted
from scoter.serving.answers import Answer, answered, requests_for
from scoter.serving.explanation import explain as explained
from scoter.stages.finished import FinishedRun


def open_method(run: FinishedRun, method: str | None) -> Estimator:
    """One method of a run, by default its last one, ready to answer as its bundle does.

    Chains are read in half precision, as a bundle keeps them.

    Raises:
        ConfigError: the run has no such method, or it is a control that cannot answer.
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

    Raises:
        ConfigError: an unknown user or item; with `explain`, a method that reads no chain.
    """
    asked = requests_for(model, users, items)
    if explain:
        return explained(model, asked, count)
    reading = model.read(asked)
    steps = None if reading is None else reading.steps
    return answered(model, asked, model.network.recommend(asked.histories, count, steps))
