"""One door for every dataset: a folder, DataFrames, a plug-in, or the simulated shop."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Unpack

import numpy as np
import pandas as pd
from annotated_types import Ge

from scoter.arguments import Seed, checked
from scoter.config import DataConfig, SimulatedConfig, to_json
from scoter.data.prepared import fingerprint, load_prepared
from scoter.data.simulated import simulate
from scoter.data.sources import DATASETS, REGISTRY, SIMULATED, check_counts, locate
from scoter.data.split import leave_one_out, sample_users
from scoter.data.table_files import Table
from scoter.data.tables import Policies, from_tables
from scoter.errors import ConfigError, DataError, ScoterError, closest
from scoter.types import NOBODY, Catalog, EvaluationProtocol, InteractionLog, Split

register_dataset = DATASETS.register
"""`@register_dataset("mine")` makes a function without arguments the dataset of that name. It gives
a `Dataset`, or interactions and items (or None) as `Dataset.from_pandas` takes them."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Users, items and their interactions."""

    log: InteractionLog
    catalog: Catalog
    identity: str  # digest of all that made it
    origin: str  # where it came from, for people
    name: str = ""
    seed: int = 0  # of the simulated shop; chains and statistics are drawn from it
    fixed_split: Split | None = None  # where it is not that of the whole log
    protocol: EvaluationProtocol = "A"  # of that split

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Dataset":
        """A prepared folder of `scoter data prepare`; anything else is a `DataError`."""
        path = Path(folder)
        log, catalog = load_prepared(path)
        return cls(log, catalog, _digest(fingerprint(path)), str(path), path.name)

    @classmethod
    @checked
    def from_pandas(
        cls,
        interactions: pd.DataFrame,
        items: pd.DataFrame | None = None,
        *,
        name: str = "",
        **policies: Unpack[Policies],
    ) -> "Dataset":
        """Your own DataFrames, checked as `scoter data prepare` checks files.

        Args:
            interactions: `user`, `item`, and `timestamp` (seconds since 1970, or dates) unless
                `order="file"`.
            items: `item`, and any columns of text, lists of text (`categories`) or numbers.
            policies: what to do in doubt, see `Policies`; by default a `DataError` says it.

        >>> rows = pd.DataFrame({"user": "ann", "item": list("xyz"), "timestamp": [3, 1, 2]})
        >>> Dataset.from_pandas(rows).interactions["item"].tolist()
        ['y', 'z', 'x']
        """
        described = None if items is None else Table.from_frame(items, "the table of items")
        table = Table.from_frame(interactions, "the table of interactions")
        log, catalog = from_tables(table, described, **policies)
        return cls(log, catalog, _content_digest(log, catalog), "DataFrames", name)

    @cached_property
    def split(self) -> Split:
        """The last item of each user for test, the one before for validation (protocol A) or
        training (B), the rest for training."""
        return self.fixed_split or leave_one_out(self.log, self.protocol)

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
        """The users' keys, in the order of their numbers."""
        return list(self.log.user_keys)

    @property
    def items(self) -> pd.DataFrame:
        """The key of each item and what the catalogue says, one row an item."""
        return pd.DataFrame({"item": self.catalog.keys, **self.catalog.columns})

    @property
    def interactions(self) -> pd.DataFrame:
        """One row an interaction, each user's oldest first; `timestamp` (seconds) if known."""
        users = np.repeat(np.asarray(self.log.user_keys, dtype=object), self.log.lengths)
        items = np.asarray(self.catalog.keys, dtype=object)[self.log.items]
        times = {} if self.log.times is None else {"timestamp": self.log.times}
        return pd.DataFrame({"user": users, "item": items, **times})

    def without_test(self) -> "Dataset":
        """The same without test items, in log and split: what a recommender may learn from."""
        split = self.split
        keep = np.ones(len(self.log.items), bool)
        keep[self.log.offsets[1:][split.test.users] - 1] = False
        withheld = Split(split.train, split.valid, NOBODY)
        return replace(self, log=self.log.where(keep), fixed_split=withheld)


@checked
def load_dataset(
    name: str,
    *,
    users: Annotated[int, Ge(0)] = 0,
    data_dir: str | Path | None = None,
    seed: Seed = 0,
) -> Dataset:
    """A dataset by name: a public one, `simulated`, a plug-in's, or a folder of yours.

    Args:
        users: take a fixed random sample of so many users; 0 takes all. The simulated shop is made
            with so many users instead.
        data_dir: a prepared folder, or one that holds a folder for each dataset; by default
            `$SCOTER_DATA`, then `data-cache/`.
        seed: decides the sample, and the simulated shop.

    Raises:
        DataError: it is found nowhere; the message says how to get it.

    >>> shop = load_dataset("simulated", users=40)
    >>> len(shop.users), shop.interactions.columns.tolist()
    (40, ['user', 'item', 'timestamp'])
    """
    config = DataConfig(name, max_users=users)
    if name == SIMULATED and users:
        config = DataConfig(name, simulated=SimulatedConfig(users=users))
    return open_dataset(config, None if data_dir is None else Path(data_dir), seed)


def open_dataset(config: DataConfig, data_dir: Path | None = None, seed: int = 0) -> Dataset:
    """The dataset that a config names, or `max_users` of its users drawn at random.

    `seed` decides the simulated shop and the sample of users, nothing else. A plug-in comes before
    a folder of the same name. A public dataset must have the counts that were published.
    """
    if config.max_users < 0:
        raise ConfigError(f"data.max_users is {config.max_users}; use 0 (all users) or more")
    log, catalog, identity, origin = _whole(config, data_dir, seed)
    if config.max_users:
        log, catalog = sample_users(log, catalog, config.max_users, seed)
        identity += f" max_users={config.max_users} seed={seed}"
    simulated_seed = seed if config.name == SIMULATED else 0
    described = (_digest(identity), origin, config.name, simulated_seed)
    return Dataset(log, catalog, *described, protocol=config.protocol)


def _whole(
    config: DataConfig, data_dir: Path | None, seed: int
) -> tuple[InteractionLog, Catalog, str, str]:
    """Log, catalogue, identity and origin of all users."""
    name = config.name
    if name == SIMULATED:
        settings = config.simulated or SimulatedConfig()
        shop = simulate(settings, seed)
        identity = f"simulated {to_json(settings)} seed={seed}"
        return (
            shop.log,
            shop.catalog,
            identity,
            f"simulated shop of {len(shop.log.user_keys):,} users, seed {seed}",
        )
    if config.simulated is not None:
        remedy = f"name it {SIMULATED!r} or set data.simulated=null"
        raise ConfigError(f"data.simulated is set but data.name is {name!r}; {remedy}")
    if name in DATASETS.names():
        shop = _of_plugin(name)
        log, catalog = shop.log, shop.catalog
        identity, origin = _content_digest(log, catalog), f"plug-in {name}"
    else:
        folder = locate(name, data_dir)
        if folder is None:
            how = f"run `scoter data prepare {name}`, or p" if name in REGISTRY else "P"
            raise DataError(
                f"dataset {name!r} is neither in $SCOTER_DATA nor in data-cache/; {how}oint --data "
                f"or SCOTER_DATA at a prepared folder, or use the dataset {SIMULATED!r}"
                f"{'' if name in REGISTRY else closest(name, [*REGISTRY, *DATASETS.names()])}"
            )
        log, catalog = load_prepared(folder)
        identity, origin = fingerprint(folder), str(folder)
    check_counts(name, log, catalog)
    return log, catalog, identity, origin


def _of_plugin(name: str) -> Dataset:
    """What the function of a plug-in gives, as a dataset."""
    make = DATASETS.get(name)
    try:
        made: object = make()
    except Exception as error:
        if isinstance(error, ScoterError):
            raise
        failed = f"the dataset {name!r} of a plug-in failed ({type(error).__name__}: {error})"
        raise DataError(f"{failed}; mend the function that makes it") from error
    match made:
        case Dataset(fixed_split=None):
            return made
        case Dataset():
            own = f"the dataset {name!r} of a plug-in has a split of its own, which is not kept"
            raise DataError(f"{own}; return the whole dataset")
        case (pd.DataFrame() as interactions, (pd.DataFrame() | None) as items):
            return Dataset.from_pandas(interactions, items, name=name)
    gave = f"the dataset {name!r} of a plug-in gave {type(made).__name__}, not a Dataset"
    raise DataError(f"{gave}; return one, or a pair (interactions, items or None) of DataFrames")


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def _content_digest(log: InteractionLog, catalog: Catalog) -> str:
    """sha256 of what a log and a catalogue hold, however they were made."""
    times = None if log.times is None else log.times.tolist()
    events = [log.items.tolist(), log.offsets.tolist(), times, log.user_keys]
    return _digest(json.dumps([*events, catalog.keys, dict(catalog.columns)]))
