"""What recorded chains of a language model add on held-in users, over counts and item texts.

Users, reader and comparisons are those of `scoter pilot`; no validation or test item is read.
`pilot.json` also says what the chains hold: words a step, how many of their texts are distinct, and
for how many of the products that they name the catalogue has an item (`Grounding`).
"""

import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.studies import study
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.pilot_page import FILE, page
from scoter.experiments import experiment
from scoter.reasoning.discovery.grounding import Grounding
from scoter.reasoning.discovery.pilot import WORTH
from scoter.stages.context import Context, sentence_encoder
from scoter.stages.data import open_data, prepare
from scoter.storage.store import Store, git_commit
from scoter.types import Catalog

READERS = 4000


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
    """The shares of named products that mean an item, and that mean the one asked about."""
    from scoter.recommenders.step_sources import spoken_items

    names, encode = spoken_items(catalog, context.experiment.text.fields), sentence_encoder(context)
    meant = Grounding(names, encode(names), encode)
    places = pd.Index(list(catalog.keys)).get_indexer(pd.Index(chains["key"]))
    own = np.repeat(places, chains["recommendations"].str.len())
    items = meant.ground([name for named in chains["recommendations"] for name in named])
    share, itself = (float(np.mean(part)) for part in (items >= 0, (items >= 0) & (items == own)))
    return {"names": len(items), "share": share, "the item itself": itself}


@click.command()
@click.argument("table", type=study.PATH)
@study.dataset_option
@study.users_option(READERS)
@study.seed_option
@study.results_option
def command(table: Path, dataset: str, users: int, seed: int, results: Path) -> None:
    click.echo(page(measure(table, dataset, users, seed, results)).markdown(), nl=False)
