"""A *simulated* A/B test of TIGER against SCoTER on the simulated shop; no real shopper took part.

Both arms are those of the experiment `simulated-smoke`. Every shopper arrives once with the history
of the test split, and sees the ten recommendations of one arm, chosen by a fair coin. The shopper
wants one item, drawn from the shop's true distribution of the next purchase after this history
(`SimulatedShop.item_probabilities`). If it is shown at place r, it is seen with probability
`attention` to the power r - 1, then bought at its price; otherwise nothing is bought. So
recommendations persuade nobody, and there is no basket, no return and no second visit.

Gross merchandise value (GMV) is in the shop's currency for each shopper who arrives; conversion is
the share who buy. Intervals are percentile bootstraps over shoppers. The split test compares
different shoppers, as a real one must. The paired test shows each shopper both lists with the same
wanted item and patience, which only a simulation can do. `expected` is the exact mean over both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.studies import study
from benchmarks.studies.discovery import MODEL_FILE
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import interval
from scoter.errors import ConfigError
from scoter.seeding import derive_seed

FILE = "online.json"
ARMS = ("tiger", "scoter")  # control, treated
SHOWN = 10
DRAWS = 2000

Chances = Float[np.ndarray, "shoppers items"]  # of the next purchase; rows sum to one
Shown = Int[np.ndarray, "shoppers shown"]  # recommended items in order, -1 where there is none


@dataclass(frozen=True, eq=False)
class Visits:
    """What each shopper wants and how patient they are, whichever list they see."""

    wanted: Int[np.ndarray, " shoppers"]  # an item
    patience: Float[np.ndarray, " shoppers"]  # between 0 and 1; low is patient


def arrive(chances: Chances, seed: int) -> Visits:
    """Draw every shopper's wanted item and patience."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(chances, axis=1)
    wanted = (ends < rng.random(len(chances))[:, None] * ends[:, -1:]).sum(axis=1)
    return Visits(wanted, rng.random(len(chances)))


def bought(visits: Visits, shown: Shown, attention: float) -> Bool[np.ndarray, " shoppers"]:
    """Who buys the wanted item from the list that they see, by the model at the head of this file.

    >>> visits = Visits(np.array([4, 4, 4]), np.array([0.1, 0.99, 0.1]))
    >>> bought(visits, np.array([[4, 7], [7, 4], [7, 8]]), attention=0.9).tolist()
    [True, False, False]
    """
    hits = shown == visits.wanted[:, None]
    return hits.any(axis=1) & (visits.patience < attention ** hits.argmax(axis=1))


def expected(
    chances: Chances, shown: Shown, prices: Float[np.ndarray, " items"], attention: float
) -> dict[str, float]:
    """The exact mean conversion and GMV of a shopper, over wanted items and patience."""
    items, seen = np.maximum(shown, 0), attention ** np.arange(shown.shape[1])
    sold = np.take_along_axis(chances, items, axis=1) * (shown >= 0) * seen
    means = {"conversion": sold, "gmv": sold * prices[items]}
    return {name: float(worth.sum(axis=1).mean()) for name, worth in means.items()}


def compare(
    control: Float[np.ndarray, " some"],
    treated: Float[np.ndarray, " others"],
    seed: int,
    paired: bool,
    draws: int = DRAWS,
) -> Row:
    """Treated minus control, and that over control's mean (`lift`), with 95 % percentile intervals.

    `paired` resamples shoppers jointly. There is no lift where a resample of control has mean 0.
    """
    if not len(control) or not len(treated) or (paired and len(control) != len(treated)):
        sizes = f"the arms hold {len(control)} and {len(treated)} shoppers"
        raise ConfigError(f"{sizes}; each needs one, and paired arms as many")
    rng = np.random.default_rng(seed)
    means = np.empty((2, draws))
    for draw in range(draws):
        rows = rng.integers(len(control), size=len(control))
        means[0, draw] = control[rows].mean()
        others = rows if paired else rng.integers(len(treated), size=len(treated))
        means[1, draw] = treated[others].mean()
    gain = _estimate(treated.mean() - control.mean(), means[1] - means[0])
    if means[0].min() <= 0:
        return {**gain, "lift": None}
    return {**gain, "lift": _estimate(treated.mean() / control.mean() - 1, means[1] / means[0] - 1)}


def _estimate(mean: float, draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def language_model_cost(
    visits: int, results: Path, prices: tuple[float, float], tokens_per_second: float
) -> Row:
    """What writing a chain for every visit *online* would cost; SCoTER writes its chains before.

    Prices (of a million prompt and completion tokens) and the speed of writing are assumptions.
    Token counts are those of SmolLM2's chains on Beauty, sent-back replies included.
    """
    counts = study.read(results / MODEL_FILE, {})["counts"]
    asked, names = counts["requests"], ("prompt_tokens", "completion_tokens")
    prompt, completion = (counts[name] / asked for name in names)
    cost = (prompt * prices[0] + completion * prices[1]) / 1e6
    return {
        "prompt_tokens_per_chain": prompt,
        "completion_tokens_per_chain": completion,
        "measured_on": f"{asked} chains of SmolLM2 on Beauty ({MODEL_FILE})",
        "price_per_million_tokens": list(prices),
        "cost_per_visit": cost,
        "cost_of_all_visits": cost * visits,
        "tokens_per_second": tokens_per_second,
        "seconds_added_per_visit": completion / tokens_per_second,
        "calls_of_scoter": 0,
    }


def one_seed(seed: int, attention: float) -> Row:
    """Train both arms (or read them from the store), and simulate the test."""
    from scoter.data.simulated import simulate
    from scoter.experiments import experiment
    from scoter.pipeline import make_inputs
    from scoter.stages.context import Context
    from scoter.stages.data import open_data
    from scoter.stages.models import rank, train
    from scoter.stages.networks import open_rankings
    from scoter.storage.store import Store, git_commit

    chosen = experiment("simulated-smoke")
    context = Context(chosen, Store(), seed, lambda line: None)
    inputs, lists = make_inputs(context), {}
    for name in ARMS:
        method = chosen.methods[name]
        trained = train(context, name, method, inputs)
        rankings = open_rankings(rank(context, method, trained, inputs), "test")
        lists[name] = rankings.items[:, :SHOWN]
    _, catalog, split = open_data(inputs.data)
    assert chosen.data.simulated is not None
    shop, histories = simulate(chosen.data.simulated, seed), split.histories("test")
    last = [histories.sequence(row)[-shop.config.plan_length :] for row in range(len(histories))]
    chances = shop.item_probabilities(shop.item_brands[np.stack(last)])
    prices = np.array(catalog.columns["price"], float)
    test = split_test(chances, prices, lists, seed, attention)
    return {"seed": seed, "commit": git_commit(), **test}


def split_test(
    chances: Chances,
    prices: Float[np.ndarray, " items"],
    lists: Mapping[str, Shown],
    seed: int,
    attention: float,
) -> Row:
    """The test of two arms' lists, first the control: split, paired, and the exact expectation."""
    visits = arrive(chances, derive_seed(seed, "visits"))
    treated = np.random.default_rng(derive_seed(seed, "coin")).random(len(chances)) < 0.5
    sales = [bought(visits, shown, attention).astype(float) for shown in lists.values()]
    split, paired = {}, {}
    for name, worth in {"conversion": 1.0, "gmv": prices[visits.wanted]}.items():
        a, b = (sold * worth for sold in sales)
        draws = derive_seed(seed, "split", name)
        split[name] = compare(a[~treated], b[treated], draws, paired=False)
        paired[name] = compare(a, b, derive_seed(seed, "paired", name), paired=True)
    return {
        "shoppers": len(chances),
        "in_each_arm": [int((~treated).sum()), int(treated.sum())],
        "arms": {arm: expected(chances, shown, prices, attention) for arm, shown in lists.items()},
        "split": split,
        "paired": paired,
    }


def measure(
    seeds: Sequence[int] = (0,),
    results: Path = RESULTS,
    attention: float = 0.95,
    prices: tuple[float, float] = (0.15, 0.6),
    tokens_per_second: float = 50.0,
) -> Row:
    """Simulate the seeds that are missing; write `online.json` and return it."""
    if not 0 < attention <= 1 or tokens_per_second <= 0:
        raise ConfigError(
            f"attention = {attention} must be above 0 and at most 1, tokens_per_second = "
            f"{tokens_per_second} above 0"
        )
    path = results / FILE
    kept = study.read(path, {"rows": [], "attention": attention})
    rows = kept["rows"] if kept["attention"] == attention else []
    for seed in seeds:
        if seed in [row["seed"] for row in rows]:
            continue
        rows = study.merged(rows, [one_seed(seed, attention)], ["seed"])
        visits = sum(row["shoppers"] for row in rows)
        cost = language_model_cost(visits, results, prices, tokens_per_second)
        about = {"what": "a simulation, no real shoppers", "control": ARMS[0], "treated": ARMS[1]}
        kept = {**about, "attention": attention, "rows": rows, "online_language_model": cost}
        study.write(path, kept)
    return kept


def as_text(outcome: Row) -> str:
    lines = ["A/B test, {what}: {treated} minus {control}, attention {attention}".format(**outcome)]
    for row in outcome["rows"]:
        lines.append(f"seed {row['seed']}, {row['shoppers']:,} shoppers:")
        for name in ("conversion", "gmv"):
            exact = " and ".join(f"{arm[name]:.4f}" for arm in row["arms"].values())
            lines.append(f"  {name:10} expected {exact}")
            for kind in ("split", "paired"):
                gain, relative = row[kind][name], ", lift {mean:+.1%} [{low:+.1%}, {high:+.1%}]"
                lift = relative.format(**gain["lift"]) if gain["lift"] else ""
                lines.append(f"  {kind:>21} {interval(gain)}{lift}")
    cost = outcome["online_language_model"]
    lines.append(
        "a chain online for each visit: {prompt_tokens_per_chain:.0f} + "
        "{completion_tokens_per_chain:.0f} tokens, {cost_per_visit:.6f} a visit at "
        "{price_per_million_tokens} a million, {seconds_added_per_visit:.1f} s at "
        "{tokens_per_second:g} tokens a second; SCoTER: none".format(**cost)
    )
    return "\n".join(lines)


@click.command()
@study.seeds_option
@study.option("--attention", default=0.95, help="Chance to look one place on.")
@study.option(
    "--prices", type=float, nargs=2, default=(0.15, 0.6), help="Of a million tokens in and out."
)
@study.option("--tokens-per-second", default=50.0, help="How fast a language model writes.")
@study.results_option
def command(
    seeds: tuple[int, ...],
    attention: float,
    prices: tuple[float, float],
    tokens_per_second: float,
    results: Path,
) -> None:
    click.echo(as_text(measure(seeds, results, attention, prices, tokens_per_second)))
