"""What a dataset holds, as a plain dictionary that JSON can carry."""

import numpy as np

from scoter.data.split import UNKNOWN_TIME
from scoter.types import Catalog, InteractionLog, Json, Split

_DAY = 86_400  # seconds
_QUANTILES = {"min": 0.0, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


def describe(
    log: InteractionLog, catalog: Catalog, split: Split, samples: int = 3
) -> dict[str, Json]:
    """Counts, lengths of histories, text coverage, ties and sample histories.

    `last_two_same_day` is the share of users with a test target whose last two events fall on one
    day (UTC), so that the file's order decides which is the test item; None where there are no
    times. `test_repeats` is the share of test targets that the user had before.
    """
    test = split.histories("test")
    targets = enumerate(split.test.items.tolist())
    repeats = [target in test.sequence(row) for row, target in targets]
    quantiles = np.quantile(log.lengths, list(_QUANTILES.values())).tolist()
    lengths = {**dict(zip(_QUANTILES, quantiles, strict=True)), "mean": float(log.lengths.mean())}
    users, count = split.test.users, min(samples, len(split.test))
    shown = users[(np.arange(count) * 2 + 1) * len(users) // (2 * count)].tolist()  # evenly spaced
    return {
        "users": log.user_count,
        "items": catalog.item_count,
        "interactions": len(log.items),
        "density": len(log.items) / (log.user_count * catalog.item_count),
        "users_without_targets": log.user_count - len(split.test),
        "items_never_bought": catalog.item_count - len(np.unique(log.items)),
        "history_length": lengths,
        "coverage": {name: catalog.coverage(name) for name in catalog.columns},
        "last_two_same_day": _last_two_tied(log, split, _DAY),
        "last_two_same_second": _last_two_tied(log, split, 1),
        "test_repeats": float(np.mean(repeats)),
        "samples": [_sample(log, catalog, user) for user in shown],
    }


def _last_two_tied(log: InteractionLog, split: Split, unit: int) -> float | None:
    if log.times is None:
        return None
    ends = log.offsets[1:][split.test.users]
    last, before = log.times[ends - 1], log.times[ends - 2]
    known = (last != UNKNOWN_TIME) & (before != UNKNOWN_TIME)
    return float(np.mean(last[known] // unit == before[known] // unit)) if known.any() else None


def _sample(log: InteractionLog, catalog: Catalog, user: int) -> Json:
    columns = [catalog.columns[name] for name in ("title", "phrase") if name in catalog.columns]
    columns.append(catalog.keys)
    items = log.sequence(user).tolist()
    names = [next(str(cells[item]) for cells in columns if cells[item]) for item in items]
    return {"user": log.user_keys[user], "items": [*names]}
