"""What answers for users and histories: an estimator, a method of a finished run, or a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from scoter.config import MethodConfig
from scoter.data.datasets import Dataset
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.facets import item_names
from scoter.recommenders.requests import Requests, requests_of
from scoter.types import ReasoningPattern

if TYPE_CHECKING:
    from scoter.models.backbones.backbone import Backbone
    from scoter.protocols import StepSource


@dataclass(frozen=True, eq=False)
class Reading:
    """The chains of some requests: request r reads the chain of user r, whatever its length."""

    steps: "StepSource"
    texts: Callable[[int], list[list[str]]]  # the sentences of each step of a request's chain


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
        """The dataset whose users it knows."""
        assert self._dataset is not None
        return self._dataset

    @cached_property
    def item_names(self) -> list[str]:
        """What each item is called."""
        return item_names(self.dataset.catalog)

    def read(self, asked: Requests) -> Reading | None:
        """The chains of some requests; None where it reads none."""
        raise NotImplementedError

    def recommend(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        histories: Sequence[Sequence[str]] | None = None,
        filter_seen: bool = False,
    ) -> pd.DataFrame:
        """The `k` best next items, one row each: `user`, `item`, `score` (nats), `rank` (from 1).

        Args:
            users: keys of users of the dataset, each with the whole history there; default: all.
            histories: items' keys, oldest first, one list a request, instead of the dataset's.
                With `users`, list i is what user i has; without, users are the lists' numbers.
            filter_seen: leave out what stands in the history.
        """
        network, asked = self.network, requests_of(self.dataset, users, histories)
        seen = int(asked.histories.lengths.max(initial=0)) if filter_seen else 0
        reading = self.read(asked)
        steps = None if reading is None else reading.steps
        return asked.as_frame(network.recommend(asked.histories, k + seen, steps), k, filter_seen)
