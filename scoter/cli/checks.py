"""`scoter leakage | verify`: whether chains name their targets, and whether files were altered."""

import json
import sys
from dataclasses import dataclass

import click

from scoter.cli.options import StoreOptions, option, takes
from scoter.errors import StoreError


@dataclass(frozen=True)
class LeakageOptions(StoreOptions):
    """How much `scoter leakage` looks at."""

    sample: int = option("Users per part", 5000)


@click.command()
@click.argument("run_name", metavar="RUN")
@takes(LeakageOptions)
def leakage(run_name: str, options: LeakageOptions) -> None:
    """Measure how often the steps of a run's chains name the target."""
    import numpy as np

    from scoter.progress import parts
    from scoter.reasoning.chains.leakage import PARTS, mention_table
    from scoter.reasoning.chains.table import load_chains

    run = options.find_run(run_name)
    chains = run.if_made("chains")
    if chains is None:
        raise StoreError(f"the run {run_name!r} has no chains; name one with scoter in it")
    _, catalog, split = run.data
    seed = run.outcome["seed"]
    with parts("leakage", len(PARTS)) as begin:
        table = load_chains(chains.folder())
        named = mention_table(table, split, catalog, seed, options.sample, begin=begin)
    if options.as_json:
        click.echo(named.to_json(orient="records"))
        return
    counts = dict(zip(named["part"], named["chains"], strict=True))
    meanings = {"item": "item", "category": "category"}
    if np.any(named["item"]):
        alike = "item, for one mix of frequent and rare items"
        meanings = {"item": "item", "item_alike": alike, "category": "category"}
    for column, meaning in meanings.items():
        if np.isnan(named[column]).all():
            click.echo(f"\nthe items have no {column}, so no step can name the target's")
        elif not np.any(named[column]):
            steps = ", ".join(dict.fromkeys(named["step"]))
            looked_at = f"{sum(counts.values()):,} chains: {steps}"
            click.echo(f"\nno step names the target's {meaning} in any of {looked_at}")
        else:
            click.echo(f"\nshare of chains whose step names the target's {meaning}")
            shares = named.pivot(index="step", columns="part", values=column)[list(counts)]
            click.echo(shares.round(4).to_string())


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@takes(StoreOptions)
def verify(run_name: str | None, options: StoreOptions) -> None:
    """Hash the files of the store (or of one run) again, to find changes."""
    from scoter.stages.verification import verify_store

    store = options.open_store()
    if run_name is None:
        count, problems = verify_store(store)
    else:
        count, problems = 1, store.verify(options.find_run(run_name).artefact)
    if options.as_json:
        click.echo(json.dumps({"artefacts": count, "problems": problems}))
    else:
        click.echo("\n".join([*problems, f"{count} artefacts checked, {len(problems)} problems"]))
    if problems:
        sys.exit(1)
