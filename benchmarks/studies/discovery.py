"""`python -m benchmarks discovery`: is a planted pattern found, and does mining beat other ways to
a pattern at equal calls?

Each seed draws its own shoppers and patterns (and, for the simulated shop, its own shop). The
chains are the catalogue reasoner's, a symbolic stand-in for a language model. `best generated` is
best of n without mining: as many patterns are tried on the same shoppers. The other rivals choose
nothing, so calls to choose would be of no use to them; every arm has one chain for each fresh
shopper. Over several seeds an interval is Student's, with seeds as the sample.
"""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS
from scoter.config import DiscoverConfig, Experiment
from scoter.errors import ConfigError
from scoter.types import ReasoningPattern, Step

DATASETS = ("simulated", "beauty")
FILE, MODEL_FILE = "discovery.json", "discovery-smollm2.json"
ROUNDS, PATTERNS = 4, 96


def measure(
    dataset: str,
    seeds: int,
    results: Path = RESULTS,
    config: DiscoverConfig | None = None,
    first_seed: int = 0,
) -> dict[str, Any]:
    """Run discovery with the seeds `first_seed`, ... and write what came out into `results`, seed
    by seed.

    Seeds from another `first_seed` than 0 are kept apart: the method was made while looking at the
    seeds 0 to 9. Seeds that `results` hold already, of the same configuration and version, are not
    run again, and are part of what comes back.
    """
    from scoter.stages.context import VERSIONS
    from scoter.storage.store import git_commit

    if dataset not in DATASETS or seeds < 1:
        raise ConfigError(
            f"dataset = {dataset!r}, seeds = {seeds}; choose one of {', '.join(DATASETS)}, and 1 "
            f"or more seeds"
        )
    chosen = experiment_of(dataset)
    chosen = replace(
        chosen, discover=config or replace(chosen.discover, patterns=PATTERNS, rounds=ROUNDS)
    )
    name = f"{dataset} from seed {first_seed}" if first_seed else dataset
    about = {
        "reasoner": "catalog-reasoner (symbolic)",
        "config": asdict(chosen.discover),
        "version": VERSIONS["discover"],
    }
    rows = {row["seed"]: row for row in kept_rows(results / FILE, name, about)}
    for seed in range(first_seed, first_seed + seeds):
        if seed not in rows:
            rows[seed] = {"commit": git_commit(), **one_seed(chosen, seed)}
            write_result(results / FILE, name, summed_up(about, rows))
    return summed_up(about, rows)


def summed_up(about: dict[str, Any], rows: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """All rows in the order of their seeds, with what they say together and the commit of the
    last."""
    ordered = [rows[seed] for seed in sorted(rows)]
    return {
        **about,
        "commit": ordered[-1]["commit"],
        "seeds": len(ordered),
        "summary": summarise(ordered),
        "rows": ordered,
    }


def kept_rows(path: Path, name: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier measurement `about` the same thing, each with its commit."""
    kept = json.loads(path.read_text()).get(name, {}) if path.exists() else {}
    if any(kept.get(part) != value for part, value in json.loads(json.dumps(about)).items()):
        return []
    return [{"commit": kept["commit"], **row} for row in kept["rows"]]


def experiment_of(dataset: str) -> Experiment:
    """The experiment whose data and text are used."""
    from scoter.experiments import experiment, simulated

    return simulated(order=1.0) if dataset == "simulated" else experiment(f"{dataset}-scoter")


def one_seed(chosen: Experiment, seed: int) -> dict[str, Any]:
    """One discovery, and for the simulated shop whether it found what was planted."""
    from scoter.data.simulated import simulate
    from scoter.reasoning.discovery.generate import labels
    from scoter.reasoning.discovery.mine import discover
    from scoter.seeding import derive_seed
    from scoter.semantic_ids.vectors import text_fields
    from scoter.stages.context import Context, sentence_encoder
    from scoter.stages.data import open_data, prepare
    from scoter.storage import sentence_vectors as text
    from scoter.storage.store import Store

    context = Context(chosen, Store(), seed, lambda line: None)
    _, catalog, split = open_data(prepare(context, None))
    encode = sentence_encoder(context)
    vectors = encode(text.item_texts(catalog, text_fields(catalog, chosen.text.fields)))
    found = discover(
        split, catalog, chosen.discover, encode, vectors, derive_seed(seed, "discover")
    )
    planted: dict[str, Any] = {}
    if chosen.data.simulated is not None:
        best = simulate(chosen.data.simulated, seed).best_recall(chosen.discover.top_k)
        planted = {
            "recovered": recovered(found.pattern, chosen.data.simulated.plan_length),
            "best_possible_recall": best,
        }
    return {
        "seed": seed,
        "pattern": list(labels(found.pattern)),
        "distilled_by": found.distilled_by,
        "recall": asdict(found.recall),
        "optimism": asdict(found.optimism),
        "calls": asdict(found.calls),
        **planted,
        "rivals": {name: asdict(rival) for name, rival in found.rivals.items()},
    }


def recovered(pattern: ReasoningPattern, plan_length: int) -> bool:
    """Whether the pattern holds the planted trail: the brands of the last purchases, oldest first,
    in that order.

    Example:
        >>> older, newer = (Step("recent_item", {"lag": lag, "field": "brand"}) for lag in (2, 1))
        >>> orders = (older, Step("price_band"), newer), (newer, older)
        >>> tuple(recovered(ReasoningPattern(steps), plan_length=2) for steps in orders)
        (True, False)
    """
    names = [step.label() for step in pattern.steps]
    wanted = [
        Step("recent_item", {"lag": lag, "field": "brand"}).label()
        for lag in range(plan_length, 0, -1)
    ]
    places = [names.index(name) if name in names else -1 for name in wanted]
    return -1 not in places and places == sorted(places)


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds: how often the planted pattern was recovered, mean recall, and the gain over
    each rival."""
    gains = {
        name: over_seeds([row["rivals"][name]["gain"] for row in rows])
        for name in rows[0]["rivals"]
    }
    summary: dict[str, Any] = {
        "recall": sum(row["recall"]["mean"] for row in rows) / len(rows),
        "gains": gains,
    }
    if "recovered" in rows[0]:
        summary["recovered"] = sum(row["recovered"] for row in rows)
    return summary


def over_seeds(gains: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds with Student's 95 % interval; of one seed its own interval over shoppers.

    Example:
        >>> found = over_seeds(
        ...     [{"mean": mean, "low": mean - 0.1, "high": mean + 0.1} for mean in (0.2, 0.3, 0.4)]
        ... )
        >>> round(found["low"], 4), round(found["mean"], 4), found["seeds_with_low_above_zero"]
        (0.0516, 0.3, 3)
    """
    from scipy.stats import t

    means = [gain["mean"] for gain in gains]
    mean, above = sum(means) / len(means), sum(gain["low"] > 0 for gain in gains)
    if len(means) == 1:
        low, high = gains[0]["low"], gains[0]["high"]
    else:
        deviation = math.sqrt(sum((value - mean) ** 2 for value in means) / (len(means) - 1))
        half = float(t.ppf(0.975, len(means) - 1)) * deviation / math.sqrt(len(means))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "seeds_with_low_above_zero": above}


def write_result(path: Path, dataset: str, outcome: dict[str, Any]) -> None:
    """Put a dataset's outcome into the file, beside those of the others."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**kept, dataset: outcome}, indent=1, sort_keys=True) + "\n")


def keep_model_run(folder: Path, results: Path = RESULTS) -> dict[str, Any]:
    """Keep the outcome of a `scoter discover --language-model` artefact as results, with its commit
    and configuration."""
    try:
        outcome, manifest = (
            json.loads((folder / name).read_text()) for name in ("pattern.json", "manifest.json")
        )
        kept = {"commit": manifest["commit"], "config": manifest["config"]["discover"], **outcome}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"artefact = {folder} is no discovery with a language model ({type(error).__name__}: "
            f"{error})"
        ) from None
    (results / MODEL_FILE).write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return kept


def as_text(dataset: str, outcome: dict[str, Any]) -> str:
    """The outcome for people."""
    summary, rows = outcome["summary"], outcome["rows"]
    lines = [
        f"{dataset}, {outcome['seeds']} seeds, {outcome['reasoner']}, commit "
        f"{outcome['commit'][:10]}"
    ]
    for row in rows:
        found = (
            "" if "recovered" not in row else ("recovered  " if row["recovered"] else "MISSED     ")
        )
        lines.append(
            f"seed {row['seed']}: {found}recall {row['recall']['mean']:.4f}  "
            f"{' > '.join(row['pattern'])}"
        )
    if "recovered" in summary:
        lines.append(
            f"planted pattern recovered in {summary['recovered']} of {outcome['seeds']} seeds"
        )
    lines.append(
        f"{'mined minus':24}{'mean gain in recall, 95 % interval':>38} {'seeds above zero':>18} "
        f"{'calls':>22}"
    )
    for name, gain in summary["gains"].items():
        interval = f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
        calls = rows[0]["rivals"][name]["calls"]
        used = f"{calls['choosing']:,} + {calls['fresh']:,}"
        lines.append(f"{name:24}{interval:>38} {gain['seeds_with_low_above_zero']:>18} {used:>22}")
    calls = rows[0]["calls"]
    return "\n".join(
        [
            *lines,
            f"mined: {calls['choosing']:,} calls to choose, {calls['fresh']:,} at fresh shoppers",
        ]
    )
