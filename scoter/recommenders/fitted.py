"""What answers for users and histories, and what it is asked: by an estimator, run or bundle."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from scoter.arguments import checked
from scoter.config import Count, MethodConfig
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import item_names
from scoter.types import Histories, Rankings, ReasoningPattern

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource


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

    def as_frame(self, rankings: Rankings) -> pd.DataFrame:
        """The items of each row as `user`, `item`, `score` and `rank`."""
        row, column = np.nonzero(rankings.items >= 0)
        keys = np.asarray(self.dataset.catalog.keys, dtype=object)
        users, best = np.asarray(self.who, dtype=object)[row], rankings.scores[row, column]
        items = keys[rankings.items[row, column]]
        answers = {"user": users, "item": items, "score": best.astype(float)}
        return pd.DataFrame({**answers, "rank": column + 1})


def requests_of(
    dataset: Dataset, users: Iterable[str] | None, histories: Iterable[Iterable[str]] | None
) -> Requests:
    """Requests for users, for histories, or for histories of users; see `Fitted.recommend`."""
    users = None if users is None else _listed(users, "users", "a list of keys")
    numbers = _numbers(dataset.user_numbers, users, "user") if users is not None else None
    if histories is None:
        log = dataset.log
        chosen = np.arange(log.user_count) if numbers is None else numbers
        asked = log.histories.select(chosen)
        who = log.user_keys if users is None else list(users)
    else:
        each = "a list of keys, oldest first, for each request"
        histories = [_listed(row, "history", each) for row in _listed(histories, "histories", each)]
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


def _listed(given: object, name: str, wanted: str) -> list[Any]:
    if isinstance(given, str | bytes | Set | Mapping) or not isinstance(given, Iterable):
        raise ConfigError(f"{name} = {given!r:.60} will not do; give {wanted}")
    return list(given)


def _numbers(known: pd.Index, wanted: Sequence[str], what: str) -> Int[np.ndarray, " wanted"]:
    numbers = known.get_indexer(pd.Index([str(key) for key in wanted], dtype=object))
    if len(numbers) and numbers.min() < 0:
        unknown = str(list(wanted)[int(np.argmin(numbers))])
        looks = ", ".join(map(str, known[:3]))
        raise ConfigError(f"the dataset has no {what} {unknown!r}; its keys look like {looks}")
    return numbers.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Reading:
    """The chains of some requests: request r reads the chain of user r, whatever its length."""

    steps: "StepSource"
    sentences: list[str] | None  # None where they were not kept
    indices: Int[np.ndarray, " entries"]  # numbers of the sentences, step by step
    offsets: Int[np.ndarray, " bags_plus_1"]  # where the entries of each step begin
    step_count: int

    def texts(self, row: int) -> list[list[str]]:
        """The sentences of each step of a request's chain."""
        sentences = self.sentences
        assert sentences is not None
        bounds = self.offsets[row * self.step_count : (row + 1) * self.step_count + 1]
        used = [self.indices[low:high] for low, high in pairwise(bounds)]
        return [[sentences[number] for number in numbers] for numbers in used]


class Fitted:
    """A trained network with all that its answers depend on."""

    name: str  # of the method
    config: MethodConfig
    pattern: ReasoningPattern | None = None  # of the chains as the network reads them
    _network: "Backbone | None" = None
    _dataset: Dataset | None = None

    @property
    def network(self) -> "Backbone":
        if self._network is None:
            remedy = "call fit(dataset) first, or scoter.load"
            raise ConfigError(f"this {type(self).__name__} was not fitted; {remedy}")
        return self._network

    @property
    def dataset(self) -> Dataset:
        assert self._dataset is not None
        return self._dataset

    @cached_property
    def item_names(self) -> list[str]:
        return item_names(self.dataset.catalog)

    def read(self, asked: Requests) -> Reading | None:
        """The chains of some requests; None where it reads none."""
        raise NotImplementedError

    def reasons_of(
        self, asked: Requests, items: Int[np.ndarray, "rows k"]
    ) -> list[list[dict[str, float]]] | None:
        """What each reason adds to the score of each item; None where no step ranks by reasons."""
        return None

    @checked
    def recommend(
        self,
        users: Iterable[str] | None = None,
        k: Count = 10,
        *,
        histories: Iterable[Iterable[str]] | None = None,
        filter_seen: bool = False,
    ) -> pd.DataFrame:
        """The `k` best next items, one row each: `user`, `item`, `score` (nats), `rank` (from 1).

        Args:
            users: keys of users of the dataset, each with the whole history there; default: all.
            histories: items' keys, oldest first, one list a request, instead of the dataset's.
                With `users`, list i is what user i has; without, users are the lists' numbers.
            filter_seen: leave out what stands in the history.

        Raises:
            ConfigError: it was not fitted, or a user or an item is unknown.
        """
        from scoter.models.decoding.ranking import rank_unseen

        network, asked = self.network, requests_of(self.dataset, users, histories)
        reading = self.read(asked)
        steps = None if reading is None else reading.steps
        if filter_seen:
            return asked.as_frame(rank_unseen(network, asked.histories, k, steps))
        return asked.as_frame(network.recommend(asked.histories, k, steps))
