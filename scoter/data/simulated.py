"""A simulated shop whose next purchases follow an ordered hidden plan, with its best recall
computed exactly.

There are C brands and C categories, and hidden numberings of both from 0 to C - 1. A purchase has a
brand, drawn uniformly and independently, and a category. From a shopper's K-th purchase on, the
category follows from the plan Z = (z_1, ..., z_K), the numbers of the brands of the K purchases
before, oldest first:

- with probability 1 - noise: category number (1 z_1 + 2 z_2 + ... + K z_K) mod C with probability
  `order` (lambda), else (z_1 + z_2 + ... + z_K) mod C, which does not change when the plan is
  rearranged;
- with probability noise: any category, uniformly.

Where C is prime and K < C, no K - 1 of the steps say anything about the next category: all of them
are needed, and at lambda = 1 their order too. So neither a single step nor a bag of steps can stand
in for the ordered plan.

The item is then drawn from the cell (category, brand), the r-th item of a cell with probability
proportional to 1 / r. Titles and categories do not reveal brands; only the column `brand` does.
Item numbers are a random permutation.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from scoter.config import SimulatedConfig
from scoter.data.shop_words import BRANDS, PRODUCTS, STYLES
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.types import Catalog, InteractionLog

_FIRST_SECOND = 1_704_067_200  # 2024-01-01, UTC
_DAY = 86_400
_MOST_PLANS = 1_000_000


@dataclass(frozen=True, eq=False)
class SimulatedShop:
    """A log, its catalogue, and the ground truth behind them.

    `weights[i]` is the probability of item i within its (category, brand) cell; `brand_numbers[b]`
    is the hidden number of brand b, and `categories_by_number[n]` the category whose hidden number
    is n. Brands and categories are places in the catalogue's lists of names here.
    """

    config: SimulatedConfig
    log: InteractionLog
    catalog: Catalog
    item_brands: Int[np.ndarray, " items"]
    item_categories: Int[np.ndarray, " items"]
    weights: Float[np.ndarray, " items"]
    brand_numbers: Int[np.ndarray, " brands"]
    categories_by_number: Int[np.ndarray, " brands"]

    def __post_init__(self) -> None:
        for truth in (
            self.item_brands,
            self.item_categories,
            self.weights,
            self.brand_numbers,
            self.categories_by_number,
        ):
            truth.setflags(write=False)

    def category_probabilities(
        self, plans: Int[np.ndarray, "rows steps"]
    ) -> Float[np.ndarray, "rows brands"]:
        """P(next category | the brands of the last K purchases, oldest first)."""
        count, noise, order = self.config.brands, self.config.noise, self.config.order
        result = np.full((len(plans), count), noise / count)
        rows = np.arange(len(plans))
        for by_order, share in ((True, order), (False, 1 - order)):
            result[
                rows, self.categories_by_number[_follow(self.brand_numbers[plans], by_order, count)]
            ] += (1 - noise) * share
        return result

    def item_probabilities(
        self, plans: Int[np.ndarray, "rows steps"]
    ) -> Float[np.ndarray, "rows items"]:
        """P(next item | the brands of the last K purchases, oldest first): the Bayes-optimal
        ranking's scores."""
        return (
            self.category_probabilities(plans)[:, self.item_categories]
            * self.weights
            / self.config.brands
        )

    def best_recall(self, k: int) -> float:
        """The highest Recall@k that any ranker can expect from a full history; exact, no estimate.

        It holds for targets after at least `plan_length` purchases, which every validation and test
        target is.
        """
        return _mean_top_mass(
            self._plan_probabilities, np.ones(len(self._plans)), self._in_category, k
        )

    def best_recall_unordered(self, k: int) -> float:
        """The same for a ranker that sees the last K brands as a multiset only: what is left
        without their order."""
        groups, plan_groups = np.unique(np.sort(self._plans, axis=1), axis=0, return_inverse=True)
        sizes = np.bincount(plan_groups.ravel()).astype(float)
        summed = np.zeros((len(groups), self.config.brands))
        np.add.at(summed, plan_groups.ravel(), self._plan_probabilities)
        return _mean_top_mass(summed / sizes[:, None], sizes, self._in_category, k)

    def best_recall_unplanned(self, k: int) -> float:
        """The same for a ranker that knows no brands, only how often each item is bought after a
        plan."""
        return _mean_top_mass(
            self._plan_probabilities.mean(axis=0)[None], np.ones(1), self._in_category, k
        )

    @cached_property
    def _plans(self) -> Int[np.ndarray, "plans steps"]:
        count, length = self.config.brands, self.config.plan_length
        if count**length > _MOST_PLANS:
            raise ConfigError(
                f"brands={count} and plan_length={length} make {count**length:,} plans; the "
                f"exact best recall lists them all, "
                f"so keep brands ** plan_length at or below {_MOST_PLANS:,}"
            )
        return np.stack(np.unravel_index(np.arange(count**length), (count,) * length), axis=1)

    @cached_property
    def _plan_probabilities(self) -> Float[np.ndarray, "plans brands"]:
        return self.category_probabilities(self._plans)

    @property
    def _in_category(self) -> Float[np.ndarray, " category_items"]:
        return np.tile(_zipf(self.config.items_per_cell), self.config.brands) / self.config.brands


def simulate(config: SimulatedConfig, seed: int) -> SimulatedShop:
    """Draw a shop and its shoppers. One seed gives one catalogue and plan, whatever the number of
    shoppers.

    Raises:
        ConfigError: a setting is out of range; the message names it.

    Example:
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
    categories, brands, ranks = (
        axis.ravel()[np.argsort(cells.ravel())] for axis in np.indices(cells.shape)
    )
    brand_numbers, categories_by_number = rng.permutation(count), rng.permutation(count)
    return SimulatedShop(
        config=config,
        log=_shop(
            config,
            cells,
            brand_numbers,
            categories_by_number,
            derive_seed(seed, "simulated", "shoppers"),
        ),
        catalog=_catalog(config, categories, brands, rng),
        item_brands=brands,
        item_categories=categories,
        weights=_zipf(per_cell)[ranks],
        brand_numbers=brand_numbers,
        categories_by_number=categories_by_number,
    )


def _check(config: SimulatedConfig) -> None:
    most = min(len(BRANDS), len(PRODUCTS))
    limits = (
        ("users", config.users >= 1, "at least 1"),
        ("brands", 2 <= config.brands <= most, f"between 2 and {most}"),
        ("items_per_cell", config.items_per_cell >= 1, "at least 1"),
        ("plan_length", config.plan_length >= 1, "at least 1"),
        ("order", 0 <= config.order <= 1, "between 0 and 1"),
        ("noise", 0 <= config.noise <= 1, "between 0 and 1"),
        (
            "min_length",
            config.min_length >= config.plan_length + 2,
            "at least plan_length + 2, so that targets follow a plan",
        ),
        ("max_length", config.max_length >= config.min_length, "at least min_length"),
    )
    for name, good, wanted in limits:
        if not good:
            raise ConfigError(
                f"simulated shop: {name} is {getattr(config, name)}; it must be {wanted}"
            )


def _shop(
    config: SimulatedConfig,
    cells: Int[np.ndarray, "categories brands cell"],
    brand_numbers: Int[np.ndarray, " brands"],
    categories_by_number: Int[np.ndarray, " brands"],
    seed: int,
) -> InteractionLog:
    rng = np.random.default_rng(seed)
    users, longest, steps, count = (
        config.users,
        config.max_length,
        config.plan_length,
        config.brands,
    )
    brands = rng.integers(count, size=(users, longest))
    plans = np.lib.stride_tricks.sliding_window_view(brands, steps, axis=1)[
        :, : longest - steps
    ].reshape(-1, steps)
    numbers = brand_numbers[plans]
    followed = np.where(
        rng.random(len(plans)) < config.order,
        _follow(numbers, True, count),
        _follow(numbers, False, count),
    )
    free = rng.integers(count, size=(users, longest))
    planned = categories_by_number[followed].reshape(users, longest - steps)
    noisy = rng.random(planned.shape) < config.noise
    categories = np.concatenate(
        [free[:, :steps], np.where(noisy, free[:, steps:], planned)], axis=1
    )
    items = cells[
        categories,
        brands,
        rng.choice(config.items_per_cell, size=brands.shape, p=_zipf(config.items_per_cell)),
    ]
    times = _FIRST_SECOND + np.cumsum(rng.integers(1, 14 * _DAY, size=brands.shape), axis=1)
    lengths = rng.integers(config.min_length, longest + 1, size=users)
    keep = np.arange(longest) < lengths[:, None]
    keys = tuple(f"shopper-{user}" for user in range(users))
    return InteractionLog(items[keep], np.concatenate([[0], np.cumsum(lengths)]), keys, times[keep])


def _catalog(
    config: SimulatedConfig,
    categories: Int[np.ndarray, " items"],
    brands: Int[np.ndarray, " items"],
    rng: np.random.Generator,
) -> Catalog:
    names = list(PRODUCTS)
    titles, products = [""] * len(categories), [""] * len(categories)
    for category in range(config.brands):
        nouns = PRODUCTS[names[category]]
        members = rng.permutation(np.flatnonzero(categories == category))
        variants = len(nouns) * len(STYLES)
        for place, item in enumerate(members):
            noun, style = nouns[place % len(nouns)], STYLES[place // len(nouns) % len(STYLES)]
            model = f" mark {place // variants + 1}" if place >= variants else ""
            titles[item], products[item] = (
                f"{style} {noun}{model} for {names[category].lower()}",
                noun,
            )
    prices = np.round(np.exp(rng.normal(3.0, 0.7, len(categories))), 2)
    return Catalog(
        keys=tuple(f"item-{item}" for item in range(len(categories))),
        columns={
            "title": tuple(titles),
            "brand": tuple(BRANDS[brand] for brand in brands),
            "categories": tuple(
                (names[category], product)
                for category, product in zip(categories, products, strict=True)
            ),
            "price": tuple(float(price) for price in prices),
        },
    )


def _zipf(count: int) -> Float[np.ndarray, " ranks"]:
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


def _follow(
    numbers: Int[np.ndarray, "rows steps"], by_order: bool, count: int
) -> Int[np.ndarray, " rows"]:
    """The number of the category that follows each plan of brand numbers."""
    weights = (
        np.arange(1, numbers.shape[1] + 1) if by_order else np.ones(numbers.shape[1], np.int64)
    )
    return numbers @ weights % count


def _mean_top_mass(
    category_probabilities: Float[np.ndarray, "rows brands"],
    rows_weight: Float[np.ndarray, " rows"],
    in_category: Float[np.ndarray, " category_items"],
    k: int,
) -> float:
    """The weighted mean over rows of the probability of the k likeliest items; rows alike up to
    order are done once."""
    total = category_probabilities.shape[1] * len(in_category)
    if not 1 <= k <= total:
        raise ConfigError(
            f"k is {k}; a recall in this shop needs k between 1 and {total}, its number of items"
        )
    kinds, kind_of = np.unique(
        np.sort(category_probabilities, axis=1).round(12), axis=0, return_inverse=True
    )
    mass = [np.sort(np.outer(kind, in_category), axis=None)[-k:].sum() for kind in kinds]
    return float(np.average(np.asarray(mass)[kind_of.ravel()], weights=rows_weight))
