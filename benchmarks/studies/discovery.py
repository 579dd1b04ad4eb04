"""Whether mining finds the planted pattern, and beats other ways to a pattern at equal calls.

Each seed draws its own shoppers and patterns, and its own simulated shop. The catalogue reasoner
writes the chains in place of a language model, one for each fresh shopper. The rival `best
generated` tries as many patterns as mining on the same shoppers; the others choose nothing, so they
use no calls to choose. Over several seeds an interval is Student's.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from scipy.stats import t

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import interval
from scoter.config import DiscoverConfig, Experiment
from scoter.data.simulated import simulate
from scoter.errors import ConfigError
from scoter.experiments import simulated
from scoter.reasoning.discovery.generate import labels
from scoter.reasoning.discovery.mine import discover
from scoter.seeding import derive_seed
from scoter.stages.context import VERSIONS, Context, sentence_encoder
from scoter.stages.data import open_data, prepare
from scoter.storage.store import Store, git_commit
from scoter.types import ReasoningPattern, Step

FILE, MODEL_FILE = "discovery.json", "discovery-smollm2.json"


def measure(
    seeds: int, results: Path = RESULTS, config: DiscoverConfig | None = None, first_seed: int = 0
) -> Row:
    """Run discovery with the seeds `first_seed`, ... and write each into `discovery.json`.

    Seeds that the file holds for the same configuration and version are not run again. Seeds from
    another `first_seed` than 0 are kept apart: the method was made while looking at the first ten.
    """
    shop = simulated(order=1.0)  # whose data and text are used: all depends on the order
    config = config or shop.discover
    chosen = replace(shop, discover=config)
    name = f"simulated from seed {first_seed}" if first_seed else "simulated"
    about = {"reasoner": study.REASONER, "config": asdict(config), "version": VERSIONS["discover"]}
    rows = {row["seed"]: row for row in kept_rows(results / FILE, name, about)}
    for seed in range(first_seed, first_seed + seeds):
        if seed not in rows:
            rows[seed] = {"commit": git_commit(), **one_seed(chosen, seed)}
            study.put(results / FILE, name, summed_up(about, rows))
    return summed_up(about, rows)


def summed_up(about: Row, rows: Mapping[int, Row]) -> Row:
    """All rows in the order of their seeds, their summary, and the commit of the last."""
    ordered = [rows[seed] for seed in sorted(rows)]
    counted = {"commit": ordered[-1]["commit"], "seeds": len(ordered)}
    return {**about, **counted, "summary": summarise(ordered), "rows": ordered}


def kept_rows(path: Path, name: str, about: Row) -> list[Row]:
    """The rows of an earlier measurement `about` the same thing, each with its commit."""
    kept = study.read(path, {}).get(name, {})
    if any(kept.get(part) != value for part, value in json.loads(json.dumps(about)).items()):
        return []
    return [{"commit": kept["commit"], **row} for row in kept["rows"]]


def one_seed(chosen: Experiment, seed: int) -> Row:
    """One discovery on the shop of a seed, and whether it found what was planted there."""
    from scoter.recommenders.frozen import Frozen
    from scoter.recommenders.step_sources import spoken_items

    context, planted = Context(chosen, Store(), seed, lambda line: None), chosen.data.simulated
    assert planted is not None
    _, catalog, split = open_data(prepare(context, None))
    config, encode = chosen.discover, sentence_encoder(context)
    vectors = encode(spoken_items(catalog, chosen.text.fields))
    train = Frozen(config, catalog, chosen.semantic_ids, chosen.text, encode, seed)
    inputs = (split, catalog, config, encode, vectors)
    mined = discover(*inputs, derive_seed(seed, "discover"), train)
    return {
        "seed": seed,
        "pattern": list(labels(mined.pattern)),
        "distilled_by": mined.distilled_by,
        "recall": asdict(mined.recall),
        "ndcg": asdict(mined.ndcg),
        "optimism": asdict(mined.optimism),
        "calls": asdict(mined.calls),
        "recovered": recovered(mined.pattern, planted.plan_length),
        "best_possible_recall": simulate(planted, seed).best_recall(config.top_k),
        "rivals": {name: asdict(rival) for name, rival in mined.rivals.items()},
    }


def recovered(pattern: ReasoningPattern, plan_length: int) -> bool:
    """Whether the pattern holds the planted trail: the last brands bought, oldest first.

    >>> older, newer = (Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (2, 1))
    >>> orders = (older, Step("price_band"), newer), (newer, older)
    >>> tuple(recovered(ReasoningPattern(steps), plan_length=2) for steps in orders)
    (True, False)
    """
    names = [step.label() for step in pattern.steps]
    lags = range(plan_length, 0, -1)
    trail = [Step("recent_item", {"lag": lag, "field": "brand"}).label() for lag in lags]
    places = [names.index(name) if name in names else -1 for name in trail]
    return -1 not in places and places == sorted(places)


def summarise(rows: Sequence[Row]) -> Row:
    """Over the seeds: patterns recovered, mean recall, and the gain in NDCG over each rival."""
    gains = {
        name: over_seeds([row["rivals"][name]["ndcg_gain"] for row in rows])
        for name in rows[0]["rivals"]
    }
    recall = sum(row["recall"]["mean"] for row in rows) / len(rows)
    found = sum(row["recovered"] for row in rows)
    return {"recall": recall, "gains": gains, "recovered": found}


def over_seeds(gains: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over seeds with Student's 95 % interval; of one seed its own interval over shoppers.

    >>> gains = [{"mean": mean, "low": mean - 0.1, "high": mean + 0.1} for mean in (0.2, 0.4)]
    >>> mean = over_seeds(gains)
    >>> round(mean["low"], 4), round(mean["mean"], 4), mean["seeds_with_low_above_zero"]
    (-0.9706, 0.3, 2)
    """
    means = [gain["mean"] for gain in gains]
    mean, above = sum(means) / len(means), sum(gain["low"] > 0 for gain in gains)
    low, high = gains[0]["low"], gains[0]["high"]
    if len(means) > 1:
        deviation = math.sqrt(sum((value - mean) ** 2 for value in means) / (len(means) - 1))
        half = float(t.ppf(0.975, len(means) - 1)) * deviation / math.sqrt(len(means))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "seeds_with_low_above_zero": above}


def keep_model_run(folder: Path, results: Path = RESULTS) -> Row:
    """Keep what `scoter discover --language-model` made, with its commit and configuration."""
    try:
        names = ("pattern.json", "manifest.json")
        outcome, manifest = (json.loads((folder / name).read_text()) for name in names)
        kept = {"commit": manifest["commit"], "config": manifest["config"]["discover"], **outcome}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        problem = f"artefact = {folder} is no discovery with a language model ({why})"
        raise ConfigError(problem) from None
    study.write(results / MODEL_FILE, kept, sort_keys=True)
    return kept


def as_text(outcome: Row) -> str:
    summary, rows, count = outcome["summary"], outcome["rows"], outcome["seeds"]
    lines = [f"simulated, {count} seeds, {outcome['reasoner']}, commit {outcome['commit'][:10]}"]
    for row in rows:
        mark, pattern = "recovered" if row["recovered"] else "MISSED   ", " > ".join(row["pattern"])
        lines.append(f"seed {row['seed']}: {mark}  recall {row['recall']['mean']:.4f}  {pattern}")
    lines.append(f"planted pattern recovered in {summary['recovered']} of {count} seeds")
    heads = ("mean gain in NDCG, 95 % interval", "seeds above zero", "calls")
    lines.append("{:24}{:>38} {:>18} {:>22}".format("mined minus", *heads))
    for name, gain in summary["gains"].items():
        used = "{choosing:,} + {fresh:,}".format(**rows[0]["rivals"][name]["calls"])
        above = gain["seeds_with_low_above_zero"]
        lines.append(f"{name:24}{interval(gain):>38} {above:>18} {used:>22}")
    calls = "mined: {choosing:,} calls to choose, {fresh:,} at fresh shoppers"
    return "\n".join([*lines, calls.format(**rows[0]["calls"])])


@click.command()
@study.option("--seeds", type=click.IntRange(1), default=10, help="How many.")
@study.option("--first-seed", type=click.IntRange(0), default=0)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--artefact", type=study.PATH, help="Instead: keep what `scoter discover` made here.")
@study.results_option
def command(
    seeds: int, first_seed: int, as_json: bool, artefact: Path | None, results: Path
) -> None:
    if artefact is not None:
        kept = keep_model_run(artefact, results)
        model, asked = kept["provenance"]["model"], kept["counts"]["requests"]
        click.echo(f"kept: {model}, {asked} chains asked for. {kept['note']}")
        return
    outcome = measure(seeds, results, first_seed=first_seed)
    click.echo(json.dumps(outcome) if as_json else as_text(outcome))
