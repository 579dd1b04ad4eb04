"""One door for every dataset: a prepared folder, or the simulated shop, as the same two values."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scoter.config import DataConfig, SimulatedConfig, to_json
from scoter.data.prepared import fingerprint, load_prepared
from scoter.data.simulated import simulate
from scoter.data.sources import REGISTRY, check_counts, locate
from scoter.data.split import sample_users
from scoter.errors import ConfigError, DataError
from scoter.types import Catalog, InteractionLog

SIMULATED = "simulated"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A log and its catalogue. `identity` names all that made them; `origin` says where they came
    from, for people."""

    log: InteractionLog
    catalog: Catalog
    identity: str
    origin: str


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
    return Dataset(log, catalog, hashlib.sha256(identity.encode()).hexdigest(), origin)


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
        )
    log, catalog = load_prepared(folder)
    check_counts(config.name, log, catalog)
    return log, catalog, fingerprint(folder), str(folder)
