"""What a recommender is asked: users of a dataset, or histories of the caller's own making."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from scoter.data.datasets import Dataset
from scoter.errors import ConfigError
from scoter.types import Histories, Rankings


@dataclass(frozen=True, eq=False)
class Requests:
    """Histories, whose users are numbered by row, and who asks for each."""

    dataset: Dataset
    who: Sequence[str]  # the name of each row in the answer
    users: Int[np.ndarray, " rows"]  # the row's user in the dataset, -1 for somebody else
    histories: Histories  # one a row

    @property
    def is_prefix(self) -> Bool[np.ndarray, " rows"]:
        """Whether a row's history is the beginning of what the dataset has of its user."""
        log, items, offsets = self.dataset.log, self.histories.items, self.histories.offsets
        known = self.users >= 0
        lengths = np.where(known, log.lengths[self.users], 0)
        fits = known & (self.histories.lengths <= lengths)
        row = np.repeat(np.arange(len(self.users)), self.histories.lengths)
        place = np.arange(len(items)) - offsets[row]
        there = np.where(fits[row], log.offsets[self.users[row]] + place, 0)
        differs = fits[row] & (log.items[there] != items)
        return fits & ~np.isin(np.arange(len(self.users)), row[differs])

    def as_frame(self, rankings: Rankings, k: int, filter_seen: bool) -> pd.DataFrame:
        """The `k` best of each row as `user`, `item`, `score` and `rank`."""
        items, scores = rankings.items, rankings.scores
        kept = items >= 0
        if filter_seen:
            for row in range(len(items)):
                kept[row] &= ~np.isin(items[row], self.histories.sequence(row))
        rank = np.cumsum(kept, axis=1)
        row, column = np.nonzero(kept & (rank <= k))
        keys = np.asarray(self.dataset.catalog.keys, dtype=object)
        users, best = np.asarray(self.who, dtype=object)[row], scores[row, column]
        answers = {"user": users, "item": keys[items[row, column]], "score": best.astype(float)}
        return pd.DataFrame({**answers, "rank": rank[row, column]})


def requests_of(
    dataset: Dataset, users: Sequence[str] | None, histories: Sequence[Sequence[str]] | None
) -> Requests:
    """Requests for users, for histories, or for histories of users; see `Fitted.recommend`."""
    numbers = _numbers(dataset.user_numbers, users, "user") if users is not None else None
    if histories is None:
        log = dataset.log
        chosen = np.arange(log.user_count) if numbers is None else numbers
        asked = Histories(np.arange(log.user_count), log.items, log.offsets).select(chosen)
        who = log.user_keys if users is None else list(users)
    else:
        chosen = np.full(len(histories), -1) if numbers is None else numbers
        if len(chosen) != len(histories):
            given = f"{len(chosen)} users and {len(histories)} histories were given"
            raise ConfigError(f"{given}; give one history for each user, or leave users out")
        lengths = np.array([len(history) for history in histories], np.int64)
        if len(lengths) and lengths.min() == 0:
            empty = int(lengths.argmin())
            raise ConfigError(f"history {empty} is empty; give it at least one item")
        keys = [key for history in histories for key in history]
        items = _numbers(dataset.item_numbers, keys, "item")
        asked = Histories(chosen, items, np.concatenate([[0], np.cumsum(lengths)]))
        who = [str(row) for row in range(len(histories))] if users is None else list(users)
    rows = Histories(np.arange(len(who)), asked.items, asked.offsets)
    return Requests(dataset, who, chosen.astype(np.int64), rows)


def _numbers(known: pd.Index, wanted: Sequence[str], what: str) -> Int[np.ndarray, " wanted"]:
    numbers = known.get_indexer(pd.Index([str(key) for key in wanted], dtype=object))
    if len(numbers) and numbers.min() < 0:
        unknown = str(list(wanted)[int(np.argmin(numbers))])
        looks = ", ".join(map(str, known[:3]))
        raise ConfigError(f"the dataset has no {what} {unknown!r}; its keys look like {looks}")
    return numbers.astype(np.int64)
