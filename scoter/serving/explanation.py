"""Why these items: what each step of the chain says, how much was read, and what the scores would
be without it."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoter.errors import ConfigError
from scoter.models.step_reader import Redirected
from scoter.protocols import StepSource
from scoter.serving.questions import Question, Service, described
from scoter.types import Histories


def explain(service: Service, question: Question, count: int) -> list[dict[str, Any]]:
    """Recommendations, each with the chain's steps, the mean gate and attention, and each step's
    contribution.

    The contribution of a step to an item is its score (log-likelihood in nats, exact) minus what
    the same model gives the same item when the step is hidden from it; above zero, the step spoke
    for the item. Contributions need not add up to what the chain as a whole did: steps that say the
    same hide each other (T3 of theory/STATEMENTS.md).

    Raises:
        ConfigError: the method reads no chain.
    """
    fusion = service.model.fusion
    if fusion is None or service.pattern is None:
        raise ConfigError(
            f"{service.method!r} reads no chain, so no step explains it; choose a --method with "
            f"a fusion"
        )
    rows = len(question.histories)
    gate, attention = (
        np.zeros(rows, np.float32),
        np.zeros((rows, fusion.slot_count + 1), np.float32),
    )

    def note(chosen: np.ndarray) -> None:
        gates, weights = fusion.take_readings()
        gate[chosen], attention[chosen] = gates.numpy(), weights.numpy()

    fusion.start_recording()
    rankings = service.model.recommend(question.histories, count, question.reader, note)
    fusion.stop_recording()
    parts = contributions(service, question, rankings.items)
    return [
        {
            **row,
            "gate": float(gate[number]),
            "attention": dict(zip(_slots(service), attention[number].tolist(), strict=True)),
            "steps": _steps(service, question, number),
            "items": [
                {**item, "contributions": parts[number, :, place].tolist()}
                for place, item in enumerate(row["items"])
            ],
        }
        for number, row in enumerate(described(service, question, rankings))
    ]


def contributions(
    service: Service, question: Question, items: Int[np.ndarray, "rows k"]
) -> Float[np.ndarray, "rows steps k"]:
    """The score of each item minus that with one step hidden, for every step; zero where the step
    is missing anyway.

    All hidden steps of a user are scored as one batch: the history once for every step, and once
    with all of them.
    """
    assert service.pattern is not None
    assert question.reader is not None
    rows, variants = len(question.histories), len(service.pattern) + 1
    repeated = question.histories.select(np.repeat(np.arange(rows), variants))
    numbered = Histories(np.arange(rows * variants), repeated.items, repeated.offsets)
    reader = _OneHidden(question.reader, question.histories.users, variants)
    scores = service.model.rescore(numbered, np.repeat(items, variants, axis=0), reader)
    scores = scores.reshape(rows, variants, -1)
    with np.errstate(invalid="ignore"):
        found = scores[:, :1] - scores[:, 1:]
    return np.where(items[:, None] >= 0, found, 0)


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


def _slots(service: Service) -> list[str]:
    from scoter.transfer.build import slot_labels

    assert service.config.fusion is not None
    assert service.pattern is not None
    return [*slot_labels(service.config.fusion, service.pattern), "nothing"]


def _steps(service: Service, question: Question, row: int) -> list[dict[str, Any]]:
    assert service.pattern is not None
    said = question.texts(row)
    return [
        {"step": step.label(), "sentences": sentences}
        for step, sentences in zip(service.pattern.steps, said, strict=True)
    ]
