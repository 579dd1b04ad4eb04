"""A simulated shop whose next purchases follow an ordered hidden plan; its best recall is exact.

There are C brands and C categories, and hidden numberings of both from 0 to C - 1. A purchase has a
brand, drawn uniformly and independently, and a category. After a shopper's first K purchases, the
category follows from the plan Z = (z_1, ..., z_K), the numbers of the brands of the K purchases
before, oldest first:

- with probability 1 - noise: category number (1 z_1 + 2 z_2 + ... + K z_K) mod C with probability
  `order` (lambda), else (z_1 + z_2 + ... + z_K) mod C, which does not depend on the plan's order;
- with probability noise: any category, uniformly.

Where C is prime and K < C, no K - 1 of the steps say anything about the next category: all of them
are needed, and at lambda = 1 their order too. The item is then drawn from the cell (category,
brand), the r-th item of a cell with probability proportional to 1 / r. Titles and categories do not
reveal brands. Item numbers are a random permutation.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

from scoter.config import SimulatedConfig
from scoter.data.shop_words import BRANDS, PRODUCTS, STYLES
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.types import Catalog, Frozen, InteractionLog

Plans = Int[np.ndarray, "rows steps"]
Items = Int[np.ndarray, " items"]
Hidden = Int[np.ndarray, " brands"]

_FIRST_SECOND = 1_704_067_200  # 2024-01-01, UTC
_DAY = 86_400  # seconds
_MOST_PLANS = 1_000_000


@dataclass(frozen=True, eq=False)
class SimulatedShop(Frozen):
    """A log, its catalogue, and the truth behind them; brands and categories are numbers."""

    config: SimulatedConfig
    log: InteractionLog
    catalog: Catalog
    item_brands: Items
    item_categories: Items
    weights: Float[np.ndarray, " items"]  # probability of an item within its cell
    brand_numbers: Hidden  # the hidden number of each brand
    categories_by_number: Hidden  # the category of each hidden number

    def category_probabilities(self, plans: Plans) -> Float[np.ndarray, "rows brands"]:
        """P(next category | the brands of the last K purchases, oldest first)."""
        count, noise, order = self.config.brands, self.config.noise, self.config.order
        result = np.full((len(plans), count), noise / count)
        rows = np.arange(len(plans))
        for by_order, share in ((True, order), (False, 1 - order)):
            following = _follow(self.brand_numbers[plans], by_order, count)
            result[rows, self.categories_by_number[following]] += (1 - noise) * share
        return result

    def item_probabilities(self, plans: Plans) -> Float[np.ndarray, "rows items"]:
        """P(next item | the brands of the last K purchases, oldest first): the best scores."""
        categories = self.category_probabilities(plans)[:, self.item_categories]
        return categories * self.weights / self.config.brands

    def best_recall(self, k: int) -> float:
        """The highest expected Recall@k of any ranker, exactly; targets follow a whole plan."""
        return self._recall(self._plan_probabilities, np.ones(len(self._plans)), k)

    def best_recall_unordered(self, k: int) -> float:
        """The same for a ranker that sees the last K brands without their order."""
        groups, plan_groups = np.unique(np.sort(self._plans, axis=1), axis=0, return_inverse=True)
        sizes = np.bincount(plan_groups.ravel()).astype(float)
        summed = np.zeros((len(groups), self.config.brands))
        np.add.at(summed, plan_groups.ravel(), self._plan_probabilities)
        return self._recall(summed / sizes[:, None], sizes, k)

    def best_recall_unplanned(self, k: int) -> float:
        """The same for a ranker that knows only how often each item is bought after a plan."""
        return self._recall(self._plan_probabilities.mean(axis=0)[None], np.ones(1), k)

    @cached_property
    def _plans(self) -> Plans:
        count, length = self.config.brands, self.config.plan_length
        if count**length > _MOST_PLANS:
            plans = f"brands={count} and plan_length={length} make {count**length:,} plans"
            most = f"use at most {_MOST_PLANS:,}, as the exact best recall lists all"
            raise ConfigError(f"{plans}; {most}")
        return np.stack(np.unravel_index(np.arange(count**length), (count,) * length), axis=1)

    @cached_property
    def _plan_probabilities(self) -> Float[np.ndarray, "plans brands"]:
        return self.category_probabilities(self._plans)

    def _recall(
        self, chances: Float[np.ndarray, "rows brands"], weights: Float[np.ndarray, " rows"], k: int
    ) -> float:
        """The weighted mean over rows of the probability of the k likeliest items."""
        brands, per_cell = self.config.brands, self.config.items_per_cell
        in_category = np.tile(_zipf(per_cell), brands) / brands
        total = brands * len(in_category)
        if not 1 <= k <= total:
            raise ConfigError(f"k is {k}; use a k between 1 and {total}, the number of items")
        ordered = np.sort(chances, axis=1).round(12)  # rows alike are done once
        kinds, kind_of = np.unique(ordered, axis=0, return_inverse=True)
        mass = [np.sort(np.outer(kind, in_category), axis=None)[-k:].sum() for kind in kinds]
        return float(np.average(np.asarray(mass)[kind_of.ravel()], weights=weights))


def simulate(config: SimulatedConfig, seed: int) -> SimulatedShop:
    """Draw a shop and its shoppers; the catalogue and the plan do not depend on their number.

    >>> shop = simulate(SimulatedConfig(users=50, brands=4, items_per_cell=2), seed=0)
    >>> shop.log.user_count, shop.catalog.item_count
    (50, 32)
    >>> shop.best_recall(5) > shop.best_recall_unordered(5) > shop.best_recall_unplanned(5)
    True
    """
    _check(config)
    rng = np.random.default_rng(derive_seed(seed, "simulated", "catalogue"))
    count, per_cell = config.brands, config.items_per_cell
    cells = rng.permutation(count * count * per_cell).reshape(count, count, per_cell)
    places = np.argsort(cells.ravel())
    categories, brands, ranks = (axis.ravel()[places] for axis in np.indices(cells.shape))
    hidden = rng.permutation(count), rng.permutation(count)
    log = _log(config, cells, *hidden, derive_seed(seed, "simulated", "shoppers"))
    catalog, weights = _catalog(config, categories, brands, rng), _zipf(per_cell)[ranks]
    return SimulatedShop(config, log, catalog, brands, categories, weights, *hidden)


def _check(config: SimulatedConfig) -> None:
    most, shortest = min(len(BRANDS), len(PRODUCTS)), config.plan_length + 2
    limits = (
        ("users", config.users >= 1, "at least 1"),
        ("brands", 2 <= config.brands <= most, f"between 2 and {most}"),
        ("items_per_cell", config.items_per_cell >= 1, "at least 1"),
        ("plan_length", config.plan_length >= 1, "at least 1"),
        ("order", 0 <= config.order <= 1, "between 0 and 1"),
        ("noise", 0 <= config.noise <= 1, "between 0 and 1"),
        ("min_length", config.min_length >= shortest, "at least plan_length + 2"),
        ("max_length", config.max_length >= config.min_length, "at least min_length"),
    )
    for name, is_good, wanted in limits:
        if not is_good:
            value = getattr(config, name)
            raise ConfigError(f"simulated shop: {name} is {value}; it must be {wanted}")


def _log(
    config: SimulatedConfig, cells: np.ndarray, numbered: Hidden, categories: Hidden, seed: int
) -> InteractionLog:
    """Histories; `cells` holds items by category, brand and rank, the others as in the shop."""
    rng = np.random.default_rng(seed)
    users, longest, count = config.users, config.max_length, config.brands
    steps, per_cell = config.plan_length, config.items_per_cell
    brands = rng.integers(count, size=(users, longest))
    windows = np.lib.stride_tricks.sliding_window_view(brands, steps, axis=1)
    numbers = numbered[windows[:, : longest - steps].reshape(-1, steps)]
    is_ordered = rng.random(len(numbers)) < config.order
    followed = np.where(is_ordered, _follow(numbers, True, count), _follow(numbers, False, count))
    free = rng.integers(count, size=(users, longest))
    planned = categories[followed].reshape(users, longest - steps)
    is_noise = rng.random(planned.shape) < config.noise
    later = np.where(is_noise, free[:, steps:], planned)
    drawn = np.concatenate([free[:, :steps], later], axis=1)
    items = cells[drawn, brands, rng.choice(per_cell, size=brands.shape, p=_zipf(per_cell))]
    times = _FIRST_SECOND + np.cumsum(rng.integers(1, 14 * _DAY, size=brands.shape), axis=1)
    lengths = rng.integers(config.min_length, longest + 1, size=users)
    keep = np.arange(longest) < lengths[:, None]
    keys = tuple(f"shopper-{user}" for user in range(users))
    return InteractionLog(items[keep], np.concatenate([[0], np.cumsum(lengths)]), keys, times[keep])


def _catalog(config: SimulatedConfig, categories: Items, brands: Items, rng: Generator) -> Catalog:
    names = list(PRODUCTS)
    titles, paths = [""] * len(categories), [("", "")] * len(categories)
    for category in range(config.brands):
        nouns = PRODUCTS[names[category]]
        members = rng.permutation(np.flatnonzero(categories == category))
        variants = len(nouns) * len(STYLES)
        for place, item in enumerate(members):
            noun, style = nouns[place % len(nouns)], STYLES[place // len(nouns) % len(STYLES)]
            model = f" mark {place // variants + 1}" if place >= variants else ""
            titles[item] = f"{style} {noun}{model} for {names[category].lower()}"
            paths[item] = (names[category], noun)
    prices = np.round(np.exp(rng.normal(3.0, 0.7, len(categories))), 2)
    columns = {"title": tuple(titles), "brand": tuple(BRANDS[brand] for brand in brands)}
    columns |= {"categories": tuple(paths), "price": tuple(prices.tolist())}
    return Catalog(tuple(f"item-{item}" for item in range(len(categories))), columns)


def _zipf(count: int) -> Float[np.ndarray, " ranks"]:
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


def _follow(numbers: Plans, by_order: bool, count: int) -> Int[np.ndarray, " rows"]:
    """The number of the category that follows each plan of brand numbers."""
    steps = numbers.shape[1]
    weights = np.arange(1, steps + 1) if by_order else np.ones(steps, np.int64)
    return numbers @ weights % count
