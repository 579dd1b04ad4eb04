"""Why these items: what each step says, how much of it is read, and the scores without it."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.models.backbones.backbone import Backbone
from scoter.models.step_reader import Redirected
from scoter.protocols import StepSource
from scoter.recommenders.fitted import Fitted
from scoter.recommenders.network import rank_with_readings
from scoter.recommenders.requests import Requests
from scoter.serving.answers import Answer, StepSaid, answered
from scoter.types import Histories


def explain(model: Fitted, asked: Requests, count: int) -> list[Answer]:
    """Recommendations with the chain's steps, mean gate and attention, and steps' contributions.

    The contribution of a step to an item is its score (log-likelihood in nats, exact) minus what
    the same model gives the same item when the step is hidden; above zero, the step speaks for the
    item. Contributions need not add up to the effect of the whole chain: steps that say the same
    hide each other (T3 of theory/STATEMENTS.md).

    Raises:
        ConfigError: the method reads no chain.
    """
    from scoter.transfer.build import slot_labels

    network, pattern, fusion = model.network, model.pattern, model.config.fusion
    reading = model.read(asked)
    if pattern is None or fusion is None or reading is None:
        raise ConfigError(
            f"{model.name!r} reads no chain, so no step explains it; choose a --method with a "
            f"fusion"
        )
    rankings, read = rank_with_readings(network, asked.histories, count, reading.steps)
    variants = len(pattern) + 1
    parts = contributions(network, asked.histories, rankings.items, reading.steps, variants)
    labels = [step.label() for step in pattern.steps]
    slots = [*slot_labels(fusion, pattern), "nothing"]
    rows = answered(model, asked, rankings)
    for number, row in enumerate(rows):
        row["gate"] = float(read["gate"][number])
        row["attention"] = dict(zip(slots, read["attention"][number].tolist(), strict=True))
        row["steps"] = [
            StepSaid(step=label, sentences=sentences)
            for label, sentences in zip(labels, reading.texts(number), strict=True)
        ]
        for place, item in enumerate(row["items"]):
            item["contributions"] = parts[number, :, place].tolist()
    return rows


def contributions(
    network: Backbone,
    histories: Histories,
    items: Int[np.ndarray, "rows k"],
    steps: StepSource,
    variants: int,
) -> Float[np.ndarray, "rows steps k"]:
    """The score of each item minus that with one step hidden; zero where the step is missing.

    A history is scored once with all steps and once without each: `variants` times.
    """
    rows = len(histories)
    repeated = histories.select(np.repeat(np.arange(rows), variants))
    numbered = Histories(np.arange(rows * variants), repeated.items, repeated.offsets)
    hidden = _OneHidden(steps, histories.users, variants)
    scores = network.rescore(numbered, np.repeat(items, variants, axis=0), hidden)
    scores = scores.reshape(rows, variants, -1)
    with np.errstate(invalid="ignore"):
        parts = scores[:, :1] - scores[:, 1:]
    return np.where(items[:, None] >= 0, parts, 0)


class _OneHidden(Redirected):
    """User u reads the chain of `known[u // variants]` with step number u % variants hidden.

    Steps are counted from 1; 0 hides none.
    """

    def __init__(self, source: StepSource, known: Int[np.ndarray, " rows"], variants: int) -> None:
        numbers = torch.from_numpy(known.astype(np.int64))
        super().__init__(source, lambda users, lengths: (numbers[users // variants], lengths))
        self.variants = variants

    def read(self, users: Tensor, prefix_lengths: Tensor) -> tuple[Tensor, Tensor]:
        steps, mask = super().read(users, prefix_lengths)
        return steps, mask & self._left(users)

    def read_shared(self, users: Tensor, prefix_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, place, mask = super().read_shared(users, prefix_lengths)
        return steps, place, mask & self._left(users)

    def _left(self, users: Tensor) -> Tensor:
        return (users % self.variants)[:, None] != torch.arange(1, self.variants)
