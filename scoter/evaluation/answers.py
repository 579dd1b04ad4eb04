"""What a recommender answers, checked and made rankings; for `scoter.evaluate`."""

import inspect
import warnings
from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from scoter.errors import ConfigError, DataError
from scoter.protocols import Recommender
from scoter.types import Histories, Rankings

if TYPE_CHECKING:
    from scoter.data.datasets import Dataset

COLUMNS = ("user", "item", "score", "rank")


def rankings_of(
    model: Recommender, name: str, dataset: "Dataset", histories: Histories, depth: int
) -> Rankings:
    """The `depth` best items after each history, as the recommender ranks them.

    Raises:
        ConfigError: it is no recommender.
        DataError: it answers with something else than ranked items of the dataset.
    """
    check_recommender(model, depth)
    keys = np.asarray(dataset.catalog.keys, dtype=object)
    cut = [keys[histories.sequence(row)].tolist() for row in range(len(histories))]
    users = [dataset.log.user_keys[user] for user in histories.users]
    answers = model.recommend(users, depth, histories=cut)
    _check_columns(answers, name)
    answers = answers.reset_index(drop=True)
    row = pd.Index(users, dtype=object).get_indexer(pd.Index(answers["user"], dtype=object))
    item = dataset.item_numbers.get_indexer(pd.Index(answers["item"], dtype=object))
    _check_rows(answers, name, row, item, depth)
    if unanswered := len(users) - len(np.unique(row)):
        some = f"{name} recommends nothing to {unanswered:,} of {len(users):,} users"
        warnings.warn(f"{some}; each of them counts as a miss", stacklevel=3)
    items = np.full((len(users), depth), -1, np.int64)
    scores = np.full((len(users), depth), -np.inf, np.float32)
    place = answers["rank"].to_numpy(np.int64) - 1
    items[row, place], scores[row, place] = item, answers["score"].to_numpy()
    return Rankings(histories.users, items, scores)


def check_recommender(model: object, depth: int) -> None:
    """Refuse what has no `fit` and `recommend`, or whose `recommend` takes other arguments."""
    if isinstance(model, type) or not isinstance(model, Recommender):
        raise ConfigError(f"{model!r} is no recommender; give an object with fit and recommend")
    try:
        inspect.signature(model.recommend).bind([], depth, histories=[])
    except TypeError as error:
        called = f"cannot be called as recommend(users, k, histories=...): {error}"
        raise ConfigError(f"recommend of {model!r} {called}; give it these arguments") from None


def _check_columns(answers: object, name: str) -> None:
    remedy = f"return a DataFrame with columns {', '.join(COLUMNS)}"
    if not isinstance(answers, pd.DataFrame):
        raise DataError(f"{name} recommends with a {type(answers).__name__}; {remedy}")
    if lacking := [column for column in COLUMNS if column not in answers]:
        has = ", ".join(map(str, answers.columns))
        raise DataError(f"{name} recommends without {', '.join(lacking)} (it has {has}); {remedy}")
    if not answers.columns.is_unique:
        raise DataError(f"{name} recommends with a column twice; {remedy}")
    for column in ("user", "item"):
        if not all(isinstance(key, Hashable) for key in answers[column]):
            raise DataError(f"{name} recommends with a {column} that is no key; {remedy}")
    for column in ("score", "rank"):
        if len(answers) and not is_numeric_dtype(answers[column]):
            kind = answers[column].dtype
            raise DataError(f"{name} recommends with a {column} of type {kind}; give numbers")


def _check_rows(
    answers: pd.DataFrame, name: str, row: np.ndarray, item: np.ndarray, depth: int
) -> None:
    rank, rows = answers["rank"], answers.groupby("user")["user"].transform("size")
    problems = {
        "its user is not in the dataset; use the keys that recommend was given": row < 0,
        "its item is not in the dataset; use the keys of dataset.items": item < 0,
        "its score is no number; give one": answers["score"].isna(),
        f"its rank is none of 1 to {depth}; return the k best": ~rank.isin(range(1, depth + 1)),
        "the user has that item already; return distinct items": answers.duplicated(COLUMNS[:2]),
        "the user has that rank already; give each item its own": answers.duplicated(
            ["user", "rank"]
        ),
        "the user has fewer items; number ranks from 1 without a gap": rank > rows,
    }
    for problem, where in problems.items():
        if where.any():
            (wrong,) = answers.iloc[[int(np.argmax(where))]].to_dict("records")
            values = ", ".join(f"{column} {wrong[column]!r}" for column in COLUMNS)
            raise DataError(f"{name} recommends {values}: {problem}")
