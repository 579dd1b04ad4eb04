"""`python -m benchmarks online`: a *simulated* A/B test of TIGER against SCoTER on the simulated
shop. No real shopper took part.

Both arms are those of the experiment `simulated-smoke`. Every shopper of the shop arrives once,
with the history that the test split shows, is put into one of two arms by a fair coin, and sees
that arm's ten recommendations.

**The model of clicks and purchases.** The shopper wants one item, drawn from the shop's own true
distribution of the next purchase after this history (`SimulatedShop.item_probabilities`). If it is
shown at place r, it is seen with probability `attention` to the power r - 1, clicked and bought at
its price; otherwise nothing is bought. So recommendations only bring forward what is wanted anyway:
they persuade nobody, and a basket, a return or a second visit does not exist here.

Gross merchandise value (GMV) is in the shop's currency for each shopper who arrives; conversion is
the share who buy. Intervals are percentile bootstraps over shoppers. The split test compares
different shoppers, as a real one must. The paired one shows each shopper both lists with common
random numbers (the same wanted item and the same patience), which only a simulation can. `expected`
is neither: the exact mean over the wanted item and the patience, for these shoppers and lists.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.studies.discovery import MODEL_FILE
from benchmarks.suite.collect import RESULTS
from scoter.errors import ConfigError

FILE = "online.json"
ARMS = ("tiger", "scoter")
SHOWN = 10
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Visits:
    """What each shopper wants and how patient they are, whichever list they see."""

    wanted: Int[np.ndarray, " shoppers"]
    patience: Float[np.ndarray, " shoppers"]


def arrive(chances: Float[np.ndarray, "shoppers items"], seed: int) -> Visits:
    """Draw every shopper's wanted item from `chances`, whose rows sum to one, and their patience
    between 0 and 1."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(chances, axis=1)
    wanted = (ends < rng.random(len(chances))[:, None] * ends[:, -1:]).sum(axis=1)
    return Visits(wanted, rng.random(len(chances)))


def bought(
    visits: Visits, shown: Int[np.ndarray, "shoppers shown"], attention: float
) -> Bool[np.ndarray, " shoppers"]:
    """Who buys what they want from the list that they see; see the head of this file.

    Example:
        >>> visits = Visits(np.array([4, 4, 4]), np.array([0.1, 0.99, 0.1]))
        >>> bought(visits, np.array([[4, 7], [7, 4], [7, 8]]), attention=0.9).tolist()
        [True, False, False]
    """
    hits = shown == visits.wanted[:, None]
    return hits.any(axis=1) & (visits.patience < attention ** hits.argmax(axis=1))


def expected(
    chances: Float[np.ndarray, "shoppers items"],
    shown: Int[np.ndarray, "shoppers shown"],
    prices: Float[np.ndarray, " items"],
    attention: float,
) -> dict[str, float]:
    """The exact mean conversion and GMV of a shopper, over what they may want and how patient they
    may be."""
    sold = (
        np.take_along_axis(chances, np.maximum(shown, 0), axis=1)
        * (shown >= 0)
        * attention ** np.arange(shown.shape[1])
    )
    return {
        "conversion": float(sold.sum(axis=1).mean()),
        "gmv": float((sold * prices[np.maximum(shown, 0)]).sum(axis=1).mean()),
    }


def compare(
    control: Float[np.ndarray, " some"],
    treated: Float[np.ndarray, " others"],
    seed: int,
    paired: bool,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Treated minus control, and that over control's mean, with 95 % percentile intervals; `paired`
    resamples shoppers jointly.

    Raises:
        ConfigError: an arm without a shopper, or paired arms of different size.
    """
    if not len(control) or not len(treated) or (paired and len(control) != len(treated)):
        raise ConfigError(
            f"the arms hold {len(control)} and {len(treated)} shoppers; each needs one, and "
            f"paired ones as many"
        )
    rng = np.random.default_rng(seed)
    means = np.empty((2, draws))
    for draw in range(draws):
        rows = rng.integers(len(control), size=len(control))
        means[0, draw] = control[rows].mean()
        means[1, draw] = treated[
            rows if paired else rng.integers(len(treated), size=len(treated))
        ].mean()
    low, high = np.quantile(means[1] - means[0], [0.025, 0.975])
    found = {"mean": float(treated.mean() - control.mean()), "low": float(low), "high": float(high)}
    lift: dict[str, float] | None = None
    if means[0].min() > 0:
        low, high = np.quantile(means[1] / means[0] - 1, [0.025, 0.975])
        lift = {
            "mean": float(treated.mean() / control.mean() - 1),
            "low": float(low),
            "high": float(high),
        }
    return {**found, "lift": lift}


def language_model_cost(
    visits: int, results: Path, price_per_million: tuple[float, float], tokens_per_second: float
) -> dict[str, Any]:
    """What writing a chain for every visit *online* would have cost; SCoTER makes no such call, its
    chains are written before.

    Tokens of a chain are those that SmolLM2 was measured to use on Beauty, sent-back replies
    included. `price_per_million` (prompt, completion) and `tokens_per_second` of writing are
    assumptions of whoever calls, not anybody's quote.
    """
    measured = json.loads((results / MODEL_FILE).read_text())["counts"]
    prompt, completion = (
        measured[name] / measured["requests"] for name in ("prompt_tokens", "completion_tokens")
    )
    cost = (prompt * price_per_million[0] + completion * price_per_million[1]) / 1e6
    return {
        "prompt_tokens_per_chain": prompt,
        "completion_tokens_per_chain": completion,
        "measured_on": f"{measured['requests']} chains of SmolLM2 on Beauty ({MODEL_FILE})",
        "price_per_million_tokens": list(price_per_million),
        "cost_per_visit": cost,
        "cost_of_all_visits": cost * visits,
        "tokens_per_second": tokens_per_second,
        "seconds_added_per_visit": completion / tokens_per_second,
        "calls_of_scoter": 0,
    }


def one_seed(seed: int, attention: float) -> dict[str, Any]:
    """Train both arms (or read them from the store), and simulate the test."""
    from scoter.data.simulated import simulate
    from scoter.experiments import experiment
    from scoter.stages.context import Context
    from scoter.stages.data import embed_items, make_semantic_ids, open_data, prepare
    from scoter.stages.models import rank, train
    from scoter.stages.networks import Inputs, open_rankings
    from scoter.stages.reasoning import pattern_and_chains
    from scoter.storage.store import Store, git_commit

    chosen = experiment("simulated-smoke")
    context = Context(chosen, Store(), seed, lambda line: None)
    data = prepare(context, None)
    ids = make_semantic_ids(context, embed_items(context, data))
    _, steps = pattern_and_chains(context, data)
    inputs, lists = Inputs(data, ids, steps), {}
    for name in ARMS:
        method = chosen.methods[name]
        trained = train(context, name, method, inputs)
        rankings = open_rankings(rank(context, method, trained, inputs), "test")
        lists[name] = rankings.items[:, :SHOWN]
    _, catalog, split = open_data(data)
    if chosen.data.simulated is None:
        raise ConfigError("the experiment simulated-smoke holds no simulated shop")
    shop, histories = simulate(chosen.data.simulated, seed), split.histories("test")
    recent = np.stack(
        [histories.sequence(row)[-shop.config.plan_length :] for row in range(len(histories))]
    )
    chances = shop.item_probabilities(shop.item_brands[recent])
    prices = np.array(catalog.columns["price"], float)
    return {
        "seed": seed,
        "commit": git_commit(),
        **split_test(chances, prices, lists, seed, attention),
    }


def split_test(
    chances: Float[np.ndarray, "shoppers items"],
    prices: Float[np.ndarray, " items"],
    lists: dict[str, Int[np.ndarray, "shoppers shown"]],
    seed: int,
    attention: float,
) -> dict[str, Any]:
    """The simulated test of two arms' lists, first the control: split, paired, and the exact
    expectation."""
    from scoter.seeding import derive_seed

    visits = arrive(chances, derive_seed(seed, "visits"))
    treated = np.random.default_rng(derive_seed(seed, "coin")).random(len(chances)) < 0.5
    sold = [bought(visits, shown, attention).astype(float) for shown in lists.values()]
    worth: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "conversion": lambda sale: sale,
        "gmv": lambda sale: sale * paid,
    }
    paid = prices[visits.wanted]
    split, paired = {}, {}
    for name, value in worth.items():
        control, other = (value(sale) for sale in sold)
        split[name] = compare(
            control[~treated], other[treated], derive_seed(seed, "split", name), paired=False
        )
        paired[name] = compare(control, other, derive_seed(seed, "paired", name), paired=True)
    return {
        "shoppers": len(chances),
        "in_each_arm": [int((~treated).sum()), int(treated.sum())],
        "arms": {
            name: expected(chances, shown, prices, attention) for name, shown in lists.items()
        },
        "split": split,
        "paired": paired,
    }


def main(
    seeds: tuple[int, ...] = (0,),
    results: Path = RESULTS,
    attention: float = 0.95,
    price_per_million: tuple[float, float] = (0.15, 0.6),
    tokens_per_second: float = 50.0,
) -> dict[str, Any]:
    """Simulate what is missing, seed by seed; write `results/online.json` and return what stands in
    it."""
    if not 0 < attention <= 1 or tokens_per_second <= 0:
        raise ConfigError(
            f"attention = {attention} must be above 0 and at most 1, tokens_per_second = "
            f"{tokens_per_second} above 0"
        )
    path = results / FILE
    kept = json.loads(path.read_text()) if path.exists() else {}
    rows = [row for row in kept.get("rows", []) if kept["attention"] == attention]
    for seed in seeds:
        if seed in [row["seed"] for row in rows]:
            continue
        rows = sorted([*rows, one_seed(seed, attention)], key=lambda row: row["seed"])
        cost = language_model_cost(
            sum(row["shoppers"] for row in rows), results, price_per_million, tokens_per_second
        )
        about = {
            "what": "a simulation, no real shoppers",
            "control": ARMS[0],
            "treated": ARMS[1],
            "attention": attention,
        }
        kept = {**about, "rows": rows, "online_language_model": cost}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def as_text(found: dict[str, Any]) -> str:
    """The outcome for people."""
    lines = [
        f"A/B test, {found['what']}: {found['treated']} minus {found['control']}, attention "
        f"{found['attention']}"
    ]
    for row in found["rows"]:
        lines.append(f"seed {row['seed']}, {row['shoppers']:,} shoppers:")
        for name in ("conversion", "gmv"):
            exact = [arm[name] for arm in row["arms"].values()]
            lines.append(f"  {name:10} expected {exact[0]:.4f} and {exact[1]:.4f}")
            for kind in ("split", "paired"):
                gain, lift = row[kind][name], row[kind][name]["lift"]
                told = (
                    ""
                    if lift is None
                    else f", lift {lift['mean']:+.1%} [{lift['low']:+.1%}, {lift['high']:+.1%}]"
                )
                lines.append(
                    f"  {kind:>21} {gain['mean']:+.4f} [{gain['low']:+.4f}, "
                    f"{gain['high']:+.4f}]{told}"
                )
    cost = found["online_language_model"]
    tokens = (
        f"{cost['prompt_tokens_per_chain']:.0f} + {cost['completion_tokens_per_chain']:.0f} tokens"
    )
    price = f"{cost['cost_per_visit']:.6f} a visit at {cost['price_per_million_tokens']} a million"
    wait = (
        f"{cost['seconds_added_per_visit']:.1f} s at {cost['tokens_per_second']:g} tokens a second"
    )
    lines.append(f"a chain online for each visit: {tokens}, {price}, {wait}; SCoTER: none")
    return "\n".join(lines)
