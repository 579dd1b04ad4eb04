"""`scoter chains check | show`, and `scoter pilot`: what is in chains, and what they are worth."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scoter.cli import options as cli
from scoter.cli.options import interval, option
from scoter.cli.reason import ReasonOptions, write
from scoter.errors import DataError

if TYPE_CHECKING:
    from scoter.reasoning.discovery.pilot import Addition
    from scoter.types import Catalog, Split

SOURCE = click.Path(exists=True, path_type=Path)
WORTH = cli.Finite(min=0, max=1, min_open=True)
DATASET = "Of these users and items"


@dataclass(frozen=True)
class ShowOptions(cli.ExperimentOptions):
    """Whose chains are shown."""

    dataset: str = option(DATASET, required=True)
    source: Path = option("A folder of `scoter reason`, or a table of chains", required=True)
    prefix: int | None = option("After so many items [default: all but the test target]")
    items: int = option("Of chains by item, the last items that are read", 3)


@dataclass(frozen=True)
class CheckOptions(cli.ExperimentOptions):
    """What a table of chains is checked against."""

    dataset: str = option(DATASET, required=True)


@click.group()
def chains() -> None:
    """Chains that were written: check a table of them, show a user's."""


@chains.command("check")
@click.argument("file", type=SOURCE)
@cli.takes(CheckOptions)
def check_table(file: Path, options: CheckOptions) -> None:
    """Whether every row of a table of chains can be used; status 1 where one cannot.

    It also says how often the text names what comes next, so that a table that knows the held-out
    items does not go unnoticed.
    """
    from scoter.reasoning.chains.leakage import mention_table
    from scoter.reasoning.writing import exchange
    from scoter.reasoning.writing.reader import read_chains

    split, catalog = _data(options, options.dataset)
    about, checked = exchange.about(file), exchange.check(file, split, catalog)
    total = {"item": catalog.item_count, "user": split.train.user_count}[str(about["by"])]
    outcome = {
        **about,
        "usable": len(checked.rows),
        "of the dataset's": total,
        "unknown": checked.unknown,
        "refused": len(checked.refused),
    }
    named: dict[str, float] = {}
    if checked.rows and not checked.refused:
        table = mention_table(read_chains(file, split, catalog, 1), split, catalog, 0, 2000)
        for part, share in zip(table["part"], table["item"].tolist(), strict=True):
            named[part] = round(max(share, named.get(part, 0.0)), 3)
    cli.show_values(outcome | {"names the target": named}, options.as_json)
    if not (checked.rows or checked.refused):
        raise DataError(f"{file} holds no chain of these data; see `unknown`")
    if checked.refused:
        first = "; ".join(checked.refused[:3])
        raise DataError(f"{len(checked.refused):,} rows of {file} cannot be used: {first}")
    if named["test"] > 2 * named["last-train"] + 0.05:
        cli.say("test items are named far more often than those of training: did the writer know?")


@chains.command("show")
@click.argument("user")
@cli.takes(ShowOptions)
def show_chain(user: str, options: ShowOptions) -> None:
    """The chain that a user gets, step by step."""
    from scoter.reasoning.writing.reader import read_chains

    split, catalog = _data(options, options.dataset)
    if user not in split.train.user_keys:
        raise DataError(f"{options.dataset} has no user {user!r}; name one by its key")
    number = split.train.user_keys.index(user)
    table = read_chains(options.source, split, catalog, options.items)
    latest = int(table.starts[number + 1] - table.starts[number])
    wanted = options.prefix or latest
    if not 1 <= wanted <= latest:
        raise DataError(f"--prefix {wanted}: {user!r} has chains for the prefixes 1 to {latest}")
    chain = table.chain(number, wanted)
    rows = [
        {"step": step.label(), "text": " ".join(texts) or "(missing)"}
        for step, texts in zip(chain.pattern.steps, chain.steps, strict=True)
    ]
    cli.show_rows(rows, options.as_json)


def _data(options: cli.ExperimentOptions, dataset: str) -> "tuple[Split, Catalog]":
    from scoter.stages.data import open_data

    _, catalog, split = open_data(options.prepared(options.named(dataset))[1])
    return split, catalog


@dataclass(frozen=True)
class PilotOptions(ReasonOptions, cli.TrainingOptions):
    """How large a pilot is, and what gain is worth its price."""

    out: Path = option("The folder of chains, or a table of chains to measure", required=True)
    items: int = option("The most used items that are written", 800)
    readers: int = option("Held-in users that are read, at most", 4000)
    worth: float = option("The least gain of NDCG@10 that is worth the job", 0.001, type=WORTH)


@click.command(cls=cli.ServerCommand)
@click.argument("dataset")
@cli.takes(PilotOptions)
def pilot(dataset: str, options: PilotOptions, **server: object) -> None:
    """Write the chains of the most used items, and measure what a whole job would be worth."""
    from scoter.stages.pilot import measure_pilot

    cli.use_threads(options.threads)
    outcome: dict[str, object] = {}
    if not options.out.is_file():
        of_items = replace(options, by="item", limit=options.items)
        outcome |= {"written": write(dataset, of_items, server)}
        whole = replace(options, by="item", forecast=True)
        outcome |= {"the whole job": write(dataset, whole, server)["forecast"]}
        if options.forecast:
            return
    context, data = options.prepared(options.named(dataset))
    measured = measure_pilot(context, data, options.out, options.readers, options.worth)
    if options.as_json:
        click.echo(json.dumps(outcome | asdict(measured)))
        return
    for additions in (measured.rows, measured.by_last_item):
        cli.show_rows([_row(addition) for addition in additions], False)
    click.echo("\n".join(f"{name}: {value}" for name, value in outcome.items()))
    click.echo(measured.verdict)


def _row(addition: "Addition") -> dict[str, object]:
    parts = {"nats": addition.nats, "Recall@10": addition.recall, "NDCG@10": addition.ndcg}
    intervals = {name: interval(asdict(part)) for name, part in parts.items()}
    return {"what": addition.what, "users": addition.users, **intervals}
