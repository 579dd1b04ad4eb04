"""Recommenders on held-out items: ranks, means, and paired intervals, as DataFrames."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scoter.errors import DataError
from scoter.evaluation.evaluator import Evaluator
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import bootstrap_mean, paired_bootstrap
from scoter.seeding import derive_seed
from scoter.types import Part, Rankings, UserMetrics

if TYPE_CHECKING:
    from scoter.data.datasets import Dataset
    from scoter.protocols import Recommender

METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
DEPTH = 20


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one recommender reached on one part of a dataset."""

    name: str
    keys: tuple[str, ...]  # the users' keys, in the order of `ranks`
    ranks: UserMetrics
    seed: int = 0  # of the bootstrap

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a metric: its mean over users, with a 95 % bootstrap interval."""
        rows = []
        for metric in METRICS:
            seed = derive_seed(self.seed, "mean", metric)
            found = bootstrap_mean(per_user(self.ranks, metric), seed=seed)
            rows.append({"metric": metric, **asdict(found)})
        return pd.DataFrame(rows).set_index("metric")

    @property
    def per_user(self) -> pd.DataFrame:
        """One row a user: the rank of the held-out item (0: not in the list) and each metric."""
        columns = {metric: per_user(self.ranks, metric) for metric in METRICS}
        return pd.DataFrame({"user": self.keys, "rank": self.ranks.ranks, **columns})

    def minus(self, other: "Evaluation") -> pd.DataFrame:
        """One row a metric: the mean paired difference over the same users, with its interval.

        Raises:
            DataError: the other one has other users.
        """
        if self.keys != other.keys:
            raise DataError(
                f"{self.name!r} and {other.name!r} were evaluated on other users; evaluate both on "
                f"one part of one dataset"
            )
        rows = []
        for metric in METRICS:
            seed = derive_seed(self.seed, "bootstrap", self.name, other.name, metric)
            ours, theirs = per_user(self.ranks, metric), per_user(other.ranks, metric)
            rows.append({"metric": metric, **asdict(paired_bootstrap(ours, theirs, seed=seed))})
        return pd.DataFrame(rows).set_index("metric")


def evaluate(
    model: "Recommender", dataset: "Dataset", *, part: Part = "test", name: str = "", seed: int = 0
) -> Evaluation:
    """Rank the whole catalogue for every user of a part, from what stands before the held-out item.

    The recommender gets users' keys and cut histories, never a target. What it was fitted on is the
    caller's business: `dataset.without_test()` withholds test items from a recommender that is not
    trusted to look at training items alone.

    Args:
        part: `valid` or `test`.
        name: what it is called in differences; by default its class.
        seed: of the bootstrap.

    Raises:
        DataError: it recommends an item twice, or an item that the catalogue lacks.
    """
    histories, targets = dataset.split.histories(part), dataset.split.targets(part)
    keys = np.asarray(dataset.catalog.keys, dtype=object)
    cut = [keys[histories.sequence(row)].tolist() for row in range(len(histories))]
    users = [dataset.log.user_keys[user] for user in histories.users]
    found = model.recommend(users, DEPTH, histories=cut)
    rankings = _rankings(found, dataset, users, histories.users)
    ranks = Evaluator().evaluate(rankings, targets)
    return Evaluation(name or type(model).__name__, tuple(users), ranks, seed)


def compare(
    models: "Mapping[str, Recommender]",
    dataset: "Dataset",
    chains: Any = None,
    *,
    seed: int = 0,
) -> dict[str, Evaluation]:
    """Fit every recommender without the test items, then evaluate each on them.

    Args:
        chains: for those that read chains.
    """
    seen, found = dataset.without_test(), {}
    for name, model in models.items():
        reads = getattr(model, "reads_chains", False)
        model.fit(seen, **({"chains": chains} if reads else {}), seed=seed)
        found[name] = evaluate(model, dataset, name=name, seed=seed)
    return found


def _rankings(
    found: pd.DataFrame, dataset: "Dataset", users: list[str], numbers: np.ndarray
) -> Rankings:
    """The answers as numbers, rows in the order of `users`."""
    row = pd.Index(users, dtype=object).get_indexer(pd.Index(found["user"], dtype=object))
    item = dataset.item_numbers.get_indexer(pd.Index(found["item"], dtype=object))
    place = found["rank"].to_numpy() - 1
    if len(found) and (row.min() < 0 or item.min() < 0):
        column, unknown = ("user", row) if row.min() < 0 else ("item", item)
        value = found[column].iloc[int(unknown.argmin())]
        raise DataError(
            f"the recommender names {column} {value!r}, which the dataset does not have"
        )
    if len(found) and (place.min() < 0 or place.max() >= DEPTH):
        raise DataError(f"ranks must lie between 1 and {DEPTH}; one is {int(place.max()) + 1}")
    items = np.full((len(users), DEPTH), -1, np.int64)
    scores = np.full((len(users), DEPTH), -np.inf, np.float32)
    items[row, place], scores[row, place] = item, found["score"].to_numpy()
    return Rankings(numbers, items, scores)
