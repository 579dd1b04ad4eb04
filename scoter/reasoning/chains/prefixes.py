"""Which prefixes get a chain of their own, and which chain the other prefixes read.

A language model's chain is expensive, so it may be written at anchors alone. A position reads the
latest chain at or before it. A user's later interactions move no anchor.
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from scoter.errors import ConfigError
from scoter.types import Split, entries_of

DISTANCE = 5
Rows = Int[np.ndarray, " rows"]
_FORM = re.compile(r"every|anchors(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class PrefixPolicy:
    """Chains at the prefix lengths `distance`, 2 `distance`, and so on."""

    distance: int = 1  # items, from 1 on
    most: int = 0  # chains a user at most; 0 for as many as there are

    @classmethod
    def parse(cls, text: str) -> "PrefixPolicy":
        """`every`, `anchors`, `anchors:K` (every K items) or `anchors:K:M` (the first M of these).

        >>> PrefixPolicy.parse("every"), PrefixPolicy.parse("anchors:3:2")
        (PrefixPolicy(distance=1, most=0), PrefixPolicy(distance=3, most=2))
        """
        match = _FORM.fullmatch(text)
        numbers = [int(part) if part else None for part in match.groups()] if match else [0, 0]
        if 0 in numbers:
            forms = "every, anchors, anchors:K or anchors:K:M with K and M from 1 on"
            raise ConfigError(f"prefixes = {text!r}; use {forms}")
        return cls(numbers[0] or (1 if text == "every" else DISTANCE), numbers[1] or 0)

    def __str__(self) -> str:
        if self == PrefixPolicy():
            return "every"
        return f"anchors:{self.distance}" + (f":{self.most}" if self.most else "")

    def rows(self, split: Split, users: Int[np.ndarray, " chosen"]) -> tuple[Rows, Rows]:
        """Users and prefix lengths of all chains, in the order of `users` and then of length.

        The longest prefix holds all training items, and the validation item where there is one.
        """
        counts = split.visible.lengths[users] // self.distance
        counts = np.minimum(counts, self.most) if self.most else counts
        order, _ = entries_of(np.ones_like(counts), counts)
        return np.repeat(users, counts), order * self.distance


def sample_of_users(user_count: int, count: int, seed: int) -> Int[np.ndarray, " chosen"]:
    """A random ascending sample, all users for `count` 0; a larger one holds a smaller one."""
    if not 0 <= count <= user_count:
        known = f"this dataset has {user_count} users (0 takes all of them)"
        raise ConfigError(f"users = {count}; {known}")
    if not count:
        return np.arange(user_count)
    return np.sort(np.random.default_rng(seed).permutation(user_count)[:count])


class AnchorTable:
    """Where chains exist, as sorted (user, prefix length) pairs; finds the one a position reads.

    >>> table = AnchorTable(np.array([0, 0, 2]), np.array([3, 6, 3]))
    >>> table.latest(np.array([0, 0, 0, 1, 2]), np.array([2, 5, 6, 9, 4])).tolist()
    [-1, 0, 1, -1, 2]
    """

    def __init__(self, users: Rows, prefix_lengths: Rows) -> None:
        self._base = int(prefix_lengths.max(initial=0)) + 1
        self._keys = users.astype(np.int64) * self._base + prefix_lengths
        sound = (np.diff(self._keys) > 0).all() and (prefix_lengths >= 1).all()
        if not (sound and (users >= 0).all()):
            wanted = "distinct (user, prefix length >= 1) pairs in ascending order"
            raise ConfigError(f"anchors must be {wanted}; sort them first")
        self._users = users

    def latest(self, users: Rows, prefix_lengths: Rows) -> Rows:
        """The number of the user's latest anchor at or before each prefix length; -1 for none."""
        if not len(self._keys):
            return np.full(len(users), -1)
        wanted = users.astype(np.int64) * self._base + np.minimum(prefix_lengths, self._base - 1)
        anchors = np.searchsorted(self._keys, wanted, side="right") - 1
        own = (anchors >= 0) & (self._users[np.maximum(anchors, 0)] == users)
        return np.where(own, anchors, -1)
