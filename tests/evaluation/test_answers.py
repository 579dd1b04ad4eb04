"""What a user's own recommender may answer, and what is refused with the row that is wrong."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import scoter
from scoter.errors import ConfigError, DataError

ITEMS = [f"item-{number}" for number in range(25)]


class Fixed:
    """Recommends the same items to everyone, then changes the answer as the test says."""

    def __init__(self, change: Callable[[pd.DataFrame], Any]) -> None:
        self.change = change

    def fit(self, dataset: scoter.Dataset, *, seed: int = 0) -> None:
        raise AssertionError("not before every recommender is known to be one")

    def recommend(self, users: Any = None, k: int = 10, *, histories: Any = None) -> Any:
        rows = [(user, ITEMS[n], -1.0 * n, n + 1) for user in users for n in range(k)]
        return self.change(pd.DataFrame(rows, columns=["user", "item", "score", "rank"]))


def changed(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The third row with another value."""

    def change(answers: pd.DataFrame) -> pd.DataFrame:
        answers[column] = answers[column].astype(object)
        answers.loc[2, column] = value
        return answers.infer_objects()

    return change


@pytest.fixture(scope="module")
def shop() -> scoter.Dataset:
    return scoter.load_dataset("simulated", users=30)


REFUSED = {
    "a list": (lambda _: [[1, 2]], r"with a list; return a DataFrame with columns user, item"),
    "another column": (
        lambda answers: answers.rename(columns={"item": "items"}),
        r"without item \(it has user, items, score, rank\); return",
    ),
    "text": (changed("score", "high"), "a score of type object; give numbers"),
    "no number": (changed("score", math.nan), r"item 'item-2', score nan, rank 3: its score is"),
    "half a rank": (changed("rank", 1.5), r"rank 1\.5: its rank is none of 1 to 20"),
    "no rank": (changed("rank", math.nan), "rank nan: its rank is none of 1 to 20"),
    "rank nought": (changed("rank", 0), "rank 0: its rank is none of 1 to 20; return the k best"),
    "a rank twice": (changed("rank", 1), "rank 1: the user has that rank already; give each"),
    "an item twice": (changed("item", "item-0"), "the user has that item already; return distinct"),
    "a gap": (lambda answers: answers.drop(index=2), "rank 20: the user has fewer items; number"),
    "a stranger": (changed("user", "nobody"), "user 'nobody', .* its user is not in the dataset"),
    "an unknown item": (changed("item", "x"), "item 'x', .* its item is not in the dataset; use"),
    "a number": (changed("item", 7), "item 7, .*: its item is not in the dataset; use the keys"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_answer_that_is_no_ranking_names_the_row(case: str, shop: scoter.Dataset) -> None:
    change, message = REFUSED[case]
    with pytest.raises(DataError, match=f"^Fixed recommends .*{message}"):
        scoter.evaluate(Fixed(change), shop)


def test_the_order_of_rows_and_whole_floats_do_not_matter(shop: scoter.Dataset) -> None:
    wanted = scoter.evaluate(Fixed(lambda answers: answers), shop).ranks.ranks
    assert wanted.any()
    shuffled = Fixed(lambda answers: answers.sample(frac=1, random_state=0).astype({"rank": float}))
    assert scoter.evaluate(shuffled, shop).ranks.ranks.tolist() == wanted.tolist()
    plain = [ITEMS[:20].index(item) + 1 if item in ITEMS[:20] else 0 for item in targets(shop)]
    assert wanted.tolist() == plain


def test_users_without_an_answer_are_misses_and_are_counted(shop: scoter.Dataset) -> None:
    first = shop.users[0]
    model = Fixed(lambda answers: answers[answers["user"] != first])
    with pytest.warns(UserWarning, match="nothing to 1 of 30 users; each of them counts as a miss"):
        found = scoter.evaluate(model, shop)
    assert found.per_user.set_index("user").loc[first, "rank"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nothing = scoter.evaluate(Fixed(lambda answers: answers[:0]), shop)
    assert not nothing.ranks.ranks.any()


@pytest.mark.parametrize("model", ["tiger", Fixed, object()])
def test_what_is_no_recommender_is_refused_before_any_is_fitted(model, shop) -> None:
    models = {"first": Fixed(lambda answers: answers), "second": model}
    with pytest.raises(ConfigError, match="is no recommender; give an object with fit and recomm"):
        scoter.compare(models, shop)


def test_a_recommend_that_takes_other_arguments_is_refused(shop: scoter.Dataset) -> None:
    model = Fixed(len)
    model.recommend = lambda users: len(users)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigError, match=r"recommend\(users, k, histories=\.\.\.\): too many"):
        scoter.evaluate(model, shop)


def targets(shop: scoter.Dataset) -> list[str]:
    return [shop.catalog.keys[item] for item in shop.split.targets("test").items]
