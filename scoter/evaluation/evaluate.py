"""Recommenders on held-out items: ranks, means, and paired intervals, as DataFrames."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pandas as pd

from scoter.arguments import Seed, checked
from scoter.errors import ConfigError, DataError
from scoter.evaluation.answers import check_recommender, rankings_of
from scoter.evaluation.evaluator import Evaluator
from scoter.evaluation.metrics import SHOWN, per_user
from scoter.evaluation.significance import Estimate, bootstrap_mean, paired_bootstrap
from scoter.protocols import ReadsChains
from scoter.seeding import derive_seed
from scoter.types import Part, UserMetrics

if TYPE_CHECKING:
    from scoter.data.datasets import Dataset
    from scoter.protocols import Recommender
    from scoter.recommenders.chains import Chains

    Models = Mapping[str, Recommender]
DEPTH = 20


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one recommender reached on one part of a dataset."""

    name: str  # of the recommender, in differences
    keys: tuple[str, ...]  # the users' keys, in the order of `ranks`
    ranks: UserMetrics  # of the held-out items
    seed: int = 0  # of the bootstrap
    part: Part = "test"  # whose items were held out

    @property
    def metrics(self) -> pd.DataFrame:
        """The mean of each metric over users, with a 95 % bootstrap interval."""
        rows = {}
        for metric in SHOWN:
            seed = derive_seed(self.seed, "mean", metric)
            rows[metric] = bootstrap_mean(per_user(self.ranks, metric), seed=seed)
        return _by_metric(rows)

    @property
    def per_user(self) -> pd.DataFrame:
        """The rank of each user's held-out item, 0 where the list lacks it, and each metric."""
        columns = {metric: per_user(self.ranks, metric) for metric in SHOWN}
        return pd.DataFrame({"user": self.keys, "rank": self.ranks.ranks, **columns})

    def minus(self, other: "Evaluation") -> pd.DataFrame:
        """One row a metric: the mean paired difference over the same users, with its interval.

        Raises:
            DataError: the other one has other users, or another part.
        """
        if (self.keys, self.part) != (other.keys, other.part):
            differ = f"{self.name!r} and {other.name!r} were evaluated on other users or parts"
            raise DataError(f"{differ}; evaluate both on one part of one dataset")
        rows = {}
        for metric in SHOWN:
            seed = derive_seed(self.seed, "bootstrap", self.name, other.name, metric)
            ours, theirs = per_user(self.ranks, metric), per_user(other.ranks, metric)
            rows[metric] = paired_bootstrap(ours, theirs, seed=seed)
        return _by_metric(rows)


@checked
def evaluate(
    model: "Recommender",
    dataset: "Dataset",
    chains: "Chains | None" = None,
    *,
    part: Part = "test",
    name: str = "",
    seed: Seed = 0,
) -> Evaluation:
    """Rank the whole catalogue for every user of a part, from the items before the held-out one.

    The recommender gets users' keys and cut histories, never a target. To withhold test items from
    its fit as well, fit it on `dataset.without_test()`. It reads `chains` instead of those that it
    was fitted with, if any are given. `name` is what differences call it (by default its class),
    and `seed` decides the bootstrap. A user to whom it recommends nothing counts as a miss, with a
    warning.

    Raises:
        ConfigError: it lacks `fit` or `recommend(users, k, histories=...)`, or reads no chains.
        DataError: nobody has a held-out item in that part; the recommender recommends an item
            twice, or one that the catalogue lacks, or its ranks or scores are not numbers.
    """
    name = name or type(model).__name__
    if chains is not None:
        if not isinstance(model, ReadsChains):
            raise ConfigError(f"{name} reads no chains; leave `chains` out")
        model = model.with_chains(chains)
    if not (targets := dataset.split.targets(part)):
        raise DataError(f"dataset has no held-out item for part = {part!r}; evaluate on the whole")
    histories = dataset.split.histories(part)
    rankings = rankings_of(model, name, dataset, histories, DEPTH)
    ranks = Evaluator().evaluate(rankings, targets, histories)
    users = tuple(dataset.log.user_keys[user] for user in histories.users)
    return Evaluation(name, users, ranks, seed, part)


@checked
def compare(
    models: "Models", dataset: "Dataset", chains: "Chains | None" = None, *, seed: Seed = 0
) -> dict[str, Evaluation]:
    """Fit every recommender without the test items, then evaluate each on them.

    `chains` are for the recommenders that read chains.
    """
    if not isinstance(models, Mapping):
        raise ConfigError(f"models is a {type(models).__name__}; give a mapping of names to models")
    for name, model in models.items():
        check_recommender(model, DEPTH)
        if chains is None and getattr(model, "reads_chains", False):
            raise ConfigError(f"{name!r} reads chains, and chains is None; pass write_chains(...)")
    visible, results = dataset.without_test(), {}
    for name, model in models.items():
        reads = getattr(model, "reads_chains", False)
        model.fit(visible, **({"chains": chains} if reads else {}), seed=seed)
        results[name] = evaluate(model, dataset, name=name, seed=seed)
    return results


def _by_metric(rows: Mapping[str, Estimate]) -> pd.DataFrame:
    values = {metric: asdict(estimate) for metric, estimate in rows.items()}
    return pd.DataFrame.from_dict(values, orient="index").rename_axis("metric")
