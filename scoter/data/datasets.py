"""One door for every dataset: a prepared folder, or the simulated shop, as the same two values."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from scoter.config import DataConfig, SimulatedConfig, to_json
from scoter.data.prepared import fingerprint, load_prepared
from scoter.data.simulated import simulate
from scoter.data.sources import REGISTRY, check_counts, locate
from scoter.data.split import leave_one_out, sample_users
from scoter.errors import ConfigError, DataError, closest
from scoter.types import Catalog, InteractionLog, Split, Targets

SIMULATED = "simulated"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Users, items and who took what when.

    Example:
        >>> shop = load_dataset("simulated", users=40)
        >>> len(shop.users), shop.interactions.columns.tolist()
        (40, ['user', 'item', 'timestamp'])
    """

    log: InteractionLog
    catalog: Catalog
    identity: str  # names all that made it
    origin: str  # where it came from, for people
    name: str = ""
    seed: int = 0  # of the simulated shop; chains and statistics are drawn from it
    fixed_split: Split | None = None  # where it is not that of the whole log

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Dataset":
        """A prepared folder, as `scoter data prepare` writes one.

        Raises:
            DataError: it is no prepared folder.
        """
        path = Path(folder)
        log, catalog = load_prepared(path)
        return cls(log, catalog, _digest(fingerprint(path)), str(path), path.name)

    @cached_property
    def split(self) -> Split:
        """Leave-one-out: the last item of each user is the test target, the one before it the
        validation target."""
        return self.fixed_split or leave_one_out(self.log)

    @cached_property
    def user_numbers(self) -> pd.Index:
        """The users' keys in the order of their numbers."""
        return pd.Index(self.log.user_keys, dtype=object)

    @cached_property
    def item_numbers(self) -> pd.Index:
        """The items' keys in the order of their numbers."""
        return pd.Index(self.catalog.keys, dtype=object)

    @property
    def users(self) -> list[str]:
        """The users' keys."""
        return list(self.log.user_keys)

    @property
    def items(self) -> pd.DataFrame:
        """One row an item: its key and what the catalogue says."""
        return pd.DataFrame({"item": self.catalog.keys, **self.catalog.columns})

    @property
    def interactions(self) -> pd.DataFrame:
        """One row an interaction, each user's oldest first; `timestamp` (seconds) if known."""
        users = np.repeat(np.asarray(self.log.user_keys, dtype=object), self.log.lengths)
        items = np.asarray(self.catalog.keys, dtype=object)[self.log.items]
        times = {} if self.log.times is None else {"timestamp": self.log.times}
        return pd.DataFrame({"user": users, "item": items, **times})

    def sample(self, users: int, seed: int = 0) -> "Dataset":
        """A fixed random sample of so many users, and the items that they have.

        Raises:
            DataError: there are fewer users.
        """
        log, catalog = sample_users(self.log, self.catalog, users, seed)
        identity = _digest(f"{self.identity} max_users={users} seed={seed}")
        origin = f"{users:,} users of {self.origin}"
        return Dataset(log, catalog, identity, origin, self.name, self.seed)

    def without_test(self) -> "Dataset":
        """The same without any test item, in the log or in the split: what a recommender learns
        from before it is tested."""
        log, split = self.log, self.split
        keep = np.ones(len(log.items), bool)
        keep[log.offsets[1:][split.test.users] - 1] = False
        offsets = np.concatenate([[0], np.cumsum(keep)])[log.offsets]
        times = None if log.times is None else log.times[keep]
        seen = InteractionLog(log.items[keep], offsets, log.user_keys, times)
        nobody = Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
        withheld = Split(split.train, split.valid, nobody)
        return replace(self, log=seen, fixed_split=withheld)


def load_dataset(
    name: str, *, users: int = 0, data_dir: str | Path | None = None, seed: int = 0
) -> Dataset:
    """A dataset by its name: `beauty`, `sports`, `toys`, `yelp`, `simulated`, or a folder of yours.

    Args:
        users: take a fixed random sample of so many users; 0 takes all. The simulated shop is made
            with so many users instead.
        data_dir: a prepared folder, or one that holds a folder for each dataset; by default
            `$SCOTER_DATA`, then `data-cache/`.
        seed: decides the sample, and the simulated shop.

    Raises:
        DataError: it is found nowhere; the message says how to get it.

    Example:
        >>> len(load_dataset("simulated", users=40).users)
        40
    """
    folder = None if data_dir is None else Path(data_dir)
    if name != SIMULATED:
        return open_dataset(DataConfig(name, max_users=users), folder, seed)
    size = replace(SimulatedConfig(), **({"users": users} if users else {}))
    return open_dataset(DataConfig(name, simulated=size), folder, seed)


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def open_dataset(config: DataConfig, data_dir: Path | None = None, seed: int = 0) -> Dataset:
    """The dataset that a config names, restricted to `max_users` random users where that is above
    zero.

    `seed` decides the simulated shop and the sample of users, nothing else. Registered names must
    have their published counts.

    Raises:
        DataError: it is found nowhere, or is not what it claims to be; the message says what to do.
        ConfigError: the config contradicts itself.

    Example:
        >>> open_dataset(
        ...     DataConfig(name="simulated", max_users=20, simulated=SimulatedConfig(users=50))
        ... ).log.user_count
        20
    """
    if config.max_users < 0:
        raise ConfigError(
            f"data.max_users is {config.max_users}; use 0 for all users, or a positive number"
        )
    log, catalog, identity, origin = _whole(config, data_dir, seed)
    if config.max_users:
        log, catalog = sample_users(log, catalog, config.max_users, seed)
        identity += f" max_users={config.max_users} seed={seed}"
    simulated_seed = seed if config.name == SIMULATED else 0
    return Dataset(log, catalog, _digest(identity), origin, config.name, simulated_seed)


def _whole(
    config: DataConfig, data_dir: Path | None, seed: int
) -> tuple[InteractionLog, Catalog, str, str]:
    if config.name == SIMULATED:
        settings = config.simulated or SimulatedConfig()
        shop = simulate(settings, seed)
        return (
            shop.log,
            shop.catalog,
            f"simulated {to_json(settings)} seed={seed}",
            f"simulated shop, seed {seed}",
        )
    if config.simulated is not None:
        raise ConfigError(
            f"data.simulated is set but data.name is {config.name!r}; name it {SIMULATED!r} or "
            f"set data.simulated=null"
        )
    folder = locate(config.name, data_dir)
    if folder is None:
        how = f"run `scoter data prepare {config.name}`, or p" if config.name in REGISTRY else "P"
        raise DataError(
            f"dataset {config.name!r} is neither in $SCOTER_DATA nor in data-cache/; {how}oint "
            f"--data or SCOTER_DATA at a prepared folder, or use the dataset {SIMULATED!r}"
            f"{'' if config.name in REGISTRY else closest(config.name, REGISTRY)}"
        )
    log, catalog = load_prepared(folder)
    check_counts(config.name, log, catalog)
    return log, catalog, fingerprint(folder), str(folder)
