"""What recorded chains of a language model add on held-in users, over counts and item texts.

Users, reader and comparisons are those of `scoter pilot`; no validation or test item is read.
`pilot.json` also says what the chains hold: words a step, how many of their texts are distinct, and
for how many of the products that they name the catalogue has an item (`Grounding`).
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.table import Page, interval
from scoter.experiments import experiment
from scoter.reasoning.discovery.grounding import Grounding
from scoter.reasoning.discovery.pilot import WORTH
from scoter.report.table import Table
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import open_data, prepare
from scoter.storage.store import Store, git_commit
from scoter.types import Catalog

FILE = "pilot.json"
READERS = 4000
_COLUMNS = ("what is added", "users", "nats", "R@10", "N@10")


def measure(
    table: Path, dataset: str, readers: int = READERS, seed: int = 0, results: Path = RESULTS
) -> Row:
    """Measure a table of chains; put it into `pilot.json` under the table's name and return it."""
    from scoter.stages.pilot import measure_pilot

    began, context = time.process_time(), Context(experiment(dataset), Store(), seed, click.echo)
    data = prepare(context, None)
    measured = asdict(measure_pilot(context, data, table, readers, WORTH))
    chains, catalog = pd.read_parquet(table), open_data(data)[1]
    made = {"dataset": dataset, "seed": seed, "commit": git_commit(), **measured}
    made |= {"chains_of_items": len(chains), "items": catalog.item_count, "roles": roles(chains)}
    made |= {"grounded": grounded(chains, catalog, context)}
    made |= {"cpu_seconds": time.process_time() - began}
    study.put(results / FILE, table.stem, made)
    return made


def roles(chains: pd.DataFrame) -> list[Row]:
    """Of each role: how many chains have it, words a text, and the share of distinct texts."""
    steps = pd.DataFrame([step for steps in chains["steps"] for step in steps])
    words = steps["text"].str.split().str.len().groupby(steps["role"], sort=False).mean()
    texts = steps.groupby("role", sort=False)["text"].agg(["size", "nunique"])
    return [
        {"role": role, "chains": int(n), "words": float(words[role]), "distinct": float(own / n)}
        for role, (n, own) in zip(texts.index, texts.to_numpy(), strict=True)
    ]


def grounded(chains: pd.DataFrame, catalog: Catalog, context: Context) -> Row:
    """The share of named products that mean an item, and of those the one that was asked about."""
    from scoter.recommenders.step_sources import spoken_items

    names, encode = spoken_items(catalog, context.experiment.text.fields), sentence_encoder(context)
    meant = Grounding(names, encode(names), encode)
    places = {key: item for item, key in enumerate(catalog.keys)}
    own = np.repeat(chains["key"].map(places), chains["recommendations"].str.len())
    items = meant.ground([name for named in chains["recommendations"] for name in named])
    share, itself = (float(np.mean(part)) for part in (items >= 0, items == own))
    return {"names": len(items), "share": share, "the item itself": itself}


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The page of each table of chains, by its name."""
    return {name: page(made) for name, made in study.read(results / FILE, {}).items()}


def page(made: Row) -> Page:
    """What the chains hold, then what they add."""
    held = [
        [row["role"], f"{row['chains']:,}", f"{row['words']:.1f}", f"{row['distinct']:.0%}"]
        for row in made["roles"]
    ]
    added: list[Sequence[str]] = [_added(row) for row in (*made["rows"], *made["by_last_item"])]
    names = made["grounded"]
    notes = (
        f"{made['chains_of_items']:,} of {made['items']:,} items have a chain. "
        f"Of {names['names']:,} named products {names['share']:.0%} mean an item of the catalogue, "
        f"{names['the item itself']:.0%} the item that was asked about.",
        f"Held-in users of {made['dataset']} whose last item has a chain; over "
        f"{made['recommender']}, 95 % intervals. Verdict: {made['verdict']}.",
        f"Measured at commit `{made['commit'][:12]}`, seed {made['seed']}, "
        f"{made['cpu_seconds'] / 60:.0f} CPU-minutes.",
    )
    columns = ("role", "chains", "words", "distinct texts")
    return Page([Table(columns, held, "lrrr"), Table(_COLUMNS, added, "lrrrr"), notes])


def _added(row: dict[str, Any]) -> list[str]:
    parts = [interval(row[part]) for part in ("nats", "recall", "ndcg")]
    return [row["what"], f"{row['users']:,}", *parts]


@click.command()
@click.argument("table", type=study.PATH)
@study.dataset_option
@study.users_option(READERS)
@study.seed_option
@study.results_option
def command(table: Path, dataset: str, users: int, seed: int, results: Path) -> None:
    click.echo(page(measure(table, dataset, users, seed, results)).markdown(), nl=False)
