"""Chains with one step wiped: what leave-one-step-out is checked against."""

from typing import Any


class Without:
    """A reader whose step number `step` is wiped: its embedding and its place in the mask."""

    def __init__(self, reader: Any, step: int) -> None:
        self.reader, self.step = reader, step

    def read(self, users: Any, prefix_lengths: Any) -> Any:
        steps, mask = (part.clone() for part in self.reader.read(users, prefix_lengths))
        steps[:, self.step], mask[:, self.step] = 0, False
        return steps, mask

    def named(self, users: Any, prefix_lengths: Any) -> Any:
        return self.reader.named(users, prefix_lengths)
